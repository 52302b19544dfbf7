"""Every family keeps every law, on every kind of space it takes. A new family adds its rows here."""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest

import simulacra.families
from simulacra import laws
from simulacra.core.capabilities import (
    Codec,
    Completer,
    Critic,
    Decoder,
    Fitter,
    Labelled,
    Learner,
    Likelihood,
    Sampler,
    capabilities,
)
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.families.dcgan import DCGAN, DCGANConfig
from simulacra.families.gan import GAN, GANConfig
from simulacra.families.vae import VAE, VAEConfig
from simulacra.laws.examples import drawn
from simulacra.laws.law import Law, Subject
from simulacra.mathematics.adversarial import NonSaturating, Wasserstein, gradient_penalty, r1
from simulacra.mathematics.bounds import iwae
from simulacra.nets.activations import steep_tanh
from simulacra.nets.adversarial import Regulariser

INFINITE = math.inf
KINDS = Classes(names=("a", "b", "c"))
PLANE = Space(fields={"point": Continuous(low=-INFINITE, high=INFINITE, shape=(2,))}, measure="plane")
PICTURES = Space(
    fields={"picture": Continuous(low=-1, high=1, levels=256, shape=(1, 8, 8))}, y=KINDS, measure="8-bit pixels"
)
COLOUR = Space(fields={"picture": Continuous(low=-1, high=1, levels=256, shape=(3, 9, 8))}, measure="8-bit pixels")
BITS = Space(fields={"picture": Continuous(low=-1, high=1, levels=2, shape=(1, 3, 3))}, measure="binary pixels")
WORDS = Space(fields={"word": Categorical(k=7, shape=(6,), varying=True)}, measure="letters")
TABLE = Space(
    fields={
        "age": Continuous(low=0, high=INFINITE, centre=40, scale=10),
        "job": Categorical(k=5),
        "mark": Continuous(low=1, high=5, levels=5, centre=3, scale=1.5),
    },
    y=KINDS,
    missing=("age", "job"),
    measure="columns",
)
NUMBERS = Space(
    fields={"age": Continuous(low=0, high=INFINITE, centre=40, scale=10), "mark": Continuous(low=1, high=5, levels=5)},
    measure="columns",
)


def vae(space: Space, **settings: Any) -> Callable[[], VAE]:
    return lambda: VAE(VAEConfig(latent=3, **settings), space, rng=1)


def gan(space: Space, **settings: Any) -> Callable[[], GAN]:
    return lambda: GAN(GANConfig(latent=3, generator=(16,), critic=(16,), **settings), space, rng=1)


def dcgan(space: Space, **settings: Any) -> Callable[[], DCGAN]:
    return lambda: DCGAN(DCGANConfig(latent=4, width=4, **settings), space, rng=1)


GRADIENT_PENALTY = (Regulariser(penalty=gradient_penalty, weight=10.0),)
LAZY = (Regulariser(penalty=r1, weight=1.0, every=16),)
ROWS: dict[str, Callable[[], Any]] = {
    "vae, pictures with labels": vae(PICTURES),
    "vae, bits": vae(BITS),
    "vae, plane": vae(PLANE),
    "vae, words": vae(WORDS),
    "vae, table with labels": vae(TABLE),
    "vae, importance weighted": vae(BITS, objective=iwae, draws=3),
    "gan, plane": gan(PLANE),
    "gan, pictures with labels": gan(PICTURES),
    "gan, table": gan(NUMBERS),
    "gan, wasserstein": gan(PLANE, game=Wasserstein(), regularisers=GRADIENT_PENALTY),
    "gan, steep": gan(PLANE, activation=steep_tanh),
    "gan, lazy": gan(PLANE, game=NonSaturating(), regularisers=LAZY),
    "dcgan, pictures with labels": dcgan(PICTURES),
    "dcgan, colour": dcgan(COLOUR),
    "dcgan, wasserstein": dcgan(COLOUR, game=Wasserstein(), regularisers=GRADIENT_PENALTY),
}

# what each family can do, so that a lost method is noticed and does not pass as "not applicable"
CAN: dict[str, set[type[Any]]] = {
    "vae": {Learner, Fitter, Sampler, Likelihood, Decoder, Codec, Completer, Labelled},
    "gan": {Learner, Fitter, Sampler, Decoder, Critic, Labelled},
    "dcgan": {Learner, Fitter, Sampler, Decoder, Critic, Labelled},
}


# a VAE completes by a chain of many sweeps: of the laws that ask it to, the quick tests try one row
CHAINS = {"known kept", "completed in space", "unknown unseen", "completed alone", "untouched", "saved and loaded",
          "fitted alike"}  # fmt: skip
QUICK = "vae, table with labels"


def applicable() -> list[Any]:
    return [
        pytest.param(
            make,
            law,
            id=f"{row}: {law.name}",
            marks=[pytest.mark.slow] if row.startswith("vae") and row != QUICK and law.name in CHAINS else [],
        )
        for row, make in ROWS.items()
        for law in laws.LAWS
        if set(law.needs) <= CAN[row.partition(",")[0]]
    ]


@pytest.mark.parametrize(("make", "law"), applicable())
def test_law(make: Callable[[], Any], law: Law):
    result = law(Subject(make=make, data=drawn(make().space, 64, Rng(0)), rng=Rng(0)))
    assert not result.failed, result.detail


@pytest.mark.parametrize("row", ROWS)
def test_it_can_do_what_it_is_said_to(row: str):
    assert CAN[row.partition(",")[0]] <= set(capabilities(ROWS[row]()))


def test_every_family_has_its_rows():
    there = {module.name for module in pkgutil.iter_modules(simulacra.families.__path__)}
    assert there == set(CAN) == {row.partition(",")[0] for row in ROWS}
