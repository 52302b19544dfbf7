"""Layers that keep the magnitude of what passes through them, at the start and whatever was learnt."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from simulacra.core.batch import Batch, Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.diffusion import Diffusion, DiffusionConfig
from simulacra.families.flow_matching import FlowMatching, FlowMatchingConfig
from simulacra.nets import magnitude_preserving as mp
from simulacra.nets.initialise import initialise
from simulacra.training.loop import train
from simulacra.training.settings import Training


def noise(*shape: int) -> Tensor:
    return Rng(3)("x", *shape).normal(shape)


def magnitude(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_sums_keep_magnitude(share: float):
    a, b = noise(100_000, 1), Rng(4)("b").normal((100_000, 1))
    assert magnitude(mp.mp_sum(a, b, share)) == pytest.approx(1, abs=0.01)
    torch.testing.assert_close(mp.mp_sum(a, b, 1.0), b)


@pytest.mark.parametrize(("n", "m"), [(4, 4), (8, 2), (1, 30)])
def test_what_lies_side_by_side_keeps_magnitude_and_counts_as_told(n: int, m: int):
    a, b = noise(20_000, n), Rng(4)("b").normal((20_000, m))
    joined = mp.mp_cat(a, b, 0.5)
    assert joined.shape == (20_000, n + m)
    assert magnitude(joined) == pytest.approx(1, abs=0.01)
    # half and half, whatever the sizes
    assert float(joined[:, :n].square().sum() / joined[:, n:].square().sum()) == pytest.approx(1, abs=0.03)


def test_silu_keeps_magnitude():
    assert magnitude(mp.mp_silu(noise(400_000, 1))) == pytest.approx(1, abs=0.01)


def test_normalised_has_unit_magnitude_and_no_gradient_along_itself():
    x = (7 * noise(5, 6, 3)).requires_grad_()
    y = mp.normalised(x, (1, 2))
    torch.testing.assert_close(y.square().mean((1, 2)), torch.ones(5), rtol=0, atol=1e-4)
    (slope,) = torch.autograd.grad((y * Rng(1)("w").normal(y.shape)).sum(), x)
    x = x.detach()
    along = (slope * x).sum((1, 2)) / (slope.flatten(1).norm(dim=1) * x.flatten(1).norm(dim=1))
    assert float(along.abs().max()) < 1e-3
    assert torch.equal(mp.normalised(torch.zeros(2, 3), (1,)), torch.zeros(2, 3))


@pytest.mark.parametrize("kernel", [0, 1, 3])
def test_layers_keep_magnitude_whatever_the_length_of_their_weights(kernel: int):
    layer = mp.Normalised(32, 64, kernel)
    initialise(layer, Rng(0))
    with torch.no_grad():
        layer.weight.mul_(5.0)
    x = noise(64, 32, 16, 16) if kernel else noise(20_000, 32)
    y = layer(x)[..., 1:-1, 1:-1] if kernel else layer(x)
    assert magnitude(y) == pytest.approx(1, abs=0.03)
    torch.testing.assert_close(layer(x, 0.5), 0.5 * layer(x))


def test_the_noise_levels_waves_have_unit_magnitude_at_any_level():
    waves = mp.NoiseWaves(20_000)
    waves.initialise(Rng(0))
    assert all(magnitude(waves(torch.tensor([c]))) == pytest.approx(1, abs=0.02) for c in (-1.5, 0.0, 1.1))


@pytest.mark.parametrize("given", [0, 10])
def test_activations_have_unit_magnitude_at_the_start_in_every_block(given: int):
    net = mp.MagnitudePreserving(width=64, blocks=2).build((3, 32, 32), 0, given)
    initialise(net, Rng(0))
    seen: dict[str, float] = {}
    for name, module in net.named_modules():
        if isinstance(module, mp.Block | mp.Embedding):
            module.register_forward_hook(lambda _, __, out, name=name: seen.update({name: magnitude(out)}))
    y = torch.eye(10)[torch.arange(4)] if given else None
    with torch.no_grad():
        out = net(noise(4, 3, 32, 32), torch.linspace(-1, 1, 4), None, y)
    assert len(seen) == 1 + (2 * 3 + 2) + 2 + (3 * 3 + 2)  # embedding, down, middle, up
    far = {name: found for name, found in seen.items() if not 0.8 < found < 1.25}
    assert not far
    assert magnitude(out) == 0  # the last gain is 0: the network begins as nothing


def test_without_a_label_a_labelled_network_answers_still():
    net = mp.MagnitudePreserving(width=8, blocks=1).build((1, 9, 14), 2, 3)
    initialise(net, Rng(0))
    assert net(noise(2, 1, 9, 14), torch.zeros(2), noise(2, 2, 9, 14), torch.zeros(2, 3)).shape == (2, 1, 9, 14)
    with pytest.raises(ValueError, match="needs pictures"):
        mp.MagnitudePreserving().build((2,), 0, 0)


def pictures() -> Stored:
    space = Space(
        fields={"picture": Continuous(low=-1, high=1, levels=256, shape=(1, 8, 8))},
        y=Classes(names=("a", "b")), measure="8-bit pixels",
    )  # fmt: skip
    y = Rng(0)("y").integers(2, (64,))
    x = (0.3 * Rng(0)("x").normal((64, 1, 8, 8)) + (y - 0.5).reshape(-1, 1, 1, 1)).clamp(-1, 1)
    return Stored(space=space, x=x, y=y)


@pytest.mark.parametrize("family", ["diffusion", "flow matching"])
def test_weights_have_unit_magnitude_after_every_step(family: str):
    data, net = pictures(), mp.MagnitudePreserving(width=8, blocks=1)
    seen: list[float] = []

    class Look:
        every = 1

        def __call__(self, moment) -> None:
            rows = [m.weight.flatten(1) for m in moment.model.modules() if isinstance(m, mp.Normalised)]
            seen.append(max(float((w.square().mean(1).sqrt() - 1).abs().max()) for w in rows))

    model = (
        Diffusion(DiffusionConfig(backbone=net), data.space)
        if family == "diffusion"
        else FlowMatching(FlowMatchingConfig(backbone=net), data.space)
    )
    train(model, data, Training(steps=5, batch=16, save_seconds=None), hooks=[Look()])
    assert len(seen) == 5
    assert max(seen) < 1e-3  # what is added to norms, and rounding
    assert isinstance(model.sample(2, rng=0, steps=2), Batch)
    assert math.isfinite(float(model.sample(2, rng=0, steps=2).x.sum()))
