"""A run that is stopped between its lazy turns goes on as if it had not been: weights, averages and all that adapts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from simulacra.core.batch import Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.biggan import BigGAN, BigGANConfig
from simulacra.families.dcgan import DCGAN, DCGANConfig
from simulacra.families.r3gan import R3GAN, R3GANConfig
from simulacra.families.stylegan import R1, StyleGAN, StyleGANConfig
from simulacra.mathematics.adversarial import Game, NonSaturating, Relativistic
from simulacra.nets.augment import ADA
from simulacra.training.loop import train
from simulacra.training.settings import Training
from simulacra.training.state import weights_and_averages

SPACE = Space(
    fields={"picture": Continuous(low=-1.0, high=1.0, levels=256, shape=(1, 8, 8))},
    y=Classes(names=("a", "b")),
    measure="8-bit pixels",
)


def stylegan() -> StyleGAN:
    rules = (replace(R1, every=5),)
    config = StyleGANConfig(latent=4, style=6, mapping=2, base=32, widest=6, regularisers=rules)
    return StyleGAN(config, SPACE, rng=1)


def r3gan() -> R3GAN:
    return R3GAN(R3GANConfig(latent=4, width=4, widest=8, blocks=1, channels_a_group=4), SPACE, rng=1)


def biggan() -> BigGAN:
    return BigGAN(BigGANConfig(chunk=3, shared=4, width=8, widest=8), SPACE, rng=1)


@pytest.mark.parametrize(
    ("make", "adapts"),
    [
        # the path length's mean, what groups deviate by; gamma's clock; u of the spectral norms
        (stylegan, ("mean_length", "typical")),
        (r3gan, ("duel.steps",)),
        (biggan, ("duel.steps", "norm.u", "running_mean")),
    ],
)
def test_a_stop_between_lazy_turns_changes_nothing(tmp_path: Path, make: Callable[[], Any], adapts: tuple[str, ...]):
    x = (Rng(0).uniform((40, 1, 8, 8)) * 255).to(torch.uint8)
    data = Stored(space=SPACE, x=x, y=Rng(0)("y").integers(2, (40,)), name="noise")
    # path length is due at steps 0 and 4, R1 at 0 and 5: the stop after 3 steps lies between
    whole = Training(steps=6, batch=4, log_every=5, save_seconds=None)
    plain = train(make(), data, whole, device="cpu")
    train(make(), data, Training(**{**vars(whole), "steps": 3}), device="cpu", folder=tmp_path)
    resumed = train(make(), data, whole, device="cpu", folder=tmp_path, resume=True)
    truth, found = (weights_and_averages(t.model, t.averaged) for t in (plain, resumed))
    assert truth.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in truth.items())
    state, begun = resumed.model.state_dict(), make().state_dict()
    for part in adapts:
        moved = [name for name in state if name.endswith(part) and not torch.equal(state[name], begun[name])]
        assert moved, f"{part} has adapted"


@pytest.mark.parametrize("game", [NonSaturating(), Relativistic()])
def test_a_stop_in_the_middle_of_an_adaptive_schedule_changes_nothing(tmp_path: Path, game: Game):
    def make() -> DCGAN:
        # a mean of signs is above this target at once: p moves after steps 4 and 8
        return DCGAN(DCGANConfig(latent=3, width=4, game=game, augment=ADA(target=-0.99, pictures=100)), SPACE, rng=1)

    x = (Rng(0).uniform((40, 1, 8, 8)) * 255).to(torch.uint8)
    data = Stored(space=SPACE, x=x, y=Rng(0)("y").integers(2, (40,)), name="noise")
    whole = Training(steps=10, batch=4, log_every=5, save_seconds=None)
    plain = train(make(), data, whole, device="cpu")
    train(make(), data, replace(whole, steps=6), device="cpu", folder=tmp_path)
    resumed = train(make(), data, whole, device="cpu", folder=tmp_path, resume=True)
    state = resumed.model.state_dict()
    assert float(state["duel.augmenter.p"]) == pytest.approx(2 * 16 / 100)
    assert int(state["duel.augmenter.steps"]) == 2
    assert int(state["duel.augmenter.pictures"]) == 8
    truth = plain.model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in truth.items())
