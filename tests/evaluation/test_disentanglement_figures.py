"""Disentanglement: 1 on perfect codes, chance on random ones, between on rotated ones; on a model and data."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.batch import Factor
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Continuous, Space
from simulacra.evaluation.disentanglement import NAMES, Groups, disentanglement, figures_of_codes, measurable
from simulacra.modalities.sprites import Sprites
from simulacra.modalities.toys import ring

FACTORS = (Factor(name="shape", values=3, ordered=False), Factor(name="size", values=6), Factor(name="x", values=16))
N = 2000
FEW = Groups(count=200, each=32)


def factors() -> torch.Tensor:
    return torch.stack([Rng(0)(f.name).integers(f.values, (N,)) for f in FACTORS], 1)


def perfect() -> torch.Tensor:
    """Every factor in a dimension of its own, in another order, scale and sign, and two dimensions asleep."""
    v = factors().double()
    z = torch.stack([-3 * v[:, 2], v[:, 0], 0.5 * v[:, 1] + 4], 1)
    z = (z - z.mean(0)) / z.std(0)
    return torch.cat([z, 0.001 * Rng(1)("asleep").normal((N, 2), dtype=torch.float64)], 1)


def measured(codes: torch.Tensor) -> dict[str, float]:
    return {f.name: f.value for f in figures_of_codes(codes, factors(), FACTORS, rng=3, groups=FEW)}


@pytest.fixture(scope="module")
def rotated() -> dict[str, float]:
    turn = torch.linalg.qr(Rng(5)("turn").normal((3, 3), dtype=torch.float64))[0]
    return measured(torch.cat([perfect()[:, :3] @ turn, perfect()[:, 3:]], 1))


@pytest.fixture(scope="module")
def best() -> dict[str, float]:
    return measured(perfect())


def test_perfect_codes_score_one(best):
    assert tuple(best) == NAMES
    for name in ("beta-VAE score", "FactorVAE score"):
        assert best[name] == 1, name
    # a dimension that knows nothing seems to tell (B - 1)(V - 1) / 2n nats; a forest's stray splits cost as little
    for name in ("mutual information gap", "DCI disentanglement", "DCI completeness", "SAP score", "modularity"):
        assert best[name] > 0.93, name
    assert best["DCI informativeness"] > 0.99


def test_random_codes_score_what_chance_does():
    figures = {f.name: f for f in figures_of_codes(
        Rng(7)("z").normal((N, 5), dtype=torch.float64), factors(), FACTORS, rng=3, groups=FEW
    )}  # fmt: skip
    for name in ("beta-VAE score", "FactorVAE score"):
        # of three factors; 200 groups
        assert abs(figures[name].value - 1 / 3) < 5 * math.sqrt(2 / 9 / 200), name
    for name in (
        "mutual information gap",
        "DCI disentanglement",
        "DCI completeness",
        "DCI informativeness",
        "SAP score",
    ):
        assert figures[name].value < 0.1, name
    for figure in figures.values():
        chance = float(figure.note.split(";")[-1].removesuffix(" by chance"))
        assert abs(figure.value - chance) < 0.15, figure.name


def test_rotated_codes_lie_between(best, rotated):
    for name in ("mutual information gap", "DCI disentanglement", "DCI completeness", "SAP score"):
        assert rotated[name] < 0.7 * best[name], name
    assert rotated["modularity"] < best["modularity"] - 0.1
    assert rotated["FactorVAE score"] < 1
    assert rotated["DCI informativeness"] > 0.8  # nothing is lost by turning


def test_figures_are_those_of_the_seed():
    first, again = (figures_of_codes(perfect(), factors(), FACTORS, rng=3, groups=FEW) for _ in range(2))
    assert first == again
    assert first[0].seed == 3
    assert first[0].n == N
    assert all(f.direction == "higher" and f.interval is None and "chance" in f.note for f in first)
    assert any("20 bins of equal width" in f.note for f in first)


class Knowing:
    """Encodes a sprite as what it was made from, read off its pixels: its centre and its size."""

    space = Sprites(side=16).space
    latent = Space(fields={"z": Continuous(low=-math.inf, high=math.inf, shape=(3,))})

    def encode(self, x, *, y=None):
        white = (x[:, 0] > 0).double()
        mass = white.sum((1, 2))
        ticks = torch.linspace(-1, 1, 16, dtype=torch.float64)
        return torch.stack([(white.sum(1) @ ticks) / mass, (white.sum(2) @ ticks) / mass, mass.sqrt()], 1)

    def decode(self, z, *, y=None):
        return torch.zeros(len(z), 1, 16, 16)

    def posterior(self, x, *, y=None):
        return torch.distributions.Independent(torch.distributions.Normal(self.encode(x), 1.0), 1)


def test_a_model_of_sprites_is_measured():
    figures = {f.name: f.value for f in disentanglement(Knowing(), Sprites(side=16), n=1500, groups=FEW)}
    # x and y are told by one dimension each, size nearly, shape and orientation hardly: 0.4 to 0.6 of the factors
    assert 0.3 < figures["mutual information gap"] < 0.7
    assert 0.4 < figures["SAP score"] < 0.7
    assert 0.5 < figures["FactorVAE score"] < 0.9


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="data made from known factors"):
        disentanglement(Knowing(), ring())
    with pytest.raises(ValueError, match="disentanglement needs a Codec"):
        disentanglement(object(), Sprites(side=16))

    class Sorting(Knowing):
        latent = Space(fields={"z": Categorical(k=3, shape=(3,))})

    assert measurable(Knowing(), Sprites(side=16))
    assert not measurable(Sorting(), Sprites(side=16))
    with pytest.raises(ValueError, match="codes that are real numbers"):
        disentanglement(Sorting(), Sprites(side=16))
    z, v = perfect(), factors()
    for codes, values, message in (
        (z[:, :1], v, "d of 2 or more"),
        (z, v[:, :2], r"must be \(2000, 3\)"),
        (z[:50], v[:50], "100 examples or more"),
        (torch.where(z > 2, math.nan, z) if bool((z > 2).any()) else z * math.nan, v, "must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            figures_of_codes(codes, values, FACTORS)
