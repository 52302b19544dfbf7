"""A model's weights in another model: the same function, whatever the classes are called and however many there are."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest
import torch

from simulacra.core.batch import Data
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.dcgan import DCGAN, DCGANConfig
from simulacra.families.diffusion import Diffusion, DiffusionConfig
from simulacra.families.flow import FlowConfig, flow
from simulacra.families.gan import GAN, GANConfig
from simulacra.families.glow import Glow, GlowConfig
from simulacra.families.hvae import HVAE, HVAEConfig
from simulacra.families.pixelcnn import PixelCNNConfig
from simulacra.families.pixelcnn import build as pixelcnn
from simulacra.families.tarflow import TarFlow, TarFlowConfig
from simulacra.families.vae import VAE, VAEConfig
from simulacra.families.vqvae import VQVAE, VQVAEConfig
from simulacra.laws.examples import drawn
from simulacra.nets import denoisers
from simulacra.nets.causal_layers import Gated
from simulacra.nets.causal_network import Stacks
from simulacra.nets.code_prior import CausalPrior
from simulacra.nets.codegrids import CodesByLayout, Grid
from simulacra.nets.residual_unet import ResidualUNet
from simulacra.recipes.families import FAMILIES
from simulacra.training.carry import carry, counting, label_axes
from simulacra.training.state import named, weights

SPACE = Space(
    fields={"picture": Continuous(low=-1, high=1, levels=4, shape=(1, 8, 8))},
    y=Classes(names=("cat", "dog", "fox")),
    measure="2-bit pixels",
)
OTHERS = Classes(names=("owl", "fox", "cat", "emu"))  # two it knows, in another order, and two it does not
SMALL_UNET = ResidualUNet(widths=(8, 8), attention=(False, True), groups=4, head=4, blocks=1)
MODELS: dict[str, Any] = {
    "vae": (VAE, VAEConfig(latent=3)),
    "hvae": (HVAE, HVAEConfig(groups=(1, 1), latent=2, width=8)),
    "vqvae": (VQVAE, VQVAEConfig(networks=CodesByLayout(grid=Grid(width=8, halvings=1, blocks=1)),
                                 prior=CausalPrior(width=16, depth=1, heads=2))),
    "gan": (GAN, GANConfig(latent=3, generator=(16,), critic=(16,))),
    "dcgan": (DCGAN, DCGANConfig(latent=4, width=8)),
    "flow": (flow, FlowConfig()),
    "glow": (Glow, GlowConfig(levels=1, steps=2, width=8)),
    "tarflow": (TarFlow, TarFlowConfig(patch=4, blocks=2, depth=1, width=16)),
    "pixelcnn": (pixelcnn, PixelCNNConfig(network=Stacks(layers=(Gated(),), width=8, first=3))),
    "diffusion": (Diffusion, DiffusionConfig(backbone=denoisers.Convolutional(width=8, blocks=1))),
    "diffusion, dense": (Diffusion, DiffusionConfig(backbone=denoisers.Dense(width=16, depth=1))),
    "diffusion, DiT": (Diffusion, DiffusionConfig(backbone=denoisers.DiT(patch=4, width=16, depth=1, heads=2))),
    "diffusion, residual U-Net": (Diffusion, DiffusionConfig(backbone=SMALL_UNET)),
    "flow_matching": (
        FAMILIES["flow_matching"].build,
        FAMILIES["flow_matching"].config(backbone=denoisers.Convolutional(width=8, blocks=1)),
    ),
}  # fmt: skip


def stirred(model: Any) -> Any:
    """A model none of whose numbers are what they are at first; zero layers would hide what is wrong."""
    with torch.no_grad():
        for name, tensor in named(model).items():
            if tensor.is_floating_point():
                tensor.add_(0.1 * Rng(9)(name).normal((max(1, tensor.numel()),)).reshape(tensor.shape).to(tensor))
    return model.eval()


def with_classes(y: Classes | None) -> Space:
    return dataclasses.replace(SPACE, y=y)


def made(row: str, y: Classes | None, rng: int) -> Any:
    build, config = MODELS[row]
    return build(config, with_classes(y), rng=rng)


@pytest.mark.parametrize("row", MODELS)
def test_what_is_taken_over_whole_is_the_parent(row):
    parent, child = stirred(made(row, SPACE.y, 1)), made(row, SPACE.y, 2)
    axes = label_axes(lambda classes: made(row, classes, 0))
    carried = carry(child, weights(parent), axes, ours=SPACE.y, theirs=SPACE.y)
    assert carried.partly == carried.anew == carried.left == ()
    assert all(torch.equal(t, named(child)[name]) for name, t in named(parent).items())


@pytest.mark.parametrize("row", MODELS)
def test_a_class_that_both_know_is_drawn_as_it_was(row):
    parent, child = stirred(made(row, SPACE.y, 1)), made(row, OTHERS, 2).eval()
    axes = label_axes(lambda classes: made(row, classes, 0))
    carried = carry(child, weights(parent), axes, ours=OTHERS, theirs=SPACE.y)
    assert carried.partly
    assert not carried.left
    for name in SPACE.y.names[::2]:
        options = {"steps": 3} if "steps" in inspect.signature(parent.sample).parameters else {}
        was = parent.sample(4, y=torch.full((4,), SPACE.y.index(name)), rng=5, **options)
        now = child.sample(4, y=torch.full((4,), OTHERS.index(name)), rng=5, **options)
        torch.testing.assert_close(now.x, was.x, rtol=1e-4, atol=1e-4)
    new = child.sample(4, y=torch.zeros(4, dtype=torch.int64), rng=5).x
    assert new.isfinite().all()


def test_labels_may_come_or_go():
    for ours, theirs in ((None, SPACE.y), (SPACE.y, None)):
        parent, child = stirred(made("diffusion", theirs, 1)), made("diffusion", ours, 2)
        axes = label_axes(lambda classes: made("diffusion", classes, 0))
        carried = carry(child, weights(parent), axes, ours=ours, theirs=theirs)
        (left, anew) = (carried.left, carried.anew) if ours is None else (carried.anew, carried.left)
        # the counts of no classes are a tensor of no numbers in both
        assert set(left) - {"marginal.counts"} == {"network.level.given.weight"}
        assert not set(anew) - {"marginal.counts"}


def test_what_does_not_fit_begins_anew_and_is_named():
    parent = stirred(made("diffusion, dense", None, 1))
    build, config = MODELS["diffusion, dense"]
    larger = dataclasses.replace(SPACE, y=None, fields={"picture": Continuous(low=-1, high=1, shape=(1, 9, 9))})
    child = build(config, larger, rng=2)
    carried = carry(child, weights(parent), {})
    assert set(carried.anew) == {f"network.{n}" for n in ("inward.weight", "outward.1.weight", "outward.1.bias")}
    assert torch.equal(child.network.conditions[0].weight, parent.network.conditions[0].weight)


def test_convolutions_fit_every_size():
    parent = stirred(made("diffusion, residual U-Net", None, 1))
    build, config = MODELS["diffusion, residual U-Net"]
    wide = dataclasses.replace(SPACE, y=None, fields={"picture": Continuous(low=-1, high=1, shape=(1, 9, 14))})
    assert not carry(build(config, wide, rng=2), weights(parent), {}).anew


def test_nothing_that_fits_is_an_error_of_one_line():
    parent, child = made("vae", None, 1), made("pixelcnn", None, 2)
    with pytest.raises(ValueError, match="no weight of the parent fits this model") as caught:
        carry(child, weights(parent), {})
    assert "\n" not in str(caught.value)


def test_counts_are_the_new_datas_and_all_else_the_parents():
    data: Data = drawn(SPACE, 40, Rng(0))
    parent = stirred(made("diffusion", SPACE.y, 1))
    parent.deviation.fill_(0.25)
    child = made("diffusion", SPACE.y, 2)
    axes = label_axes(lambda classes: made("diffusion", classes, 0))
    carried = carry(child, weights(parent), axes, ours=SPACE.y, theirs=SPACE.y)
    counting(carried, axes)(child, data)
    assert float(child.deviation) == 0.25
    assert int(child.marginal.counts.sum()) == 40
