"""Couplings: a permutation of the noise, of least cost, and only among examples of the same label."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.mathematics.couplings import Coupling, independent, optimal_transport


def drawn(n: int, *event: int, name: str) -> Tensor:
    return Rng(0)(name).normal((n, *event), dtype=torch.float64)


def cost(x: Tensor, noise: Tensor) -> float:
    return float((x - noise).square().sum())


@pytest.mark.parametrize("coupling", [independent, optimal_transport])
def test_it_is_a_permutation_of_the_noise(coupling: Coupling):
    x, noise = 3 * drawn(40, 2, 3, name="x"), drawn(40, 2, 3, name="n")
    found = coupling(x, noise, None)
    assert torch.equal(found.flatten(1).sort(0).values, noise.flatten(1).sort(0).values)


def test_no_other_pairing_costs_less():
    x, noise = drawn(6, 2, name="x"), drawn(6, 2, name="n")
    least = min(cost(x, noise[list(order)]) for order in itertools.permutations(range(6)))
    assert cost(x, optimal_transport(x, noise, None)) == pytest.approx(least, abs=1e-12)
    assert least < cost(x, independent(x, noise, None))


def test_on_a_line_it_keeps_the_order():
    x, noise = drawn(50, 1, name="x"), drawn(50, 1, name="n")
    found = optimal_transport(x, noise, None)
    assert torch.equal(found[:, 0].argsort(), x[:, 0].argsort())


def test_labels_keep_their_noise_to_themselves():
    # two classes far apart: pairs across them would cost far less, and would give each class half of the normal
    y = Rng(0)("y").integers(2, (60,))
    x, noise = drawn(60, 1, name="x") + 20.0 * y[:, None], drawn(60, 1, name="n")
    found = optimal_transport(x, noise, y)
    for label in (0, 1):
        assert torch.equal(found[y == label].sort(0).values, noise[y == label].sort(0).values)
    crossing = optimal_transport(x, noise, None)
    assert float(crossing[y == 1].mean() - crossing[y == 0].mean()) > 1
