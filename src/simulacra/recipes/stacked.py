"""Stacked MNIST: the networks of DCGAN at three games, and what 26,000 samples of each show of a thousand modes.

The protocol is that of Srivastava et al. 2017 ("VEEGAN"), section 5.2, in the numbers of Lin et al. 2018 ("PacGAN").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from simulacra.core.batch import Data
from simulacra.core.figure import Figure
from simulacra.core.optimisers import AdamW
from simulacra.evaluation.classifier import classifier
from simulacra.evaluation.extractors import Extractor
from simulacra.evaluation.stacked import figures_of_modes, modes_of_samples
from simulacra.families.dcgan import DCGANConfig
from simulacra.mathematics.adversarial import Relativistic, r1, r2
from simulacra.modalities.sources import open_data
from simulacra.modalities.stacked import HELD_OUT, Stacked
from simulacra.nets.adversarial import Regulariser, cosine
from simulacra.nets.remedies import Pack, Remedies
from simulacra.recipes.claims import Published
from simulacra.training.settings import Training

DATA = "stacked-mnist"
LAZY = 8  # the penalties' share of a step falls from a half to a tenth; what counts is gamma and how often it acts


def plain(width: int, steps: int) -> DCGANConfig:
    """Radford et al.'s networks and game."""
    return DCGANConfig(width=width)


def packed(width: int, steps: int) -> DCGANConfig:
    """The same, judged two at a time: Lin et al.'s PacDCGAN2."""
    return replace(plain(width, steps), remedies=Remedies(pack=Pack(size=2)))


def paired(width: int, steps: int) -> DCGANConfig:
    """The same networks at the game of Huang et al. 2024: pairs, R1 and R2, which fall over half of the steps."""
    adam = AdamW(lr=2e-4, betas=(0.0, 0.99))
    rules = tuple(
        Regulariser(penalty=p, weight=1.0, final=0.1, steps=max(1, steps // 2), fall=cosine, every=LAZY)
        for p in (r1, r2)
    )
    return replace(
        plain(width, steps),
        game=Relativistic(),
        regularisers=rules,
        generator_optimiser=adam,
        critic_optimiser=adam,
    )


GAMES: dict[str, Callable[[int, int], DCGANConfig]] = {"dcgan": plain, "pacdcgan2": packed, "r3gan": paired}


def judge() -> tuple[Extractor, Stacked]:
    """The frozen classifier of single digits, trained on MNIST's own, and stacks of the digits it has not seen."""
    grey = open_data("mnist")
    return classifier(grey.train), Stacked(grey.held_out, count=HELD_OUT)


def training(steps: int) -> Training:
    """The batch of Radford et al.; the average is of the last 300 steps."""
    return Training(
        steps=steps, batch=64, precision="bfloat16", average_half_life=20_000.0, log_every=200, save_seconds=60.0
    )


def reverse_kl(model: object, held_out: Data) -> Figure:
    """KL of the modes of 26,000 samples from the data's own shares, nats; how many there are is in its note."""
    extractor, stacks = judge()
    found = modes_of_samples(model, extractor, stacks.weights(), rng=1)
    modes, kl = figures_of_modes(found, extractor, seed=1)
    return replace(kl, note=f"{modes.value:.0f} of {found.k:,} modes; {kl.note}")


def _recipe(steps: int, width: int, what: str, cost: str) -> Published:
    return Published(
        what=f"reverse KL of the thousand modes of stacked MNIST, 26,000 samples, DCGAN at R3GAN's game, {what}",
        published={
            "PacDCGAN2, Lin et al. 2018, section 4.2": "1,000 modes, 0.06 nats",
            "DCGAN, the same table": "99 modes, 3.40 nats",
        },
        target=(0.06, "lower"),
        family="dcgan",
        data=DATA,
        config=paired(width, steps),
        training=training(steps),
        score=reverse_kl,
        cost=cost,
    )


STACKED: dict[str, Published] = {
    "stacked-mnist": _recipe(50_000, 64, "64 channels and up", "not run here; minutes of a GPU by its arithmetic"),
    "stacked-mnist-cpu": _recipe(25_000, 32, "32 channels and up", "about half an hour of one core"),
}
