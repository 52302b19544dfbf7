"""Published figures and the settings that are to reach them: what ``simulacra reproduce`` runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulacra.core.batch import Data
from simulacra.core.figure import Figure
from simulacra.core.optimisers import AdamW, Warmup
from simulacra.core.randomness import Rng
from simulacra.evaluation.likelihood import figures_of_likelihood, log_likelihood
from simulacra.families.hvae import HVAEConfig
from simulacra.families.vae import VAEConfig
from simulacra.mathematics.bounds import iwae
from simulacra.mathematics.ladder import LadderWarmup
from simulacra.nets.backbones import Convolutional
from simulacra.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published figure, and a setting that is to reach it.

    what       what was measured, in words.
    published  source -> its figure, in words with the unit.
    target     the value this setting is to reach, and in which direction its figure is better ("lower", "higher").
    family, data, options, config, training  what to fit, on what: ``open_data(data, **options)``.
    score      (model, held-out data) -> the figure.
    cost       what it takes, in words.
    """

    what: str
    published: Mapping[str, str]
    target: tuple[float, str]
    family: str
    data: str
    config: Any
    training: Training
    score: Callable[[Any, Data], Figure]
    options: Mapping[str, Any] = field(default_factory=dict)
    cost: str = ""


def importance_weighted(model: Any, held_out: Data, *, draws: int = 1_000, n: int = 1_000) -> Figure:
    """-log p of the first n held-out examples by IWAE with that many draws (Burda et al. 2016), nats."""
    found = log_likelihood(model, held_out, n=n, rng=Rng(1)("score"), batch=50, options={"k": draws})
    return figures_of_likelihood(found, seed=1)[0]


PUBLISHED: dict[str, Published] = {
    "vae-mnist": Published(
        what="negative log-likelihood of dynamically binarised MNIST under a VAE of one layer of 50 latents, IWAE-1000",
        published={
            "VAE, Burda, Grosse & Salakhutdinov 2016, table 1, one layer": "86.76 nats (IWAE-5000)",
            "IWAE-50, the same table": "84.78 nats (IWAE-5000)",
        },
        target=(87.0, "lower"),
        family="vae",
        data="mnist-binary",
        options={"labels": "none"},
        config=VAEConfig(
            latent=50,
            networks=Convolutional(width=32),
            optimiser=AdamW(lr=2e-3, schedule=Warmup(steps=300, decay=0.8, final=0.005)),
        ),
        training=Training(
            steps=16_000, batch=128, precision="bfloat16", average_half_life=50_000.0, log_every=500, save_seconds=120.0
        ),
        score=importance_weighted,
        cost="about an hour of one core with bfloat16 matrix units",
    ),
    "iwae-mnist": Published(
        what="negative log-likelihood of dynamically binarised MNIST under an IWAE-50 of one layer of 50 latents",
        published={
            "IWAE-50, Burda, Grosse & Salakhutdinov 2016, table 1, one layer": "84.78 nats (IWAE-5000)",
            "VAE, the same table": "86.76 nats (IWAE-5000)",
        },
        target=(85.5, "lower"),
        family="vae",
        data="mnist-binary",
        options={"labels": "none"},
        # fifty decodings an example: a narrow decoder without residual blocks, which convolutions still make learn fast
        config=VAEConfig(
            latent=50,
            networks=Convolutional(width=16, blocks=0),
            objective=iwae,
            draws=50,
            optimiser=AdamW(lr=2e-3, schedule=Warmup(steps=300, decay=0.8, final=0.005)),
        ),
        training=Training(
            steps=16_000, batch=64, precision="bfloat16", average_half_life=50_000.0, log_every=500, save_seconds=120.0
        ),
        score=importance_weighted,
        cost="about an hour and a half of one core with bfloat16 arithmetic",
    ),
    "hvae-mnist": Published(
        what="negative log-likelihood of dynamically binarised MNIST under a ladder of seven latent groups, IWAE-1000",
        published={
            "ladder VAE, Sonderby et al. 2016, five layers": "81.74 nats (IWAE-5000)",
        },
        target=(82.0, "lower"),
        family="hvae",
        data="mnist-binary",
        options={"labels": "none"},
        config=HVAEConfig(
            groups=(2, 3, 2),
            objective=LadderWarmup(steps=2_000),
            optimiser=AdamW(lr=2e-3, schedule=Warmup(steps=300, decay=0.8, final=0.005)),
        ),
        training=Training(
            steps=16_000,
            batch=128,
            precision="bfloat16",
            clip=100.0,
            average_half_life=50_000.0,
            log_every=500,
            save_seconds=120.0,
        ),
        score=importance_weighted,
        cost="about two hours of one core with bfloat16 arithmetic",
    ),
}
