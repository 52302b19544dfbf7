"""The transformer: what is cached equals what is not, batches equal single rows, probabilities are what they are."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from scipy import stats

from simulacra.core.batch import Batch
from simulacra.core.optimisers import AdamW, Muon
from simulacra.core.prompts import Prompt
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Space
from simulacra.families.transformer import TransformerConfig, build
from simulacra.mathematics.decoding import Repetition, Temperature, TopK, changed
from simulacra.nets.decoder import Decoder, normed, recomputed, squared_relu, turned, turning, windowed
from simulacra.nets.decoder_steps import Cached, Recomputed, context
from simulacra.nets.generation import beam, generate, uniforms
from simulacra.nets.learned_places import LearnedPlaces

FIXED = Space(fields={"codes": Categorical(k=5, shape=(9,))}, measure="codes")
WORDS = Space(fields={"word": Categorical(k=3, shape=(4,), varying=True)}, measure="letters")
NAMED = Space(
    fields={"word": Categorical(k=4, shape=(8,), varying=True)}, y=Classes(names=("a", "b")), measure="letters"
)
SMALL = Decoder(depth=2, aspect=8, head=4)
NETWORKS = {
    "plain": SMALL,
    "shared": replace(SMALL, shared=4),
    "window": replace(SMALL, window=3),
    "both": replace(SMALL, shared=2, window=2),
    "places": replace(SMALL, layers=LearnedPlaces(places=12, hidden=20)),
}


def model(space: Space, network: Decoder = SMALL, seed: int = 1):
    """A model in float64 whose projections are no longer zero."""
    made = build(TransformerConfig(network=network), space, rng=seed).double()
    with torch.no_grad():
        for name, p in made.named_parameters():
            p.copy_(Rng(seed)("other", name).normal(p.shape, dtype=torch.float64) * (1.0 if p.shape[-1] < 16 else 0.4))
    return made


@pytest.fixture(params=NETWORKS)
def network(request) -> Decoder:
    return NETWORKS[request.param]


@pytest.mark.parametrize("space", [FIXED, WORDS], ids=["fixed", "varying"])
def test_cached_equals_recomputed_far_beyond_the_room(space, network):
    made, n = model(space, network), 3
    tokens = Rng(0)("tokens").integers(space.only.k, (n, 40))
    cached, naive = made.steps(n), made.steps(n, along=Recomputed)
    for t in range(40):
        torch.testing.assert_close(cached.log_probs(), naive.log_probs(), rtol=0, atol=1e-10)
        cached.take(tokens[:, t])
        naive.take(tokens[:, t])


def test_prompts_of_different_lengths_equal_single_ones(network):
    made = model(NAMED, network)
    tokens, length = Rng(0)("p").integers(4, (5, 30)), torch.tensor([0, 3, 30, 7, 12])
    y = torch.tensor([0, 1, 0, 1, 1])
    more = Rng(0)("more").integers(4, (5, 14))
    whole = made.steps(5, y=y, prompt=Prompt(tokens=tokens, length=length))
    alone = [
        made.steps(1, y=y[i : i + 1], prompt=Prompt(tokens=tokens[i : i + 1, :m]))
        for i, m in enumerate(length.tolist())
    ]
    for t in range(14):
        single = torch.cat([steps.log_probs() for steps in alone])
        torch.testing.assert_close(whole.log_probs(), single, rtol=0, atol=1e-10)
        whole.take(more[:, t])
        for i, steps in enumerate(alone):
            steps.take(more[i : i + 1, t])


def test_rows_can_be_kept_and_doubled():
    made = model(FIXED)
    tokens = Rng(0)("p").integers(5, (3, 6))
    prompt = Prompt(tokens=tokens, length=torch.tensor([2, 6, 4]))
    for along in (Cached, Recomputed):
        steps, order = made.steps(3, prompt=prompt, along=along), torch.tensor([2, 0, 0, 1])
        before = steps.log_probs()
        steps.keep(order)
        torch.testing.assert_close(steps.log_probs(), before[order])
        taken = torch.tensor([1, 2, 3, 4])
        steps.take(taken)
        ends = [[*row[:m], int(t)] for row, m, t in zip(tokens[order].tolist(), [4, 2, 2, 6], taken, strict=True)]
        alone = torch.cat([made.steps(1, prompt=Prompt(tokens=torch.tensor([row]))).log_probs() for row in ends])
        torch.testing.assert_close(steps.log_probs(), alone, rtol=0, atol=1e-10)


def test_a_context_is_whole_then_halves():
    assert [context(m, 8) for m in range(16)] == [0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7]
    assert [context(m, 1) for m in range(3)] == [0, 0, 0]


def test_rotary_products_tell_distances_alone():
    turns = turning(12, 6, 100.0).double()
    q, k = (Rng(0)(name).normal((1, 1, 1, 6), dtype=torch.float64) for name in "qk")
    at = lambda x, place: turned(x, turns[place : place + 1])  # noqa: E731
    products = [float((at(q, i) * at(k, i - 3)).sum()) for i in (3, 5, 11)]
    torch.testing.assert_close(products, [products[0]] * 3, rtol=1e-6, atol=0)
    assert abs(float((at(q, 5) * at(k, 4)).sum()) - products[0]) > 1e-3


@pytest.mark.parametrize(("t", "window"), [(7, 1), (7, 3), (8, 4), (5, 9)])
def test_windowed_attention_is_masked_attention(t, window):
    q = Rng(0)("q").normal((2, 4, t, 6), dtype=torch.float64)
    k, v = (Rng(0)(name).normal((2, 2, t, 6), dtype=torch.float64) for name in "kv")
    i = torch.arange(t)
    mask = (i[:, None] >= i) & (i[:, None] - i < window)
    wide = [x.repeat_interleave(2, 1) for x in (k, v)]
    want = torch.nn.functional.scaled_dot_product_attention(q, *wide, attn_mask=mask)
    torch.testing.assert_close(windowed(q, k, v, window), want, rtol=0, atol=1e-12)


def test_recomputing_changes_no_gradient():
    x = Rng(0)("x").integers(5, (4, 9))
    found = []
    for network in (SMALL, replace(SMALL, memory=recomputed)):
        made = model(FIXED, network)
        made.loss(Batch(x=x), Rng(0)).total.backward()
        found.append([p.grad for p in made.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("function", [normed, squared_relu])
def test_gradients_written_by_hand_are_those_of_the_function(function):
    x = Rng(0)("x").normal((3, 5), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(function, (x,))
    with torch.no_grad():
        want = torch.nn.functional.rms_norm(x, (5,), eps=1e-6) if function is normed else x.clamp(min=0) ** 2
    torch.testing.assert_close(function(x), want)


def test_a_new_network_knows_nothing():
    made = build(TransformerConfig(network=SMALL), FIXED, rng=3)
    said = made.log_likelihood(Rng(0)("x").integers(5, (6, 9)))
    torch.testing.assert_close(said.nats, torch.full((6,), -9 * math.log(5)))


def every_word(k: int, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
    words = [w for n in range(longest + 1) for w in itertools.product(range(k), repeat=n)]
    x = torch.tensor([[*w, *[0] * (longest - len(w))] for w in words])
    return x, torch.tensor([len(w) for w in words])


def test_all_words_of_all_lengths_sum_to_one():
    x, length = every_word(3, 4)
    nats = model(WORDS).log_likelihood(x, length=length).nats
    torch.testing.assert_close(nats.exp().sum(), torch.tensor(1.0, dtype=torch.float64))


def test_samples_come_as_often_as_they_are_likely():
    made, n = model(WORDS), 4_000
    x, length = every_word(3, 4)
    p = made.log_likelihood(x, length=length).nats.exp()
    drawn = made.sample(n, rng=5)
    code = lambda x, length: (x * 3 ** torch.arange(4)).sum(1) + 81 * length  # noqa: E731
    place = {int(c): i for i, c in enumerate(code(x, length))}
    counts = torch.bincount(torch.tensor([place[int(c)] for c in code(drawn.x, drawn.length)]), minlength=len(x))
    common = p * n >= 5
    seen = torch.cat([counts[common], counts[~common].sum()[None]])
    wanted = torch.cat([p[common], p[~common].sum()[None]]) * n
    assert stats.chisquare(seen.numpy(), (wanted * n / wanted.sum()).numpy()).pvalue > 1e-4


def test_what_generation_used_sums_to_log_p():
    made = model(NAMED)
    y, prompt = (
        torch.tensor([0, 1, 1]),
        Prompt(tokens=torch.tensor([[1, 2], [3, 0], [0, 0]]), length=torch.tensor([2, 1, 0])),
    )
    drawn = made.continue_from(prompt, 20, y=y, rng=3)
    assert bool(drawn.ended.all())
    assert bool((drawn.length + prompt.length <= 8).all())
    short = made.continue_from(prompt, 4, y=y, rng=3)
    assert torch.equal(short.tokens, drawn.tokens[:, :4])
    for row in range(3):
        one = Prompt(tokens=prompt.tokens[row : row + 1], length=prompt.lengths()[row : row + 1])
        nats = made.log_prob_after(
            one, short.tokens[row : row + 1], y=y[row : row + 1], length=short.length[row : row + 1],
            ends=bool(short.ended[row]),
        )  # fmt: skip
        torch.testing.assert_close(nats, short.log_prob[row : row + 1])
    whole = made.log_prob_after(prompt, drawn.tokens, y=y, length=drawn.length, ends=True)
    torch.testing.assert_close(whole, drawn.log_prob)
    with pytest.raises(ValueError, match="sequences of up to 8 tokens; got a prompt of 9"):
        made.continue_from(Prompt(tokens=torch.zeros(1, 9, dtype=torch.int64)), 1, y=y[:1], rng=0)


def test_a_continuation_is_the_whole_given_its_beginning():
    made = model(FIXED)
    x = Rng(0)("x").integers(5, (6, 9))
    whole = made.log_likelihood(x).nats
    known = (torch.arange(9) < 4).expand(6, -1)
    head = made.log_likelihood(x, known=known)
    tail = made.log_prob_after(Prompt(tokens=x[:, :4]), x[:, 4:])
    torch.testing.assert_close(head.nats + tail, whole)
    assert head.choices.tolist() == [4.0] * 6
    with pytest.raises(ValueError, match="got gaps before known tokens"):
        made.log_likelihood(x, known=~known)
    with pytest.raises(ValueError, match="scores 9 tokens; got 12"):
        made.log_prob_after(Prompt(tokens=x[:, :4]), x[:, :8])


def test_an_end_is_known_where_all_before_it_is():
    made = model(WORDS)
    x, length = torch.tensor([[1, 2, 0, 0]]), torch.tensor([2])
    whole = made.log_likelihood(x, length=length)
    assert float(whole.choices) == 3.0
    everything = torch.ones(1, 4, dtype=torch.bool)
    torch.testing.assert_close(made.log_likelihood(x, known=everything, length=length).nats, whole.nats)
    one = torch.tensor([[True, False, False, False]])
    torch.testing.assert_close(made.log_likelihood(x, known=one, length=length).nats, made.steps(1).log_probs()[:, 1])


def test_changed_distributions_are_what_is_drawn_from():
    made, changes = model(FIXED), (Repetition(penalty=1.5), Temperature(value=0.7), TopK(k=3))
    drawn = made.continue_from(Prompt(tokens=torch.tensor([[4, 4]] * 5)), 7, rng=1, changes=changes)
    steps = made.steps(5, prompt=Prompt(tokens=torch.tensor([[4, 4]] * 5)))
    seen, total = torch.tensor([[4, 4]] * 5), torch.zeros(5, dtype=torch.float64)
    for t in range(7):
        used = changed(steps.log_probs(), seen, changes)
        total += used.gather(1, drawn.tokens[:, t : t + 1])[:, 0]
        seen = torch.cat([seen, drawn.tokens[:, t : t + 1]], 1)
        steps.take(drawn.tokens[:, t])
    torch.testing.assert_close(total, drawn.log_prob)
    assert bool(total.isfinite().all())


def test_a_grammar_is_never_broken():
    """Brackets that open and close: whatever the weights say, every sequence is balanced."""
    space = Space(fields={"s": Categorical(k=2, shape=(12,), varying=True)}, measure="brackets")
    made, room = model(space), 12

    def legal(seen: torch.Tensor) -> torch.Tensor:
        depth = (torch.where(seen == 0, 1, -1) * (seen >= 0)).sum(1)
        left = room - seen.shape[1]
        return torch.stack([depth < left - 1, depth > 0, depth == 0], 1)

    drawn = generate(made.steps(300), uniforms(300, room, Rng(0), "cpu"), end=2, legal=legal)
    step = torch.where(drawn.tokens == 0, 1, -1) * (torch.arange(room) < drawn.length[:, None])
    assert bool((step.cumsum(1) >= 0).all())
    assert bool((step.sum(1) == 0).all())
    assert len({tuple(row) for row in drawn.tokens.tolist()}) > 10


def test_samples_under_a_grammar_are_the_models_own_given_that_they_keep_to_it():
    """Words that never repeat a letter, 1 and the end aside: the mask's walk, token by token, by brute force."""
    made, n = model(WORDS), 4_000

    def legal(seen: torch.Tensor) -> torch.Tensor:
        last = seen[:, -1:] if seen.shape[1] else torch.full((len(seen), 1), -1)
        letters = torch.arange(4)
        return (letters != last) | (letters == 1) | (letters == 3)

    drawn = made.sample(n, rng=5, legal=legal)
    found = [tuple(row[:m]) for row, m in zip(drawn.x.tolist(), drawn.length.tolist(), strict=True)]
    assert not any(a == b != 1 for word in found for a, b in itertools.pairwise(word))
    first = made.steps(1).log_probs()[0].exp()
    counts = torch.bincount(torch.tensor([word[0] if word else 3 for word in found]), minlength=4)
    assert stats.chisquare(counts.numpy(), (first * n / first.sum()).detach().numpy()).pvalue > 1e-4
    again = made.steps(1)
    again.take(torch.tensor([0]))
    second = again.log_probs()[0].exp() * torch.tensor([0.0, 1.0, 1.0, 1.0])
    after = [word[1] if len(word) > 1 else 3 for word in found if word[:1] == (0,)]
    counts = torch.bincount(torch.tensor(after), minlength=4)[1:]
    expected = (second / second.sum() * len(after))[1:]
    assert stats.chisquare(counts.numpy(), expected.detach().numpy()).pvalue > 1e-4


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_a_beam_is_never_below_greedy_and_a_wide_one_finds_the_best(alpha):
    x, length = every_word(3, 4)
    for seed in range(6):
        made = model(WORDS, seed=seed)
        empty = Prompt(tokens=torch.zeros(1, 0, dtype=torch.int64))
        norm = lambda drawn: float(drawn.log_prob) / ((5 + int(drawn.length) + int(drawn.ended)) / 6) ** alpha  # noqa: E731
        greedy = made.continue_from(empty, 4, rng=0, changes=(Temperature(value=0.0),))
        nats = made.log_likelihood(greedy.tokens, length=greedy.length).nats
        greedy = replace(greedy, log_prob=nats)
        beams = [made.likeliest(empty, 4, width=w, alpha=alpha) for w in (1, 2, 5, 100)]
        assert torch.equal(beams[0].tokens, greedy.tokens)
        assert all(norm(b) >= norm(greedy) - 1e-9 for b in beams)
        # an end after the fourth token costs nothing and is not counted
        whole = made.log_likelihood(x, length=length).nats / ((5 + length + (length < 4)) / 6) ** alpha
        assert norm(beams[-1]) == pytest.approx(float(whole.max()))
        assert beams[-1].tokens[0].tolist() == x[whole.argmax()].tolist()


def test_beams_of_rows_are_those_of_each_row():
    made = model(NAMED)
    prompt = Prompt(tokens=torch.tensor([[1, 2, 3], [0, 0, 0]]), length=torch.tensor([3, 1]))
    y = torch.tensor([1, 0])
    both = made.likeliest(prompt, 5, y=y, width=3)
    for row in range(2):
        one = Prompt(tokens=prompt.tokens[row : row + 1, : int(prompt.length[row])])
        alone = made.likeliest(one, 5, y=y[row : row + 1], width=3)
        assert torch.equal(both.tokens[row], alone.tokens[0])
        torch.testing.assert_close(both.log_prob[row : row + 1], alone.log_prob)


def test_a_beam_needs_a_lane():
    with pytest.raises(ValueError, match="got width 0"):
        beam(model(FIXED).steps(1), 1, 3, width=0)


def test_every_token_is_told_as_it_is_drawn():
    made, told = model(WORDS), []
    prompt = Prompt(tokens=torch.zeros(2, 0, dtype=torch.int64))
    drawn = made.continue_from(prompt, 9, rng=2, told=lambda token, there: told.append((token, there)))
    again = [[int(t[row]) for t, there in told if there[row]] for row in range(2)]
    assert again == [drawn.tokens[row, : drawn.length[row]].tolist() for row in range(2)]


def test_sizes_of_tokens_are_what_is_counted():
    """The same model up to relabelling: bits a byte are those of the sizes, whatever the tokens are."""
    sized = Space(fields={"codes": Categorical(k=5, shape=(9,), sizes=(1, 2, 3, 4, 0))}, measure="bytes")
    x = Rng(0)("x").integers(5, (6, 9))
    said = model(sized).log_likelihood(x)
    assert said.count.tolist() == [sum((1, 2, 3, 4, 0)[t] for t in row) for row in x.tolist()]
    assert said.bits_per_element() == pytest.approx(float(-said.nats.sum() / math.log(2) / said.count.sum()))


def test_relabelled_models_agree():
    made, order = model(FIXED), torch.tensor([3, 0, 4, 1, 2])
    other = model(FIXED)
    with torch.no_grad():
        other.network.tokens.weight.copy_(made.network.tokens.weight[order.argsort()])
        other.network.out.weight.copy_(made.network.out.weight[order.argsort()])
    x = Rng(0)("x").integers(5, (6, 9))
    torch.testing.assert_close(other.log_likelihood(order[x]).nats, made.log_likelihood(x).nats)


def test_muon_takes_the_matrices_inside_the_blocks():
    made = build(TransformerConfig(network=SMALL, optimiser=Muon(rest=AdamW())), FIXED, rng=0)
    ((_, player),) = made.players().items()
    muon, adam = player.optimiser.build(player.module)
    inside = {id(p) for p in made.network.blocks.parameters()}
    assert {id(p) for g in muon.param_groups for p in g["params"]} == inside
    assert len(inside) == 4 * SMALL.depth
    rest = {id(p) for g in adam.param_groups for p in g["params"]}
    assert rest == {id(p) for p in made.network.parameters()} - inside


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Decoder(depth=3, aspect=5, head=4), "head must be even and divide its width"),
        (lambda: Decoder(shared=3), "shared must divide the number of heads, 4; got 3"),
        (lambda: Decoder(window=0), "a window holds at least the token itself; got 0"),
        (
            lambda: build(TransformerConfig(), Space(fields={"x": Categorical(k=3, shape=(2, 2))})),
            "one sequence of categories",
        ),
        (lambda: model(FIXED).log_likelihood(torch.full((1, 9), 5)), r"tokens must lie in 0 .. 4; got 5 .. 5"),
        (lambda: model(FIXED).log_likelihood(torch.zeros(1, 3, dtype=torch.int64)), r"sequences \(b, 9\)"),
    ],
)
def test_mistakes_are_told_in_one_line(make, said):
    with pytest.raises(ValueError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)
