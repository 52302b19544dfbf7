"""Pairs of sequences: cached steps equal whole passes, padding means nothing, probabilities are what they are."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import stats

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Space
from simulacra.families.seq2seq import Seq2Seq, Seq2SeqConfig
from simulacra.nets.encoder_decoder import EncoderDecoder, Present
from simulacra.nets.encoder_decoder_steps import RecomputedPairs
from simulacra.nets.generation import beam

SOURCE = Space(fields={"source": Categorical(k=6, shape=(7,), varying=True)}, measure="source tokens")
PAIRS = Space(fields={"target": Categorical(k=3, shape=(4,), varying=True)}, y=SOURCE, measure="letters")
SMALL = EncoderDecoder(depth=2, aspect=8, head=4)
Y = torch.tensor([[5, 2, 3, 0, 0, 0, 0], [1, 1, 4, 2, 5, 3, 1], [4, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]])


def model(space: Space = PAIRS, seed: int = 1, **settings) -> Seq2Seq:
    """A model in float64 whose projections are no longer zero."""
    made = Seq2Seq(Seq2SeqConfig(network=SMALL, **settings), space, rng=seed).double()
    with torch.no_grad():
        for name, p in made.named_parameters():
            p.copy_(Rng(seed)("other", name).normal(p.shape, dtype=torch.float64) * (1.0 if p.shape[1] < 16 else 0.4))
    return made.eval()


def every_word(k: int, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
    words = [w for n in range(longest + 1) for w in itertools.product(range(k), repeat=n)]
    return torch.tensor([[*w, *[0] * (longest - len(w))] for w in words]), torch.tensor([len(w) for w in words])


def test_cached_steps_equal_whole_passes():
    made, tokens = model(), Rng(0)("tokens").integers(3, (4, 4))
    cached, naive = made.steps(Y), made.steps(Y, along=RecomputedPairs)
    for t in range(4):
        torch.testing.assert_close(cached.log_probs(), naive.log_probs(), rtol=0, atol=1e-10)
        cached.take(tokens[:, t])
        naive.take(tokens[:, t])
    with pytest.raises(ValueError, match="targets of up to 4 tokens"):
        cached.log_probs()


@pytest.mark.parametrize("order", [[0, 0, 1, 1, 2, 2, 3, 3], [3, 0, 0, 2], [2]], ids=["even", "uneven", "one"])
def test_rows_can_be_kept_and_doubled(order):
    made, taken = model(), Rng(0)("t").integers(3, (3, 8))
    both = [made.steps(Y), made.steps(Y, along=RecomputedPairs)]
    for steps in both:
        steps.take(taken[0, :4])
        steps.log_probs()
        steps.keep(torch.tensor(order))
        steps.take(taken[1, : len(order)])
        steps.keep(torch.arange(len(order)).flip(0))
    torch.testing.assert_close(both[0].log_probs(), both[1].log_probs(), rtol=0, atol=1e-10)


def test_sources_of_different_lengths_together_are_those_alone():
    made = model()
    x, length = torch.tensor([[1, 2, 0, 0], [0, 1, 2, 2], [2, 0, 0, 0], [0, 0, 0, 0]]), torch.tensor([2, 4, 1, 0])
    whole = made.log_likelihood(x, y=Y, length=length).nats
    alone = [made.log_likelihood(x[i : i + 1], y=Y[i : i + 1], length=length[i : i + 1]).nats for i in range(4)]
    torch.testing.assert_close(whole, torch.cat(alone), rtol=0, atol=1e-12)
    assert whole.unique().numel() == 4
    said = made.log_likelihood(x, y=Y, length=length, y_length=torch.tensor([3, 7, 1, 0])).nats
    torch.testing.assert_close(said, whole)
    longer = made.log_likelihood(x, y=Y, length=length, y_length=torch.tensor([4, 7, 1, 0])).nats
    assert abs(float(longer[0] - whole[0])) > 1e-6  # a nothing within a source is a token like others


def test_a_target_sees_its_source_and_what_came_before_and_nothing_after():
    made = model()
    x, length = torch.tensor([[1, 2, 0, 1]]), torch.tensor([4])
    say = lambda x, y: [made.log_likelihood(x, y=y, length=length,  # noqa: E731
                        known=torch.arange(4)[None] < m).nats for m in range(1, 5)]  # fmt: skip
    first = say(x, Y[:1])
    later = say(torch.tensor([[1, 2, 2, 1]]), Y[:1])
    torch.testing.assert_close(first[:2], later[:2])
    assert abs(float(first[2] - later[2])) > 1e-6
    for place in range(3):
        other = Y[:1].clone()
        other[0, place] = 1
        assert abs(float(say(x, other)[0] - first[0])) > 1e-6


def test_the_order_of_the_source_matters():
    made = model()
    x, length = torch.tensor([[1, 2, 0, 0]]), torch.tensor([2])
    nats = [made.log_likelihood(x, y=Y[:1, order], length=length).nats for order in ([0, 1, 2, 3, 4, 5, 6],
                                                                                  [1, 0, 2, 3, 4, 5, 6])]  # fmt: skip
    assert abs(float(nats[0] - nats[1])) > 1e-6


@pytest.mark.parametrize("row", range(4))
def test_all_targets_of_all_lengths_sum_to_one_given_each_source(row):
    x, length = every_word(3, 4)
    nats = model().log_likelihood(x, y=Y[row : row + 1].expand(len(x), -1), length=length).nats
    torch.testing.assert_close(nats.exp().sum(), torch.tensor(1.0, dtype=torch.float64))


def test_samples_come_as_often_as_they_are_likely():
    made, n = model(), 4_000
    x, length = every_word(3, 4)
    p = made.log_likelihood(x, y=Y[:1].expand(len(x), -1), length=length).nats.exp()
    drawn = made.sample_given(Y[:1].expand(n, -1), rng=5)
    code = lambda x, length: (x * 3 ** torch.arange(4)).sum(1) + 81 * length  # noqa: E731
    place = {int(c): i for i, c in enumerate(code(x, length))}
    counts = torch.bincount(torch.tensor([place[int(c)] for c in code(drawn.x, drawn.length)]), minlength=len(x))
    common = p * n >= 5
    seen = torch.cat([counts[common], counts[~common].sum()[None]])
    wanted = torch.cat([p[common], p[~common].sum()[None]]) * n
    assert stats.chisquare(seen.numpy(), (wanted * n / wanted.sum()).numpy()).pvalue > 1e-4


def test_a_beam_as_wide_as_all_targets_finds_the_best_and_none_scores_below_greedy():
    made = model()
    x, length = every_word(3, 4)
    greedy = made.search(Y, width=1)
    zero = made.sample_given(Y, rng=0, temperature=0.0)
    assert torch.equal(greedy.tokens, zero.x)
    for row in range(4):
        nats = made.log_likelihood(x, y=Y[row : row + 1].expand(len(x), -1), length=length).nats
        for alpha in (0.0, 1.0):
            # an end counts where there is one
            score = nats / ((5.0 + length + (length < 4)) / 6.0) ** alpha
            found = made.search(Y[row : row + 1], width=90, alpha=alpha)
            best = int(score.argmax())
            assert found.tokens[0, : found.length[0]].tolist() == x[best, : length[best]].tolist()
            torch.testing.assert_close(found.log_prob[0], nats[best])
    for width in (2, 5):
        assert bool((made.search(Y, width=width, alpha=0.0).log_prob >= greedy.log_prob - 1e-12).all())


def test_a_beam_over_several_sources_is_that_over_each():
    made = model()
    whole = made.search(Y, width=3)
    for row in range(4):
        alone = made.search(Y[row : row + 1], width=3)
        assert torch.equal(whole.tokens[row], alone.tokens[0])
    naive = beam(made.steps(Y, along=RecomputedPairs), 4, 4, width=3, alpha=1.0, end=3)
    assert torch.equal(whole.tokens, naive.tokens)
    torch.testing.assert_close(whole.log_prob, naive.log_prob)


def test_smoothing_is_the_mixture_of_two_cross_entropies():
    x, length = torch.tensor([[1, 2, 0, 0], [0, 1, 2, 2]]), torch.tensor([2, 4])
    batch = Batch(x=x, y=Y[:2], length=length)
    plain, smooth = model(smoothing=0.0).loss(batch, Rng(0)), model(smoothing=0.2).loss(batch, Rng(0))
    assert float(plain.weight) == 7  # three decisions and four: the longest has no end to decide
    nats = model().log_likelihood(x, y=Y[:2], length=length).nats
    torch.testing.assert_close(plain.total, -nats.sum())
    steps, even = model().steps(Y[:2]), torch.zeros((), dtype=torch.float64)
    for t in range(4):
        even = even - (steps.log_probs().mean(-1) * (t <= length)).sum()
        steps.take(x[:, t])
    torch.testing.assert_close(smooth.total, 0.8 * plain.total + 0.2 * even)


def test_a_new_network_knows_nothing():
    made = Seq2Seq(Seq2SeqConfig(network=SMALL), PAIRS, rng=3)
    said = made.log_likelihood(torch.zeros(1, 4, dtype=torch.int64), y=Y[:1], length=torch.tensor([2]))
    torch.testing.assert_close(said.nats, torch.tensor([-3 * math.log(4)]))


def test_dropout_leaves_out_in_training_alone_and_the_same_whatever_else_is_in_the_batch():
    made = model().train()
    x, length = torch.tensor([[1, 2, 0, 0], [0, 1, 2, 2]]), torch.tensor([2, 4])
    loss = lambda rows, rng: made.loss(Batch(x=x[rows], y=Y[:2][rows], length=length[rows]), rng).total.detach()  # noqa: E731
    both = loss(slice(0, 2), Rng(3))
    torch.testing.assert_close(both, loss(slice(0, 1), Rng(3)) + loss(slice(1, 2), Rng(3).rows(1)))
    assert abs(float(both - loss(slice(0, 2), Rng(4)))) > 1e-6
    made.eval()
    torch.testing.assert_close(loss(slice(0, 2), Rng(3)), loss(slice(0, 2), Rng(4)))


def test_attention_is_shared_out_among_the_source():
    made, length = model(), torch.tensor([2, 4])
    shares = made.attention(torch.tensor([[1, 2, 0, 0], [0, 1, 2, 2]]), length, y=Y[:2])
    assert shares.shape == (2, 4, 8)
    torch.testing.assert_close(shares.sum(-1), torch.ones(2, 4, dtype=torch.float64))
    assert float(shares[0, :, 4:].abs().max()) == 0.0  # beyond the source there is nothing to look at


def test_what_is_there_is_listed_and_put_back():
    there = torch.tensor([[True, True, False], [True, False, False]])
    x = torch.arange(12.0).reshape(2, 3, 2)
    at = Present.of(there)
    assert at.listed(x).tolist() == [[0, 1], [2, 3], [6, 7]]
    torch.testing.assert_close(at.rows(at.listed(x)), x * there[..., None])


@pytest.mark.slow
def test_copying_is_learnt():
    from simulacra.core.batch import Stored
    from simulacra.training.loop import train
    from simulacra.training.settings import Training

    y = Rng(0)("y").integers(3, (256, 4)) + 1
    length = Rng(0)("n").integers(4, (256,)) + 1
    y = y * (torch.arange(4) < length[:, None])
    space = Space(
        fields={"target": Categorical(k=3, shape=(4,), varying=True)},
        y=Space(fields={"source": Categorical(k=4, shape=(4,), varying=True)}),
        measure="letters",
    )
    data = Stored(space=space, x=(y - 1).clamp(min=0), y=y, length=length, y_length=length)
    made = Seq2Seq(Seq2SeqConfig(network=EncoderDecoder(depth=1, aspect=32, head=8, dropout=0.0)), space, rng=1)
    made = train(made, data, Training(steps=250, batch=64)).averaged
    found = made.search(y[:64], width=1)
    right = (found.tokens == data.x[:64]).all(1) & (found.length == length[:64])
    assert float(right.double().mean()) > 0.95


@pytest.mark.parametrize(
    ("space", "told"),
    [
        (Space(fields=PAIRS.fields, y=Classes(names=("a",))), "expected conditions that are one sequence"),
        (Space(fields={"t": Categorical(k=3, shape=(4,))}, y=SOURCE), "expected a field up to a length"),
        (Space(fields={"t": Categorical(k=3)}, y=SOURCE), "expected examples that are one sequence"),
    ],
)
def test_other_spaces_are_refused(space, told):
    with pytest.raises(ValueError, match=told):
        Seq2Seq(Seq2SeqConfig(network=SMALL), space)


def test_wrong_tokens_and_settings_are_refused_by_name():
    made, x = model(), torch.zeros(1, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"given a source, y of shape \(b, 7\), for each target; got none"):
        made.log_likelihood(x)
    with pytest.raises(ValueError, match=r"source tokens must lie in 0 .. 5; got 0 .. 9"):
        made.log_likelihood(x, y=torch.tensor([[9, 0, 0, 0, 0, 0, 0]]))
    with pytest.raises(ValueError, match=r"target tokens must lie in 0 .. 2; got 7 .. 7"):
        made.log_likelihood(x + 7, y=Y[:1])
    with pytest.raises(ValueError, match="dropout must lie in"):
        EncoderDecoder(dropout=1.0)
    with pytest.raises(ValueError, match="smoothing must lie in"):
        Seq2SeqConfig(smoothing=1.0)
