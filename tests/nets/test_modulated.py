"""Modulated convolutions: both ways to compute them are one, and demodulated filters have norm 1."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from simulacra.core.randomness import Rng
from simulacra.nets import modulated as m
from simulacra.nets.initialise import initialise
from simulacra.nets.resample import doubled, sizes
from simulacra.nets.styles import Adaptive, AdaptiveNorm, Demodulated, Mapping


def numbers(*shape: int, name: str = "x") -> Tensor:
    return Rng(3)(name).normal(shape, dtype=torch.float64)


@pytest.mark.parametrize(("kernel", "doubling"), [(1, False), (3, False), (3, True)])
@pytest.mark.parametrize("demodulated", [True, False])
def test_scaled_equals_grouped_with_equal_gradients(kernel: int, demodulated: bool, doubling: bool):
    found = []
    for compute in (m.scaled, m.grouped, m.by_device):
        given = [t.requires_grad_() for t in (numbers(3, 4, 5, 6), numbers(7, 4, kernel, kernel, name="w"),
                                              numbers(3, 4, name="s"))]  # fmt: skip
        out = compute(given[0], given[1], given[2], demodulated, doubling)
        out.square().sum().backward()
        found.append([out, *(t.grad for t in given)])
    for one, other in pairwise(found):
        assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-10) for a, b in zip(one, other, strict=True))  # type: ignore[arg-type]
    assert found[0][0].shape == ((3, 7, 10, 12) if doubling else (3, 7, 5, 6))  # type: ignore[union-attr]


def test_demodulated_filters_have_norm_1_whatever_the_style():
    # Karras et al. 2020, eq. 3
    weight, style = numbers(7, 4, 3, 3, name="w"), numbers(3, 4, name="s") * 100
    own = weight * style[:, None, :, None, None] * m.demodulation(weight, style)[:, :, None, None, None]
    assert torch.allclose(own.flatten(2).square().sum(2), torch.ones(3, 7).double())
    # so that the size of a style is lost, and unit white noise comes out with unit variance
    x = numbers(3, 4, 40, 40)
    assert torch.allclose(m.scaled(x, weight, style, True, False), m.scaled(x, weight, style * 9, True, False))
    assert (m.scaled(x, weight, style, True, False)[..., 1:-1, 1:-1].var((2, 3)) - 1).abs().max() < 0.3


def test_a_plain_style_leaves_an_ordinary_convolution():
    x, weight = numbers(2, 4, 5, 5), numbers(7, 4, 3, 3, name="w")
    assert torch.allclose(m.scaled(x, weight, torch.ones(2, 4).double(), False, False), F.conv2d(x, weight, padding=1))


def test_doubling_is_the_convolution_of_a_doubled_picture():
    # zeros between, the filter, and the convolution commute away from the border
    x, weight = numbers(2, 4, 9, 9), numbers(7, 4, 3, 3, name="w")
    out = m.scaled(x, weight, torch.ones(2, 4).double(), False, True)
    truth = F.conv2d(doubled(x), weight.flip(2, 3), padding=1)
    assert torch.allclose(out[..., 3:-3, 3:-3], truth[..., 3:-3, 3:-3])


def test_noise_is_silent_until_learnt_and_its_own_for_every_example():
    layer, x = m.NoiseInput().double(), torch.zeros(3, 2, 4, 4).double()
    noise = m.drawn(Rng(0))(2, x)
    initialise(layer, Rng(0))
    assert torch.equal(layer(x, noise), x)
    with torch.no_grad():
        layer.strength.fill_(2.0)
    assert torch.equal(layer(x, noise), (2 * noise).expand(-1, 2, -1, -1))
    assert len({float(n.sum()) for n in noise}) == 3
    assert torch.equal(m.drawn(Rng(0).rows(1))(2, x[:2]), noise[1:]), "rows do not depend on the batch"
    assert torch.equal(m.fixed(2, x[:1]), m.fixed(2, x)[2:])


def test_adaptive_norm_sets_mean_and_deviation():
    layer = AdaptiveNorm(5, 3).double()
    initialise(layer, Rng(0))
    w, x = numbers(2, 5, name="w"), numbers(2, 3, 8, 8) * 7 + 2
    scale, shift = layer.affine(w).chunk(2, dim=1)
    out = layer(x, w)
    assert torch.allclose(out.mean((2, 3)), shift)
    assert torch.allclose(out.var((2, 3), correction=0).sqrt(), (scale + 1).abs())


@pytest.mark.parametrize("synthesis", [Demodulated(), Demodulated(compute=m.grouped), Adaptive()])
def test_each_style_is_heard_by_its_own_size_on(synthesis: Demodulated | Adaptive):
    found = sizes(17, 24)
    net = synthesis.build(5, found, [4] * len(found), 2).double()
    initialise(net, Rng(0))
    w = numbers(3, net.layers, 5, name="w")
    out = net(w, m.fixed)
    assert out.shape == (3, 2, 17, 24)
    for layer in range(net.layers):
        changed = w.clone()
        changed[1, layer] += 1
        differs = (net(changed, m.fixed) - out).abs().amax((1, 2, 3)) > 1e-12
        assert differs.tolist() == [False, True, False], layer


def test_a_mapping_forgets_how_long_z_is():
    net = Mapping(6, 5, 3, 4).double()
    initialise(net, Rng(0))
    z, y = numbers(3, 6, name="z"), torch.eye(4).double()[:3]
    assert torch.allclose(net(z, y), net(z * 7, y), rtol=1e-6)
    assert not torch.allclose(net(z, y), net(z, y.flip(0)))
