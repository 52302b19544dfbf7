"""Models of sequences of frames: proper distributions, drawn as they are scored, filled in as Bayes' rule says."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Continuous, Space
from simulacra.families.frames import EndingFrames, Frames, FramesConfig, build
from simulacra.nets import frame_steps
from simulacra.nets.causal_rows import Attending, Recurrent
from simulacra.nets.frame_heads import Nade, independent
from simulacra.nets.frame_steps import FrameWalk

ROLLS = Space(fields={"roll": Categorical(k=2, shape=(2, 3), varying=True, sizes=(1 / 3, 1 / 3))}, measure="frames")
HEADS = {"independent": independent, "nade": Nade(hidden=8), "shallow nade": Nade(hidden=8, depth=0)}
NETWORKS = {"attending": Attending(width=8, depth=1, heads=2), "recurrent": Recurrent(width=8)}


def model(head: str = "nade", network: str = "attending", space: Space = ROLLS) -> Frames | EndingFrames:
    made = build(FramesConfig(network=NETWORKS[network], head=HEADS[head]), space, rng=3)
    # weights large enough for what is said to depend on what was before
    for p in made.network.parameters():
        p.data *= 2
    return made.double()


def every(frames: int = 2, m: int = 3) -> Batch:
    """All sequences of up to so many frames of m keys."""
    x = torch.zeros(0, frames, m, dtype=torch.int64)
    lengths: list[int] = []
    for length in range(frames + 1):
        rows = list(itertools.product((0, 1), repeat=length * m))
        part = torch.zeros(len(rows), frames * m, dtype=torch.int64)
        part[:, : length * m] = torch.tensor(rows).reshape(len(rows), -1)
        x, lengths = torch.cat([x, part.view(-1, frames, m)]), lengths + [length] * len(rows)
    return Batch(x=x, length=torch.tensor(lengths))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("head", HEADS)
def test_the_probabilities_of_all_sequences_of_all_lengths_sum_to_one(head, network):
    of_all = every()
    found = model(head, network).log_likelihood(of_all.x, length=of_all.length)
    assert float(found.nats.exp().sum()) == pytest.approx(1.0, abs=1e-12)
    assert torch.allclose(torch.as_tensor(found.count), of_all.length.double())  # a frame counts as one


def test_keys_are_independent_given_the_past_with_one_head_and_not_with_the_other():
    """p(a, b) p(not a, not b) = p(a, not b) p(not a, b) for two keys of a frame, the third silent."""
    rows = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]])
    x = torch.stack([torch.tensor([[0, 1, 1]]).expand(4, 3), rows], dim=1)

    def odds(head: str) -> float:
        n = model(head).log_likelihood(x, length=torch.full((4,), 2)).nats
        return float(n[0] + n[1] - n[2] - n[3])

    assert odds("independent") == pytest.approx(0.0, abs=1e-12)
    assert abs(odds("nade")) > 1e-3


@pytest.mark.parametrize("network", NETWORKS)
def test_a_frame_depends_on_those_before_it_and_on_none_after(network):
    made = model(network=network, space=replace(ROLLS, fields={"roll": Categorical(k=2, shape=(4, 3), varying=True)}))
    x = Rng(0)("x").integers(2, (1, 4, 3))
    length = torch.tensor([4])
    before = made._each(x, length, None)[1]
    for t in range(4):
        moved = x.clone()
        moved[0, t] = 1 - moved[0, t]
        after = made._each(moved, length, None)[1]
        assert torch.equal(before[:, :t], after[:, :t])
        assert t == 3 or not torch.allclose(before[:, t + 1 :], after[:, t + 1 :])


def test_samples_have_the_frequencies_of_their_probabilities():
    made, of_all, n = model(), every(), 4000
    p = made.log_likelihood(of_all.x, length=of_all.length).nats.exp()
    drawn = made.sample(n, rng=5)
    assert drawn.length is not None
    assert of_all.length is not None
    lengths = of_all.length.tolist()
    rows = {(m, *row): i for i, (m, row) in enumerate(zip(lengths, of_all.x.flatten(1).tolist(), strict=True))}
    number = [rows[(m, *row)] for m, row in zip(drawn.length.tolist(), drawn.x.flatten(1).tolist(), strict=True)]
    seen = np.bincount(number, minlength=len(rows))
    expected = n * p.numpy()
    # Pearson's statistic of 73 cells has mean 72 and deviation 12
    assert ((seen - expected) ** 2 / expected).sum() < 72 + 5 * 12


@pytest.mark.parametrize("fewest", [0.0, 2.0], ids=["weighed", "drawn anew each frame"])
@pytest.mark.parametrize("head", ["independent", "nade"])
def test_gaps_are_filled_as_bayes_rule_says(head, fewest, monkeypatch):
    """A key of the second frame and one of the third are known, all of the first frame is not: by enumeration."""
    monkeypatch.setattr(frame_steps, "FEWEST", fewest)
    space = replace(ROLLS, fields={"roll": Categorical(k=2, shape=(3, 2), varying=True)})
    made, of_all, n = model(head, "recurrent", space), every(3, 2), 400
    x, known = torch.zeros(1, 3, 2, dtype=torch.int64), torch.zeros(1, 3, 2, dtype=torch.bool)
    x[0, 1, 0] = x[0, 2, 1] = 1
    known[0, 1, 0] = known[0, 2, 1] = True
    fits = (of_all.length == 3) & (of_all.x[:, 1, 0] == 1) & (of_all.x[:, 2, 1] == 1)
    p = made.log_likelihood(of_all.x[fits], length=of_all.length[fits]).nats.softmax(0)
    wanted = (p[:, None, None] * of_all.x[fits]).sum(0)
    many = made.complete(x.expand(n, -1, -1), known.expand(n, -1, -1), length=torch.full((n,), 3), rng=2, particles=32)
    assert bool((many.x[:, 1, 0] * many.x[:, 2, 1] == 1).all())
    share = many.x.double().mean(0)
    # 400 draws: a share's standard error is at most 0.025
    assert float((share - wanted).abs().max()) < 4 * 0.025
    blind = made.complete(x.expand(n, -1, -1), known.expand(n, -1, -1), length=torch.full((n,), 3), rng=2, particles=1)
    assert float((blind.x.double().mean(0) - wanted).abs().max()) > 0.1  # without weights it would have shown


def test_a_particle_without_weight_is_never_drawn_again():
    class Low(Rng):
        def uniform(self, shape, *, dtype=None, device="cpu"):
            return torch.zeros(shape)

    weight = torch.tensor([[0.0, 0.25, 0.0, 0.75]], dtype=torch.float64).log()
    assert frame_steps._again(weight, torch.ones(1, dtype=torch.bool), Low(0)).tolist() == [1, 3, 3, 3]


def test_what_is_known_first_is_continued_exactly():
    """With one particle too, the draws of what follows have the conditional's frequencies."""
    made, n = model(), 1500
    x, known = torch.zeros(1, 2, 3, dtype=torch.int64), torch.zeros(1, 2, 3, dtype=torch.bool)
    x[0, 0], known[0, 0] = torch.tensor([0, 1, 0]), True
    of_all = every()
    fits = (of_all.length == 2) & (of_all.x[:, 0] == x[0, 0]).all(1)
    p = made.log_likelihood(of_all.x[fits], length=of_all.length[fits]).nats.softmax(0)
    wanted = (p[:, None, None] * of_all.x[fits]).sum(0)[1]
    done = made.complete(x.expand(n, -1, -1), known.expand(n, -1, -1), length=torch.full((n,), 2), rng=4, particles=1)
    assert float((done.x[:, 1].double().mean(0) - wanted).abs().max()) < 4 * 0.013


def test_a_beginning_goes_on_to_an_end_of_its_own():
    """Without a length it is drawn too: given the first frame, of all sequences that begin with it."""
    made, of_all, n = model(), every(), 1500
    x, known = torch.zeros(1, 2, 3, dtype=torch.int64), torch.zeros(1, 2, 3, dtype=torch.bool)
    x[0, 0], known[0, 0] = torch.tensor([0, 1, 0]), True
    assert of_all.length is not None
    fits = (of_all.length >= 1) & (of_all.x[:, 0] == x[0, 0]).all(1)
    p = made.log_likelihood(of_all.x[fits], length=of_all.length[fits]).nats.softmax(0)
    done = made.complete(x.expand(n, -1, -1), known.expand(n, -1, -1), rng=4, particles=1)
    assert done.length is not None
    assert float(done.length.double().mean() - p @ of_all.length[fits].double()) == pytest.approx(0, abs=4 * 0.013)
    assert bool((done.x[done.length == 1, 1] == 0).all())
    wanted = (p[:, None] * of_all.x[fits, 1]).sum(0)
    assert float((done.x[:, 1].double().mean(0) - wanted).abs().max()) < 4 * 0.013


def test_the_benchmarks_settings_are_refused_where_they_cannot_be():
    with pytest.raises(ValueError, match="at least one particle"):
        model().complete(torch.zeros(1, 2, 3), torch.ones(1, 2, 3, dtype=torch.bool), rng=0, particles=0)
    with pytest.raises(ValueError, match="no countable values"):
        build(FramesConfig(), Space(fields={"x": Continuous(low=-1, high=1, shape=(3, 2))}))
    with pytest.raises(ValueError, match="a first extent is time"):
        build(FramesConfig(), Space(fields={"x": Categorical(k=3)}))
    known = torch.ones(1, 2, 3, dtype=torch.bool)
    known[0, 0, 1] = False
    with pytest.raises(ValueError, match="gaps before known"):
        model().log_likelihood(torch.zeros(1, 2, 3, dtype=torch.int64), known=known, length=torch.tensor([2]))


@pytest.mark.parametrize("network", NETWORKS)
def test_sequences_that_are_kept_go_on_as_they_were(network):
    made, x = model(network=network), every().x[[9, 20, 33, 50, 72]]
    rows = torch.tensor([3, 0, 0])
    walks = [FrameWalk(made.network, len(part), None) for part in (x, x[rows])]
    for walk, part in zip(walks, (x, x[rows]), strict=True):
        walk.begin_frame()
        for i in range(3):
            walk.take(part[:, 0, i])
    walks[0].keep(rows)
    for walk in walks:
        walk.begin_frame()
    assert torch.allclose(walks[0].end_log_probs(), walks[1].end_log_probs(), atol=1e-12)
    assert not torch.allclose(walks[0].log_probs()[0], walks[0].log_probs()[1])
    assert torch.allclose(walks[0].log_probs(), walks[1].log_probs(), atol=1e-12)
