"""Runs that start from runs: what they begin as, what they keep of it, what they say, and how they fail."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import simulacra
from simulacra.core.checkpoint import load_tensors
from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.families.diffusion import DiffusionConfig
from simulacra.families.vae import VAEConfig
from simulacra.modalities.sources import open_data
from simulacra.nets.backbones import Dense
from simulacra.nets.denoisers import Convolutional
from simulacra.nets.lora import LoRA, adapted, dense
from simulacra.runs import transfer
from simulacra.runs.fitting import plan
from simulacra.runs.recipe import read, replace
from simulacra.runs.run import WEIGHTS
from simulacra.runs.starting import start
from simulacra.training.settings import Training
from simulacra.training.state import named, weights

ADAM = AdamW(lr=1e-3)
UNET = DiffusionConfig(backbone=Convolutional(width=8, blocks=1), optimiser=ADAM)
VAE = VAEConfig(latent=2, networks=Dense(hidden=(32, 32)), optimiser=ADAM)
BRIEF = Training(steps=4, batch=8, log_every=2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A diffusion model and a VAE of the digits, hardly trained."""
    folder = tmp_path_factory.mktemp("transfer")
    simulacra.fit("diffusion", "digits", out=folder / "diffusion", config=UNET, training=Training(steps=1, batch=8))
    simulacra.fit("vae", "digits", out=folder / "vae", config=VAE, training=BRIEF)
    return folder


@pytest.fixture
def parent(runs, tmp_path) -> Path:
    return Path(shutil.copytree(runs / "vae", tmp_path / "parent"))


def before_the_first_step(path: Path, adapter=None):
    """The model that a run from there starts as."""
    above, loaded = simulacra.load(path), open_data("digits")
    recipe = plan(above.recipe.family, loaded, parent=above, training=BRIEF)
    started = start(replace(recipe, adapter=adapter), path.parent / "child", above)
    started.begin(started.model, loaded.train)
    return above.model, started.model.eval()


@pytest.mark.parametrize("family", ["diffusion", "vae"])
def test_without_a_step_it_is_its_parent(runs, family):
    above, model = before_the_first_step(runs / family)
    assert all(torch.equal(t, named(model)[name]) for name, t in named(above).items())


def test_with_adapters_it_begins_as_its_parent_bit_for_bit(runs):
    above, model = before_the_first_step(runs / "diffusion", LoRA(rank=2))
    drawn = [m.sample(3, rng=4, steps=3).x for m in (above, model)]
    assert torch.equal(*drawn)
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learns == {name for name, _ in model.named_parameters() if adapted(name)} != set()


def test_a_run_remembers_where_it_comes_from(parent, tmp_path):
    said = []
    child = simulacra.fit("vae", "digits", out=tmp_path / "child", training=BRIEF, parent=parent, say=said.append)
    grandchild = simulacra.fit("vae", "digits", out=tmp_path / "next", training=BRIEF, parent=child)
    above = read(parent)
    assert child.recipe.config == VAE  # the parent's, where none is given
    about = read(child.path).lineage
    assert about["parent"]["weights"] == above.files[WEIGHTS]
    assert about["parent"]["path"] == "../parent"
    assert (about["anew"], about["partly"]) == ([], [])
    assert read(grandchild.path).lineage["ancestors"] == [child.recipe.files[WEIGHTS], above.files[WEIGHTS]]
    assert any(f"starts from {parent} (vae on digits): {len(about['whole'])} tensors" in line for line in said)


def test_other_classes_are_said(parent, tmp_path):
    loaded = open_data("digits")
    x = loaded.train.batch(torch.arange(60), Rng(0)).x
    np.savez(tmp_path / "more.npz", x=((x[:, 0] + 1) * 127).numpy().astype("uint8"), y=np.arange(60) % 12)
    said = []
    run = simulacra.fit("vae", str(tmp_path / "more.npz"), out=tmp_path / "child", training=BRIEF,
                        parent=parent, say=said.append)  # fmt: skip
    assert "label_counts" in run.recipe.lineage["partly"]
    assert any("taken over for the classes both know: label_counts" in line for line in said)


def test_adapters_are_saved_small_and_read_again(parent, tmp_path):
    run = simulacra.fit("vae", "digits", out=tmp_path / "child", training=BRIEF, parent=parent,
                        adapter=LoRA(rank=1, layers=dense))  # fmt: skip
    kept = load_tensors(run.path / WEIGHTS)
    assert {name for name in kept if not adapted(name)} <= {"model/steps_taken"}
    assert (run.path / WEIGHTS).stat().st_size < (parent / WEIGHTS).stat().st_size / 3
    again = simulacra.load(run.path)
    assert torch.equal(again.sample(3, seed=1).x, run.sample(3, seed=1).x)
    changed = weights(again.model)
    moved = {name for name, t in weights(simulacra.load(parent).model).items() if not torch.equal(t, changed[name])}
    assert moved - {"steps_taken"} == {name for name, layer in adaptable(again.model)}


def adaptable(model) -> list[tuple[str, nn.Module]]:
    return [(f"{name}.weight", layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]


def test_merged_it_stands_alone_with_equal_outputs(parent, tmp_path):
    run = simulacra.fit("vae", "digits", out=tmp_path / "child", training=BRIEF, parent=parent,
                        adapter=LoRA(rank=1, layers=dense))  # fmt: skip
    alone = simulacra.load(transfer.write_merged(simulacra.load(run.path), tmp_path / "alone").path)
    shutil.rmtree(parent)
    assert torch.equal(alone.sample(3, seed=1).x, run.sample(3, seed=1).x)
    assert simulacra.load(alone.path).recipe.adapter is None
    with pytest.raises(ValueError, match="which is gone; put it back, or merge first"):
        simulacra.load(run.path)
    with pytest.raises(ValueError, match="has no adapters to merge"):
        transfer.write_merged(alone, tmp_path / "twice")


def test_a_changed_parent_is_noticed(parent, runs, tmp_path):
    run = simulacra.fit("vae", "digits", out=tmp_path / "child", training=BRIEF, parent=parent,
                        adapter=LoRA(rank=1, layers=dense))  # fmt: skip
    shutil.rmtree(parent)
    shutil.copytree(runs / "diffusion", parent)
    with pytest.raises(ValueError, match="holds other weights now"):
        simulacra.load(run.path)


@pytest.mark.parametrize("adapter", [None, LoRA(rank=1, layers=dense)])
def test_a_resumed_run_is_one_that_never_stopped(parent, tmp_path, adapter):
    settings = {"training": BRIEF, "parent": parent, "adapter": adapter}
    straight = simulacra.fit("vae", "digits", out=tmp_path / "straight", **settings)
    simulacra.fit("vae", "digits", out=tmp_path / "stopped", **settings, steps=2)
    shutil.rmtree(parent / "resume")
    resumed = simulacra.fit("vae", "digits", out=tmp_path / "stopped", resume=True, steps=4)
    ours, theirs = weights(straight.model), weights(resumed.model)
    assert all(torch.equal(t, theirs[name]) for name, t in ours.items())


def test_a_family_that_nothing_fits_is_refused(runs, tmp_path):
    with pytest.raises(ValueError, match="no weight of the parent fits this model"):
        simulacra.fit("gan", "digits", out=tmp_path / "child", training=BRIEF, parent=runs / "vae")
    with pytest.raises(ValueError, match="nothing fits; give data of the parent's kind"):
        simulacra.fit("vae", "ring", out=tmp_path / "child", training=BRIEF, parent=runs / "vae")
    with pytest.raises(ValueError, match="player 'vae': Coders has none|player 'vae': .* has none of the layers"):
        simulacra.fit("vae", "digits", out=tmp_path / "child", training=BRIEF, parent=runs / "vae", adapter=LoRA())
    with pytest.raises(ValueError, match="give that run as parent="):
        simulacra.fit("vae", "digits", out=tmp_path / "child", training=BRIEF, adapter=LoRA(layers=dense))
    assert not (tmp_path / "child").exists()
