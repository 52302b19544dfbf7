"""Equalised layers, filters that double and halve, and the deviation of a batch, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from simulacra.core.randomness import Rng
from simulacra.nets.equalised import Deviation, EqualConv, EqualDown, EqualLinear, leaky
from simulacra.nets.initialise import initialise
from simulacra.nets.norm import holding
from simulacra.nets.resample import TAPS, doubled, filtered_down, padded_blur, sizes


def numbers(*shape: int, name: str = "x") -> torch.Tensor:
    return Rng(3)(name).normal(shape, dtype=torch.float64)


@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_an_equalised_layer_keeps_the_variance_and_moves_as_far_as_its_gain(rate: float):
    # Karras et al. 2018, section 4.1: stored weights are N(0, 1), used ones N(0, 1 / fan-in)
    layer = EqualLinear(256, 256, rate=rate)
    initialise(layer, Rng(0))
    assert math.isclose(layer.weight.std().item() * rate, 1, rel_tol=0.02)
    x = Rng(1).normal((500, 256))
    assert math.isclose(layer(x).var().item(), 1, rel_tol=0.03)
    assert layer.bias is not None
    # an optimiser's step of d in every weight and bias changes what is used by d gain and d rate
    before = layer(x)
    with torch.no_grad():
        layer.weight.add_(0.5)
        layer.bias.add_(0.5)
    moved = 0.5 * x.sum(1, keepdim=True) * rate / 16 + 0.5 * rate
    assert torch.allclose(layer(x) - before, moved.expand(-1, 256), atol=1e-5)


@pytest.mark.parametrize("kernel", [1, 3])
def test_an_equalised_convolution_is_a_convolution_times_its_gain(kernel: int):
    layer = EqualConv(5, 4, kernel)
    initialise(layer, Rng(0))
    x = numbers(2, 5, 6, 7)
    truth = F.conv2d(x, layer.weight.double(), padding=kernel // 2) / math.sqrt(5 * kernel**2)
    assert torch.allclose(layer.double()(x), truth)
    loud = leaky(Rng(2).normal((100_000,)))
    assert math.isclose(loud.square().mean().item(), 1.04, rel_tol=0.02)  # (1 + 0.2^2) / 2 times 2


@pytest.mark.parametrize("size", [(4, 6), (7, 5)])
def test_doubling_is_four_times_the_adjoint_of_halving(size: tuple[int, int]):
    h, w = size
    x, y = numbers(2, 3, 2 * h, 2 * w), numbers(2, 3, h, w, name="y")
    assert torch.allclose((filtered_down(x) * y).sum() * 4, (x * doubled(y)).sum())
    flat = torch.ones(1, 1, 9, 8, dtype=torch.float64)
    assert torch.allclose(filtered_down(flat)[..., 1:-1, 1:-1], flat[..., :3, :2])
    assert torch.allclose(doubled(flat)[..., 1:-1, 1:-1], torch.ones(1, 1, 16, 14).double())
    assert filtered_down(x[..., 1:, 1:]).shape == y.shape


def test_the_filter_takes_out_the_finest_wave():
    taps = torch.tensor(TAPS, dtype=torch.float64)
    assert math.isclose(taps.sum().item(), 1)
    wave = torch.tensor([1.0, -1.0]).double().repeat(8).expand(1, 2, 16, 16)
    assert padded_blur(wave, (0, 0), (0, 0)).abs().max() < 1e-12
    x = numbers(1, 2, 6, 6)
    one = torch.einsum("h,w,bchw->bc", taps, taps, x[..., :4, :4])
    assert torch.allclose(padded_blur(x, (0, 0), (0, 0))[..., 0, 0], one)


@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_a_halving_convolution_is_a_filter_and_every_second_place(size: tuple[int, int]):
    layer = EqualDown(2, 3, 3, bias=False).double()
    initialise(layer, Rng(0))
    x = numbers(1, 2, *size)
    wide = F.pad(x, (2, 4, 2, 4))
    truth = F.conv2d(padded_blur(wide, (0, 0), (0, 0)), layer.weight * layer.gain)[..., ::2, ::2]
    h, w = ((n + 1) // 2 for n in size)
    assert layer(x).shape == (1, 3, h, w)
    assert torch.allclose(layer(x), truth[..., :h, :w])
    point = EqualDown(2, 3, 1, bias=False).double()
    initialise(point, Rng(0))
    assert torch.allclose(point(x), F.conv2d(filtered_down(x), point.weight * point.gain))


def test_sizes_halve_and_round_up_to_four_at_least():
    assert sizes(28, 28) == [(28, 28), (14, 14), (7, 7), (4, 4)]
    assert sizes(64, 48) == [(64, 48), (32, 24), (16, 12), (8, 6)]
    assert len(sizes(1024, 1024)) == 9


def test_deviation_is_that_of_each_group():
    # Karras et al. 2018, section 3: per place over the group, then the mean over channels and places
    layer, x = Deviation(4).double(), numbers(8, 3, 2, 2)
    out = layer(x)
    assert out.shape == (8, 4, 2, 2)
    assert torch.equal(out[:, :3], x)
    for rows in (slice(0, 4), slice(4, 8)):
        truth = (x[rows].var(0, correction=0) + 1e-8).sqrt().mean()
        assert torch.allclose(out[rows, 3], truth.expand(4, 2, 2))


@pytest.mark.parametrize(("b", "n"), [(1, 1), (3, 3), (6, 3), (7, 7), (12, 4), (25, 5)])
def test_identical_examples_deviate_by_a_ten_thousandth_at_every_batch(b: int, n: int):
    same = Deviation(4).double()
    assert torch.allclose(same.each(numbers(1, 3, 2, 2).expand(b, -1, -1, -1)), torch.tensor(1e-4).double())
    x = numbers(b, 3, 2, 2)
    assert len(same.each(x).unique()) == b // n


def test_an_example_stands_alone_in_evaluation_and_held_statistics_stay():
    layer, x = Deviation(4), Rng(0).normal((8, 3, 2, 2)) * 5
    with holding(layer):
        layer(x)
    assert layer.typical == 1
    for _ in range(200):
        layer(x)
    layer.eval()
    assert torch.allclose(layer(x[:1]), layer(x)[:1])
    assert torch.allclose(layer(x)[0, 3, 0, 0], layer.each(x).mean(), rtol=1e-4)
    with pytest.raises(ValueError, match="at least 2 examples; got 1"):
        Deviation(1)
