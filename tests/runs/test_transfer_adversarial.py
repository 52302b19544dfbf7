"""Adversarial runs that start from adversarial runs: other classes, other sizes, other channels, a frozen critic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import simulacra
from simulacra.core.randomness import Rng
from simulacra.families.biggan import BigGANConfig
from simulacra.families.dcgan import DCGANConfig
from simulacra.families.r3gan import R3GANConfig
from simulacra.families.stylegan import StyleGANConfig
from simulacra.modalities.sources import open_data
from simulacra.runs.fitting import plan
from simulacra.runs.run import Run
from simulacra.runs.starting import start
from simulacra.training.settings import Training
from simulacra.training.state import named

CONFIGS: dict[str, Any] = {
    "dcgan": DCGANConfig(latent=3, width=4),
    "r3gan": R3GANConfig(latent=4, width=4, widest=64, blocks=1, channels_a_group=4),
    "stylegan": StyleGANConfig(latent=4, style=6, mapping=2, base=64, widest=64),
    "biggan": BigGANConfig(chunk=3, shared=4, width=4, widest=64, attention=16),
}
BRIEF = Training(steps=1, batch=4, save_seconds=None)


def pictures(folder: Path, channels: int, side: int, classes: tuple[str, ...]) -> Path:
    draw = np.random.default_rng(0)
    for i in range(30):
        home = folder / classes[i % len(classes)]
        home.mkdir(parents=True, exist_ok=True)
        x = draw.integers(0, 256, (side, side, channels), dtype=np.uint8)
        Image.fromarray(x[:, :, 0] if channels == 1 else x).save(home / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[str, Path]:
    """Pictures of noise, by what is unlike the parent's."""
    home = tmp_path_factory.mktemp("pictures")
    shapes = {"parent": (1, 16, "ab"), "classes": (1, 16, "bcd"), "larger": (1, 32, "ab"), "smaller": (1, 8, "ab"),
              "colour": (3, 16, "ab")}  # fmt: skip
    return {name: pictures(home / name, c, side, tuple(known)) for name, (c, side, known) in shapes.items()}


@pytest.fixture(scope="module", params=CONFIGS)
def parent(request, data, tmp_path_factory) -> Run:
    """A run of each family, after one step."""
    folder = tmp_path_factory.mktemp(request.param)
    return simulacra.fit(request.param, str(data["parent"]), out=folder / "run", config=CONFIGS[request.param],
                         training=BRIEF)  # fmt: skip


def begun(parent: Run, source: Path, folder: Path, **changes: Any) -> Any:
    """What a run from there starts as: its recipe, model and what is said."""
    recipe = plan(parent.recipe.family, open_data(str(source)), parent=parent, training=BRIEF)
    return start(replace(recipe, config=replace(recipe.config, **changes)), folder, parent)


def test_a_class_that_both_know_means_what_it_meant(parent, data, tmp_path):
    started = begun(parent, data["classes"], tmp_path)
    assert not started.recipe.lineage["anew"]
    ours, theirs = started.model.eval().duel, parent.model.eval().duel
    z, u = (
        Rng(3)(name).normal(shape) for name, shape in (("z", (5, *theirs.latent.only.shape)), ("u", (5, 1, 16, 16)))
    )
    here, there = (torch.eye(n)[i].expand(5, n) for n, i in ((3, 0), (2, 1)))  # "b" of b, c, d and of a, b
    torch.testing.assert_close(ours.generator(z, here), theirs.generator(z, there))
    if parent.recipe.family != "biggan":  # whose spectral norm is one of all classes together
        torch.testing.assert_close(ours.critic(u, here), theirs.critic(u, there))
    assert not torch.allclose(theirs.critic(u, torch.eye(2)[0].expand(5, 2)), theirs.critic(u, there), rtol=1e-3)


def test_a_picture_of_other_channels_begins_anew_at_its_first_and_last_layer_alone(parent, data, tmp_path):
    started = begun(parent, data["colour"], tmp_path)
    anew = started.recipe.lineage["anew"]
    assert 0 < len(anew) < len(started.recipe.lineage["whole"]) / 4
    shape = {name: t.shape for name, t in named(started.model).items()}
    assert all({1, 3} & {*shape[name]} or name.endswith(".u") or 27 in shape[name] for name in anew)


# lists of layers of which those that are as wide stand at the end, and those at the start
AT_END = {"dcgan": ("generator.layers",), "r3gan": ("generator.stages", "generator.narrow"),
          "stylegan": ("critic.blocks",), "biggan": ("generator.blocks",)}  # fmt: skip
AT_START = {"dcgan": ("critic.layers",), "r3gan": ("critic.stages", "critic.widen"),
            "stylegan": ("generator.synthesis.convolutions",), "biggan": ("critic.blocks",)}  # fmt: skip


@pytest.mark.parametrize("other", ["larger", "smaller"])
def test_pictures_of_another_size_take_over_every_layer_that_they_share(parent, data, tmp_path, other):
    started = begun(parent, data[other], tmp_path)
    for paths, end in ((AT_END, True), (AT_START, False)):
        for path in paths[parent.recipe.family]:
            ours, theirs = (list(m.duel.get_submodule(path)) for m in (started.model, parent.model))
            shared = min(len(ours), len(theirs))
            assert len(ours) > len(theirs) or other == "smaller"
            for i in range(shared):
                place = i - shared if end else i
                mine, its = ours[place].state_dict(), theirs[place].state_dict()
                fits = all(mine[name].shape == its[name].shape for name in its)
                # where lists meet the picture's own channels or the vector at the other end, one alone may not fit
                assert fits or i in (0, shared - 1), f"{path} {place}"
                assert not fits or all(torch.equal(mine[name], its[name]) for name in its), f"{path} {place}"


@pytest.mark.slow  # a parent of each family, and a child of it
@pytest.mark.parametrize("other", ["classes", "larger", "smaller", "colour"])
def test_it_learns_on_from_there(parent, data, tmp_path, other):
    said: list[str] = []
    child = simulacra.fit(parent.recipe.family, str(data[other]), out=tmp_path / "child", training=BRIEF, parent=parent,
                          say=said.append)  # fmt: skip
    assert any(line.startswith("starts from") for line in said)
    drawn = child.sample(2).x
    assert drawn.shape[1:] == child.recipe.space.only.shape
    assert bool(drawn.isfinite().all())


def test_a_frozen_critic_has_learnt_before(parent, data, tmp_path):
    started = begun(parent, data["classes"], tmp_path, frozen=1)
    frozen = [name for name, p in started.model.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(torch.equal(named(started.model)[name], named(parent.model)[name]) for name in frozen)
    with pytest.raises(ValueError, match=r"is frozen, but the parent has none of its shape; freeze less"):
        begun(parent, data["colour"], tmp_path, frozen=1)


def test_layers_of_a_critic_that_has_learnt_nothing_are_not_frozen(data, tmp_path):
    config = replace(CONFIGS["dcgan"], frozen=1)
    with pytest.raises(ValueError, match=r"frozen=1 keeps layers of a critic that has learnt; give the run .* --from"):
        simulacra.fit("dcgan", str(data["parent"]), out=tmp_path / "run", config=config, training=BRIEF)
