"""Searching codes: chains whose stationary distribution is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Continuous, Space
from simulacra.uses.latent import Search, search


class Sign(nn.Module):
    """One code; decoded to whether it is positive."""

    space = Space(fields={"x": Categorical(k=2, shape=(1,))})
    latent = Space(fields={"z": Continuous(low=-math.inf, high=math.inf, shape=(1,))})

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))

    def log_prob_given(self, x: Tensor, z: Tensor, **given: object) -> Tensor:
        return torch.where((z > 0).long() == x, 0.0, -math.inf)[:, 0]

    def sample_from(self, z: Tensor, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        return Batch(x=(z > 0).long())


@pytest.mark.parametrize("sigma", [0.0, 1.0, 3.0])
def test_codes_come_to_the_tilted_prior(sigma):
    """p*(x = 1) = e^sigma / (e^sigma + 1), and given x the code is half a normal: E |z| = sqrt(2 / pi)."""
    n = 4000
    found = search(Sign(), lambda batch: batch.x[:, 0].double(), n, Search(sigma=sigma, step=0.7, steps=40), rng=1)
    share = math.exp(sigma) / (math.exp(sigma) + 1)
    assert float(found.scores.mean()) == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / n))
    assert torch.equal(found.batch.x[:, 0].double(), found.scores)
    assert torch.equal((found.codes > 0).long(), found.batch.x)
    assert float(found.codes.abs().mean()) == pytest.approx(math.sqrt(2 / math.pi), abs=4 * 0.603 / math.sqrt(n))
    assert found.accepted == pytest.approx(1.0) if sigma == 0 else found.accepted < 1


def test_what_cannot_be_searched_is_told():
    with pytest.raises(ValueError, match="needs a LatentVariable"):
        search(nn.Linear(1, 1), lambda b: b.x, 2, Search(), rng=0)
    with pytest.raises(ValueError, match=r"step in \(0, 1\]"):
        Search(step=0.0)
