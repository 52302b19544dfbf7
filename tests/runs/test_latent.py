"""Runs that stand on a codec: they load from their own directory alone, and are what they were when they were made."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import simulacra
from simulacra.core.optimisers import AdamW
from simulacra.core.space import Categorical, Continuous
from simulacra.families.diffusion import DiffusionConfig
from simulacra.families.discrete_diffusion import DiscreteDiffusionConfig
from simulacra.families.vae import VAEConfig
from simulacra.families.vqvae import VQVAEConfig
from simulacra.modalities.sources import open_data
from simulacra.nets import denoisers
from simulacra.nets.backbones import Dense
from simulacra.nets.code_prior import CausalPrior
from simulacra.nets.codebooks import VQ
from simulacra.nets.codegrids import CodesByLayout, Places
from simulacra.nets.tokens import Bidirectional
from simulacra.runs.latent import coded
from simulacra.runs.pages import command
from simulacra.training.settings import Training

BRIEF = Training(steps=4, batch=16, log_every=2)
VAE = VAEConfig(latent=3, networks=Dense(hidden=(8,)))
LATENT = DiffusionConfig(backbone=denoisers.Dense(width=16, depth=1), optimiser=AdamW(lr=1e-3))
CODES = VQVAEConfig(
    codebook=VQ(k=6, channels=2),
    networks=CodesByLayout(grid=Places(count=3)),
    prior=CausalPrior(width=8, depth=1, heads=2),
)
TOKENS = DiscreteDiffusionConfig(backbone=Bidirectional(width=8, depth=1, heads=2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Codecs of the digits, and a run on each."""
    home = tmp_path_factory.mktemp("latent")
    simulacra.fit("vae", "digits", out=home / "vae", config=VAE, training=BRIEF)
    simulacra.fit("vqvae", "digits", out=home / "vqvae", config=CODES, training=BRIEF)
    told: list[str] = []
    simulacra.fit(
        "diffusion", "digits", out=home / "latent", config=LATENT, training=BRIEF, codec=home / "vae", say=told.append
    )
    assert f"of their codes by {home / 'vae'} (vae): 3 each" in told
    simulacra.fit(
        "discrete_diffusion", "digits", out=home / "codes", config=TOKENS, training=BRIEF, codec=home / "vqvae"
    )
    return home


def test_in_double_precision_too(folder: Path, tmp_path: Path):
    double = replace(BRIEF, precision="float64")
    run = simulacra.fit("diffusion", "digits", out=tmp_path / "r", config=LATENT, training=double, codec=folder / "vae")
    assert run.sample(2, steps=2).x.dtype == torch.float64


@pytest.mark.parametrize("name", ["latent", "codes"])
def test_a_run_loads_from_its_directory_alone(folder: Path, name: str, tmp_path: Path):
    before = simulacra.load(folder / name)
    alone = Path(shutil.copytree(folder / name, tmp_path / "moved"))
    run = simulacra.load(alone)
    assert torch.equal(run.sample(4, seed=3, steps=3).x, before.sample(4, seed=3, steps=3).x)
    assert run.sample(4, y="7", steps=3).y.tolist() == [7] * 4
    x, y = run.data().held_out.batch(torch.arange(5), simulacra.core.randomness.Rng(0)).x, torch.arange(5)
    codec = simulacra.load(folder / {"latent": "vae", "codes": "vqvae"}[name]).model
    assert torch.equal(run.model.encode(x, y=y), codec.encode(x, y=y))
    assert f"--codec {alone / 'parts' / 'codec'}" in command(run)


def test_what_fit_returns_is_what_load_reads(folder: Path, tmp_path: Path):
    run = simulacra.fit("diffusion", "digits", out=tmp_path / "r", config=LATENT, training=BRIEF, codec=folder / "vae")
    assert torch.equal(run.sample(3, steps=3).x, simulacra.load(tmp_path / "r").sample(3, steps=3).x)
    assert not run.model.training
    assert list((tmp_path / "r" / "samples").glob("step-*.png"))


def test_codes_have_unit_deviation_in_the_units_of_their_space(folder: Path):
    codes = coded(folder / "vae", open_data("digits"))
    f, x = codes.space.only, codes.codes.train.x
    assert isinstance(f, Continuous)
    u = (x - f.centre) / f.scale
    assert abs(float(u.mean())) < 1e-4
    assert abs(float(u.std()) - 1) < 1e-4
    assert codes.codes.train.y is not None
    again = coded(folder / "vae", open_data("digits"))
    assert again.codes.train.fingerprint == codes.codes.train.fingerprint
    tokens = coded(folder / "vqvae", open_data("digits"))
    assert isinstance(tokens.space.only, Categorical)
    assert torch.equal(tokens.codes.train.x[:9], tokens.run.model.encode(open_data("digits").train.batch(
        torch.arange(9), simulacra.core.randomness.Rng(0)).x))  # fmt: skip


def test_going_further_equals_having_gone_all_the_way(folder: Path, tmp_path: Path):
    copy = Path(shutil.copytree(folder / "latent", tmp_path / "copy"))
    simulacra.fit("diffusion", "digits", out=copy, resume=True, steps=6)
    longer = Training(steps=6, batch=16, log_every=2)
    simulacra.fit("diffusion", "digits", out=tmp_path / "all", config=LATENT, training=longer, codec=folder / "vae")
    resumed, straight = (simulacra.load(path).model.state_dict() for path in (copy, tmp_path / "all"))
    assert all(torch.equal(resumed[name], t) for name, t in straight.items())


def test_a_codec_that_was_changed_or_fits_nothing_is_told(folder: Path, tmp_path: Path):
    copy = Path(shutil.copytree(folder / "latent", tmp_path / "copy"))
    path = copy / "parts" / "codec" / "recipe.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(ValueError, match=r"parts/codec/recipe.json is not the file that was written"):
        simulacra.load(copy)
    other: Any = open_data("digits", size=6)
    with pytest.raises(ValueError, match=r"learnt picture 1x8x8 of 17 values .* this data is picture 1x6x6"):
        simulacra.fit("diffusion", other, out=tmp_path / "other", codec=folder / "vae")
    simulacra.fit("gan", "digits", out=tmp_path / "gan", training=BRIEF)
    with pytest.raises(ValueError, match="a codec of other models needs a Codec"):
        simulacra.fit("diffusion", "digits", out=tmp_path / "third", codec=tmp_path / "gan")
    with pytest.raises(ValueError, match="is categorical"):
        simulacra.fit("diffusion", "digits", out=tmp_path / "fourth", codec=folder / "vqvae")


def test_a_latent_model_may_be_a_codec_itself(folder: Path, tmp_path: Path):
    run = simulacra.fit(
        "diffusion", "digits", out=tmp_path / "r", config=LATENT, training=BRIEF, codec=folder / "latent"
    )
    assert torch.equal(run.sample(2, steps=2).x, simulacra.load(tmp_path / "r").sample(2, steps=2).x)
