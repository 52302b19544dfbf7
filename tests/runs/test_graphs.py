"""ONNX graphs of generators: onnxruntime answers as torch does, for any batch, or the export says why there is none."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from simulacra.cli.main import main
from simulacra.core.checkpoint import digest
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.families.biggan import BigGAN, BigGANConfig
from simulacra.families.dcgan import DCGAN, DCGANConfig
from simulacra.families.diffusion import DiffusionConfig
from simulacra.families.diffusion import build as build_diffusion
from simulacra.families.gan import GAN, GANConfig
from simulacra.families.glow import Glow, GlowConfig
from simulacra.families.pixelcnn import PixelCNNConfig
from simulacra.families.pixelcnn import build as build_pixelcnn
from simulacra.families.r3gan import R3GAN, R3GANConfig
from simulacra.families.stylegan import StyleGAN, StyleGANConfig
from simulacra.families.vae import VAE, VAEConfig
from simulacra.families.vqvae import VQVAE, VQVAEConfig
from simulacra.runs.graphs import write_onnx

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

FIELD = Continuous(low=-1, high=1, levels=256, shape=(1, 9, 8))
PICTURES = Space(fields={"picture": FIELD}, y=Classes(names=("a", "b", "c")), measure="8-bit pixels")
PLAIN = replace(PICTURES, y=None)
TABLE = Space(
    fields={"age": Continuous(low=0, high=120, centre=40, scale=10), "job": Categorical(k=5)}, measure="columns"
)
STYLES = StyleGANConfig(latent=4, style=6, mapping=2, base=32, widest=6)
MODELS: dict[str, Any] = {
    "gan": lambda: GAN(GANConfig(latent=3, generator=(16,), critic=(16,)), PICTURES, rng=1),
    "dcgan": lambda: DCGAN(DCGANConfig(latent=4, width=4), PICTURES, rng=1),
    "stylegan": lambda: StyleGAN(STYLES, PICTURES, rng=1),
    "r3gan": lambda: R3GAN(R3GANConfig(latent=4, width=4, widest=8, blocks=1, channels_a_group=4), PICTURES, rng=1),
    "biggan": lambda: BigGAN(BigGANConfig(chunk=3, shared=4, width=8, widest=8), PLAIN, rng=1),
    "vae": lambda: VAE(VAEConfig(latent=3), PICTURES, rng=1),
    "vae, table": lambda: VAE(VAEConfig(latent=3), TABLE, rng=1),
}


@torch.no_grad()
@pytest.mark.parametrize("name", [n if n == "gan" else pytest.param(n, marks=pytest.mark.slow) for n in MODELS])
def test_onnxruntime_answers_as_torch_does(name: str, tmp_path: Path):
    model = MODELS[name]().eval()
    # layers that begin at zero say something too
    for parameter_name, p in model.named_parameters():
        p.add_(0.1 * Rng(2)(parameter_name).normal((p.numel(),)).view_as(p))
    assert write_onnx(model, tmp_path / "model.onnx", {"family": name}) <= 1e-4
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    about = session.get_modelmeta().custom_metadata_map
    assert about["family"] == name
    assert Space.from_json(json.loads(about["space"])) == model.space
    for n in (1, 2, 17):
        z = Rng(n).normal((n, *model.latent.only.shape))
        y = torch.arange(n) % 3 if model.space.y else None
        ours = model.decode(z, y=y)
        theirs = session.run(None, {"z": z.numpy()} | ({} if y is None else {"y": y.numpy()}))
        fields = [ours] if isinstance(ours, torch.Tensor) else list(ours.values())
        assert [o.name for o in session.get_outputs()] == list(model.space.fields)
        for field, a, b in zip(model.space.fields.values(), fields, theirs, strict=True):
            assert a.shape == b.shape
            assert np.abs(a.numpy() - b).max() <= 1e-4 * getattr(field, "scale", 1.0)


@pytest.mark.slow
def test_a_graph_that_answers_otherwise_is_not_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Outputs that torch doubles, where the graph does not, must be seen."""
    model = MODELS["gan"]().eval()
    decode = type(model).decode

    def other(self: Any, z: torch.Tensor, *, y: torch.Tensor | None = None) -> torch.Tensor:
        return decode(self, z, y=y) * (1.0 if torch.compiler.is_exporting() else 1.01)

    monkeypatch.setattr(type(model), "decode", other)
    with pytest.raises(ValueError, match=r"differ from torch's by .*nothing was written"):
        write_onnx(model, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


WORDS = Space(fields={"word": Categorical(k=7, shape=(6,), varying=True)}, measure="letters")
BITS = Space(fields={"picture": Continuous(low=-1, high=1, levels=2, shape=(1, 4, 4))}, measure="binary pixels")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: build_pixelcnn(PixelCNNConfig(), BITS), "export onnx needs a Decoder"),
        (lambda: build_diffusion(DiffusionConfig(), PLAIN), "Diffusion decodes in many steps"),
        (lambda: VQVAE(VQVAEConfig(), BITS), "export onnx needs codes of real numbers"),
        (lambda: VAE(VAEConfig(latent=2), WORDS), "those of VAE vary in word"),
        pytest.param(
            lambda: Glow(GlowConfig(levels=2, steps=1, width=8), PLAIN),
            "Glow decodes by what cannot be written",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_cannot_be_a_graph_is_refused_with_the_reason(make: Any, told: str, tmp_path: Path):
    with pytest.raises(ValueError, match=told) as caught:
        write_onnx(make().eval(), tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model.onnx").exists()


def test_missing_packages_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install 'simulacra\[onnx\]'"):
        write_onnx(MODELS["gan"]().eval(), tmp_path / "model.onnx")


@pytest.mark.slow
def test_a_run_becomes_a_file_that_says_what_it_is(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    run, out = tmp_path / "run", tmp_path / "model.onnx"
    main(["fit", "gan", "digits", "--steps", "2", "--batch", "8", "--no-report", "--out", str(run)])
    main(["export", "onnx", str(run), "--out", str(out)])
    assert "inputs z (batch, 32), y (batch,)" in capsys.readouterr().out
    about = onnxruntime.InferenceSession(str(out)).get_modelmeta().custom_metadata_map
    assert about["family"] == "gan"
    assert about["recipe"] == digest(run / "recipe.json")
