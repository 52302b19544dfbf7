"""Hidden Markov chains against sums over every path."""

import itertools
import math

import torch

from simulacra.core.randomness import Rng
from simulacra.laws.sampling import multinomial_p
from simulacra.mathematics import markov

S, T = 3, 4
LENGTHS = torch.tensor([4, 2, 0])


def world():
    draw = lambda name, *shape: Rng(6)(name).normal(shape, dtype=torch.float64)  # noqa: E731
    initial = draw("initial", 3, S).softmax(1) * torch.tensor([1.0, 0.5, 0.25])[:, None].double()
    return initial, draw("moves", S, S).softmax(1), 3 * draw("emission", 3, T, S), torch.arange(T) < LENGTHS[:, None]


def paths(row):
    """log p of every path and the steps of a row."""
    initial, transition, emission, _ = world()
    n, found = int(LENGTHS[row]), {}
    for path in itertools.product(range(S), repeat=n):
        p = float(initial[row, path[0]].log()) if n else float(initial[row].sum().log())
        p += sum(float(transition[a, b].log()) for a, b in itertools.pairwise(path))
        found[path] = p + sum(float(emission[row, t, s]) for t, s in enumerate(path))
    return found


def test_forward_is_the_sum_over_all_paths():
    found = markov.forward(*world())
    for row in range(3):
        assert abs(float(found.nats[row]) - math.log(sum(map(math.exp, paths(row).values())))) < 1e-10


def test_smoothing_is_the_share_of_the_paths():
    initial, transition, emission, present = world()
    gamma, moves = markov.smooth(transition, markov.forward(initial, transition, emission, present), present)
    expected, counted = torch.zeros(3, T, S).double(), torch.zeros(S, S).double()
    for row in range(3):
        weights = paths(row)
        total = sum(map(math.exp, weights.values()))
        for path, p in weights.items():
            for t, s in enumerate(path):
                expected[row, t, s] += math.exp(p) / total
            for a, b in itertools.pairwise(path):
                counted[a, b] += math.exp(p) / total
    assert torch.allclose(gamma, expected, atol=1e-10)
    assert torch.allclose(moves, counted, atol=1e-10)


def test_the_likeliest_path_is_the_likeliest():
    path, nats = markov.likeliest(*world())
    for row in range(2):
        weights = paths(row)
        best = max(weights, key=lambda p: weights[p])
        assert tuple(path[row, : len(best)].tolist()) == best
        assert not bool(path[row, len(best) :].any())
        assert abs(float(nats[row]) - weights[best]) < 1e-10


def test_paths_are_drawn_as_likely_as_they_are():
    initial, transition, emission, present = (t[1:2].expand(4000, *t.shape[1:]) if len(t) == 3 and i != 1 else t
                                              for i, t in enumerate(world()))  # fmt: skip
    found = markov.forward(initial, transition, 0.3 * emission, present)
    path = markov.draw_back(transition, found, present, Rng(1))[:, :2]
    one, moves, scores = initial[0], transition, 0.3 * emission[0]
    p = (one[:, None] * moves * (scores[0][:, None] + scores[1]).exp()).flatten()
    counts = torch.bincount(path[:, 0] * S + path[:, 1], minlength=S * S)
    assert multinomial_p(counts.numpy(), (p / p.sum()).numpy()) > 1e-6


def test_steps_of_tiny_probability_do_not_underflow():
    initial, transition, emission, present = world()
    found = markov.forward(initial, transition, emission - 1e5, present)
    assert torch.allclose(found.nats[:2], markov.forward(*world()).nats[:2] - 1e5 * LENGTHS[:2], rtol=1e-12)
