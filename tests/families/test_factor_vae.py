"""FactorVAE: its discriminator's logit is the total correlation where that is known, and its penalty lowers it."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.batch import Batch, Stored
from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.families.factor_vae import FactorVAE, FactorVAEConfig
from simulacra.families.vae import VAE, VAEConfig
from simulacra.mathematics.divergences import shuffled
from simulacra.nets.backbones import Dense
from simulacra.training.loop import train
from simulacra.training.settings import Training

INF = math.inf
PLANE = Space(fields={"point": Continuous(low=-INF, high=INF, shape=(2,))}, measure="plane")
LINEAR = Dense(hidden=())
RHO = 0.8


def correlated(n: int, seed: int = 0) -> torch.Tensor:
    """Points of unit variance and correlation RHO."""
    e = Rng(seed)("e").normal((n, 2))
    return torch.stack([e[:, 0], RHO * e[:, 0] + math.sqrt(1 - RHO**2) * e[:, 1]], 1)


def copying(**settings) -> FactorVAE:
    """Its codes are the points themselves, with a deviation of one in a hundred."""
    model = FactorVAE(FactorVAEConfig(latent=2, networks=LINEAR, discriminator=(32, 32), **settings), PLANE)
    with torch.no_grad():
        layer = model.encoder.layers[0]
        layer.weight.copy_(torch.cat([torch.eye(2), torch.zeros(2, 2)]))
        layer.bias.copy_(torch.tensor([0.0, 0.0, math.log(0.01), math.log(0.01)]))
    return model


class LogRatio(torch.nn.Module):
    """log q(z) - sum_j log q(z_j) of the correlated Gaussian, stretched and shifted."""

    def __init__(self, stretch: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.stretch, self.shift = stretch, shift

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        square = (RHO**2 * z.square().sum(1) - 2 * RHO * z[:, 0] * z[:, 1]) / (2 * (1 - RHO**2))
        return (self.stretch * (-square - 0.5 * math.log(1 - RHO**2)) + self.shift)[:, None]


def test_the_best_discriminator_is_the_log_ratio_and_its_mean_the_total_correlation():
    model, batch, losses = copying(), Batch(x=correlated(20_000)), {}
    for stretch, shift in ((1.0, 0.0), (0.7, 0.0), (1.4, 0.0), (1.0, 0.3), (1.0, -0.3)):
        model.discriminator = LogRatio(stretch, shift)
        losses[stretch, shift] = float(model.discriminator_loss(batch, Rng(2)).total.detach())
    assert min(losses, key=lambda k: losses[k]) == (1.0, 0.0)
    model.discriminator = LogRatio()
    found = model.vae_loss(batch, Rng(2)).terms["total_correlation"] / 20_000
    # of a Gaussian it is -log(1 - rho^2) / 2 nats; the log ratio's variance is rho^2
    assert float(found) == pytest.approx(-0.5 * math.log(1 - RHO**2), abs=5 * RHO / math.sqrt(20_000) + 1e-3)


def test_shuffling_keeps_every_column_and_parts_them():
    z = correlated(5000)
    mixed = shuffled(z, Rng(3))
    assert torch.equal(mixed.sort(0).values, z.sort(0).values)
    assert abs(float(torch.corrcoef(mixed.T)[0, 1])) < 5 / math.sqrt(5000)


def test_without_a_penalty_its_loss_is_the_vae_s():
    settings = {"latent": 3, "networks": Dense(hidden=(8,))}
    model, plain = FactorVAE(FactorVAEConfig(gamma=0.0, **settings), PLANE), VAE(VAEConfig(**settings), PLANE)
    batch = Batch(x=correlated(50))
    mine, theirs = model.vae_loss(batch, Rng(1)), plain.loss(batch, Rng(1))
    assert torch.equal(mine.total, theirs.total)
    weighed = FactorVAE(FactorVAEConfig(gamma=7.0, **settings), PLANE).vae_loss(batch, Rng(1))
    assert torch.allclose(weighed.total - mine.total, 7 * weighed.terms["total_correlation"])


def test_codes_that_are_independent_are_not_told_apart():
    model = copying()
    found = model.discriminator_loss(Batch(x=Rng(0)("x").normal((20_000, 2))), Rng(1))
    assert float(found.terms["told_apart"] / found.weight) == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(20_000))


@pytest.mark.slow
def test_the_penalty_makes_codes_independent():
    """Codes that begin as copies of correlated points, taught by the same steps with and without the penalty."""
    data, left = Stored(space=PLANE, x=correlated(4000)), {}
    for gamma in (0.0, 20.0):
        swift = AdamW(lr=5e-3, betas=(0.5, 0.9))
        model = copying(gamma=gamma, optimiser=AdamW(lr=2e-3), discriminator_optimiser=swift)
        model = train(model, data, Training(steps=400, batch=256, average_half_life=0.0)).model
        x = correlated(4000, 7)
        z = model.posterior(x).base_dist.sample()
        left[gamma] = abs(float(torch.corrcoef(z.T)[0, 1]))
    assert left[20.0] < 0.1 < left[0.0]


@pytest.mark.parametrize(("wrong", "message"), [({"latent": 1}, "at least 2"), ({"gamma": -1.0}, "not be negative")])
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        FactorVAEConfig(**wrong)
