"""Directions, mixtures and projections by construction: a linear synthesis whose answers are known, and a network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.gan import GAN, GANConfig
from simulacra.families.stylegan import StyleGAN, StyleGANConfig
from simulacra.nets.styles import Adaptive, Demodulated
from simulacra.uses.project import _likeness, project
from simulacra.uses.styles import components, drawn_styles, factors, mixture, shown, traverse_styles, truncations

PICTURES = Space(fields={"picture": Continuous(low=-9, high=9, shape=(1, 8, 8))}, measure="numbers")
GAINS = torch.tensor([1.0, 3.0, 0.5, 2.0])


class Linear:
    """w = S z, S diagonal; a picture's top half is layer 0's A w, its bottom half layer 1's, A of planted gains."""

    space = PICTURES
    latent = Space(fields={"z": Continuous(low=-float("inf"), high=float("inf"), shape=(4,))}, measure="latent")
    scales = torch.tensor([2.0, 1.0, 0.1, 4.0])

    def __init__(self) -> None:
        turned, _ = torch.linalg.qr(Rng(3).normal((4, 4)))
        self.axes = turned.T  # unit directions of w, one a row
        self.matrices = [torch.linalg.qr(Rng(i).normal((32, 4)))[0] @ torch.diag(GAINS) @ self.axes for i in (1, 2)]

    def styles(self, z: Tensor, *, y: object = None) -> Tensor:
        return (z * self.scales)[:, None].expand(-1, 2, -1)

    def show(self, w: Tensor, *, noise: object = None) -> Tensor:
        return torch.stack([w[:, i] @ self.matrices[i].T for i in range(2)], 1).reshape(-1, 1, 8, 8)

    def mean_styles(self) -> Tensor:
        return torch.zeros(1, 4)

    def heard_by(self) -> list[Tensor]:
        return self.matrices


SMALL = StyleGANConfig(latent=4, style=6, mapping=2, base=32, widest=6)
FIELD = Continuous(low=-1.0, high=1.0, levels=256, shape=(1, 16, 16))
GREY = Space(fields={"picture": FIELD}, measure="8-bit pixels")


def network(synthesis: object = None, classes: int = 0) -> StyleGAN:
    """A model whose noise is heard, as that of a trained one would be."""
    y = Classes(names=tuple("abc"[:classes])) if classes else None
    config = replace(SMALL, synthesis=synthesis or Demodulated())
    model = StyleGAN(config, replace(GREY, y=y), rng=1).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("strength"):
                p.fill_(0.05)
    return model


def same_line(a: Tensor, b: Tensor) -> bool:
    return bool(((a * b).sum(-1).abs() - 1).abs().max() < 1e-4)


def test_planted_directions_are_found_in_the_order_of_their_gains():
    model = Linear()
    directions, values = factors(model)
    order = GAINS.argsort(descending=True)
    assert same_line(directions, model.axes[order])
    # each of two layers has the gain's square
    torch.testing.assert_close(values, 2 * GAINS[order].square(), rtol=1e-4, atol=1e-5)
    assert (directions.gather(1, directions.abs().argmax(1, keepdim=True)) > 0).all()
    alone, values = factors(model, layers=[1])
    assert same_line(alone, model.axes[order])
    torch.testing.assert_close(values, GAINS[order].square(), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"numbered 0 .. 1; got \[2\]"):
        factors(model, layers=[2])


def test_principal_components_are_those_of_the_styles():
    directions, variances = components(Linear())
    order = Linear.scales.argsort(descending=True)
    # 4,096 draws: the angle between neighbours of a factor 2 in deviation is within a few hundredths
    assert ((directions * torch.eye(4)[order]).sum(1).abs() > 0.99).all()
    error = variances[0] * (2 / 4096) ** 0.5
    assert ((variances - Linear.scales[order].square()).abs() < 4 * error).all()


def test_a_walk_goes_so_many_deviations_along_its_direction():
    model = Linear()
    directions, variances = components(model)
    walk = traverse_styles(model, directions, variances, steps=5, reach=3.0, rows=2)
    assert walk.frames.shape == (2, 5, 1, 8, 8)
    step = walk.frames[:, -1] - walk.frames[:, 0]
    truth = shown(model, (6 * variances[:2].sqrt()[:, None] * directions[:2])[:, None].expand(-1, 2, -1))
    torch.testing.assert_close(step, truth, rtol=1e-3, atol=1e-3)
    assert walk.captions()[0].startswith("w0: 0.")
    with pytest.raises(ValueError, match="2 steps or more"):
        traverse_styles(model, directions, variances, steps=1)


def test_mixtures_take_their_first_layers_from_one_and_their_others_from_the_other():
    model = Linear()
    w = drawn_styles(model, 5, rng=1)
    both = mixture(model, w[:2], w[2:], 1)
    assert both.shape == (2, 3, 1, 8, 8)
    alone = shown(model, w)
    assert torch.equal(both[:, :, :, :4], alone[:2, None, :, :4].expand(-1, 3, -1, -1, -1))
    assert torch.equal(both[:, :, :, 4:], alone[None, 2:, :, 4:].expand(2, -1, -1, -1, -1))
    for cut in (0, 2):
        with pytest.raises(ValueError, match=f"between layers, 1 to 1; got {cut}"):
            mixture(model, w, w, cut)


@pytest.mark.parametrize("synthesis", [Demodulated(), Adaptive()])
def test_truncation_of_1_is_the_style_and_of_0_the_mean_of_its_class(synthesis: object):
    model, y = network(synthesis, classes=3), torch.tensor([0, 2, 2])
    w = drawn_styles(model, 3, y=y, rng=2)
    sweep = truncations(model, w, (1.0, 0.0), y=y)
    torch.testing.assert_close(sweep[:, 0], shown(model, w))
    torch.testing.assert_close(sweep[1, 1], sweep[2, 1])
    assert (sweep[0, 1] - sweep[1, 1]).abs().max() > 1e-3


@pytest.mark.parametrize("synthesis", [Demodulated(), Adaptive()])
@torch.no_grad()
def test_a_network_hears_its_styles_by_the_weights_it_names(synthesis: object):
    """Where only one set of weights hears an entry of w, it moves the picture in the one layer that is named."""
    model = network(synthesis)
    weights = [m.affine.weight for m in model.generator.synthesis.modules() if hasattr(m, "affine")]
    w, layers = drawn_styles(model, 1, rng=1), model.generator.synthesis.layers
    for weight in weights:
        weight[:, 0] = 0.0
    for weight in weights:
        weight[:, 0] = 1.0
        named = {i for i, heard in enumerate(model.heard_by()) if bool(heard[:, 0].any())}
        moves = set()
        for layer in range(layers):
            moved = w.clone()
            moved[:, layer, 0] += 3.0
            if (shown(model, moved) - shown(model, w)).abs().max() > 1e-5:
                moves.add(layer)
        assert moves == named
        assert len(named) == 1
        weight[:, 0] = 0.0


def test_the_penalty_is_nothing_for_white_noise_and_1_a_side_for_a_flat_one():
    white = Rng(1).normal((4, 1, 64, 64))
    # a mean of n products of independent normals has deviation 1 / sqrt(n); the smallest size has 64 of them
    assert (_likeness(white) < 8 * 9 / 64).all()
    # a checkerboard: neighbours differ in sign, and its means are 0 from the first halving on
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(8, 8)[None, None]
    assert _likeness(board).item() == pytest.approx(2.0)


@pytest.mark.slow
def test_a_picture_of_the_models_own_comes_back():
    model = network()
    x = shown(model, drawn_styles(model, 2, rng=5)).detach()
    x = FIELD.value(FIELD.index(x))
    found = project(model, x, steps=300)
    start = shown(model, model.mean_styles()[:, None].expand(2, model.generator.synthesis.layers, -1)) - x
    assert (found.error < 0.02 * start.square().mean()).all()
    assert found.styles.shape == (2, model.generator.synthesis.layers, 6)
    for noise in found.noises.values():
        torch.testing.assert_close(noise.mean((2, 3)), torch.zeros(2, 1), atol=1e-5, rtol=0)
        torch.testing.assert_close(noise.square().mean((2, 3)), torch.ones(2, 1), atol=1e-4, rtol=0)


def test_what_cannot_be_projected_is_refused_in_a_line():
    with pytest.raises(ValueError, match=r"\(1, 16, 16\)|16"):
        project(network(), torch.zeros(1, 1, 8, 8), steps=1)
    with pytest.raises(ValueError, match="project needs a Styled"):
        project(GAN(GANConfig(latent=2, generator=(4,), critic=(4,)), GREY), torch.ones(1, 1, 16, 16))
    with pytest.raises(ValueError, match="at least 1 step; got 0"):
        project(network(), torch.ones(1, 1, 16, 16), steps=0)
