"""Walks along one latent dimension at a time of models whose decoder is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Independent, Normal

from simulacra.core.space import Categorical, Continuous, Space
from simulacra.uses.traverse import divergences, traverse

INF = math.inf


class Decoding:
    """x = (z0 + z1, 5 z1, z2 / 10)."""

    latent = Space(fields={"z": Continuous(low=-INF, high=INF, shape=(3,))})
    W = torch.tensor([[1.0, 1.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 0.1]])

    def decode(self, z, *, y=None):
        return z @ self.W.T


class Coding(Decoding):
    """Tells of z2 most, then of z0; z1 is the prior whatever x."""

    def encode(self, x, *, y=None):
        return torch.zeros(len(x), 3)

    def posterior(self, x, *, y=None):
        scale = torch.tensor([0.5, 1.0, 0.1]).expand(len(x), 3)
        return Independent(Normal(torch.tensor([0.3, 0.0, 0.0]).expand(len(x), 3), scale), 1)


def test_one_dimension_moves_and_the_others_stay():
    start = torch.tensor([0.3, -0.2, 1.0])
    found = traverse(Coding(), start=start, examples=torch.zeros(4, 3), steps=5)
    assert found.frames.shape == (3, 5, 3)
    assert found.at.tolist() == [-2, -1, 0, 1, 2]
    for row, j in enumerate(found.dimensions):
        for column, v in enumerate(found.at):
            z = start.clone()
            z[j] = v
            torch.testing.assert_close(found.frames[row, column], Coding().decode(z[None])[0])


def test_rows_are_in_the_order_of_what_they_tell():
    found = traverse(Coding(), examples=torch.zeros(4, 3))
    assert found.dimensions == (2, 0, 1)
    # 1/2 (m^2 + s^2 - 1) - log s
    expected = [0.5 * (0.01 - 1) - math.log(0.1), 0.5 * (0.09 + 0.25 - 1) - math.log(0.5), 0.0]
    torch.testing.assert_close(found.tells, torch.tensor(expected), atol=1e-6, rtol=0)
    assert found.captions()[0] == "z2: 1.81 nats"
    assert traverse(Coding(), examples=torch.zeros(4, 3), rows=1).dimensions == (2,)
    assert divergences(Coding(), torch.zeros(4, 3)).argmax() == 2


def test_without_an_encoder_the_change_ranks():
    found = traverse(Decoding(), steps=9, rng=1)
    assert found.dimensions == (1, 0, 2)
    # of 9 evenly spaced values in [-2, 2] the variance is 1.875; z1 moves two of three entries, by 1 and 5
    torch.testing.assert_close(found.tells[0], torch.tensor(1.875 * 26 / 3, dtype=torch.float64))
    again, other = traverse(Decoding(), rng=1), traverse(Decoding(), rng=2)
    assert torch.equal(again.frames, found.frames)
    assert not torch.equal(other.frames, found.frames)


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="traverse needs a Decoder"):
        traverse(object())

    class Sorting(Decoding):
        latent = Space(fields={"z": Categorical(k=3, shape=(3,))})

    with pytest.raises(ValueError, match="those of Sorting are categories"):
        traverse(Sorting())
    with pytest.raises(ValueError, match="2 steps or more"):
        traverse(Decoding(), steps=1)
