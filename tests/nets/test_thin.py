"""The thin convolutions are torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from simulacra.core.randomness import Rng
from simulacra.nets.initialise import initialise, normal
from simulacra.nets.thin import FromPicture, ToPicture

SIZES = [(8, 8), (9, 8), (15, 11), (2, 3)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("c", [1, 3])
def test_from_a_picture(size: tuple[int, int], c: int):
    layer = FromPicture(c, 5).double()
    initialise(layer, Rng(0))
    torch.nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(0))
    x = Rng(1)("x").normal((3, c, *size), dtype=torch.float64).requires_grad_()
    y, wanted = layer(x), F.conv2d(x, layer.weight, layer.bias, 2, 1)
    assert torch.allclose(y, wanted)
    both = [
        torch.autograd.grad(out.square().sum(), (x, layer.weight, layer.bias), retain_graph=True) for out in (y, wanted)
    ]
    assert all(torch.allclose(a, b) for a, b in zip(*both, strict=True))
    assert y.is_contiguous(memory_format=torch.channels_last)
    layer.activation = torch.nn.LeakyReLU(0.2, inplace=True)
    (steep,) = torch.autograd.grad(layer(x).square().sum(), x)
    (wanted_steep,) = torch.autograd.grad(F.leaky_relu(wanted, 0.2).square().sum(), x)
    assert torch.allclose(steep, wanted_steep)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("c", [1, 3])
def test_to_a_picture(size: tuple[int, int], c: int):
    layer = ToPicture(5, c, size).double()
    initialise(layer, Rng(0))
    torch.nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(0))
    x = Rng(1)("x").normal((3, 5, size[0] // 2, size[1] // 2), dtype=torch.float64).requires_grad_()
    odd = (size[0] % 2, size[1] % 2)
    y, wanted = layer(x), F.conv_transpose2d(x, layer.weight, layer.bias, 2, 1, odd)
    assert torch.allclose(y, wanted)
    both = [torch.autograd.grad(out.square().sum(), (x, layer.weight, layer.bias)) for out in (y, wanted)]
    assert all(torch.allclose(a, b) for a, b in zip(*both, strict=True))


def test_they_start_as_told():
    layer = ToPicture(256, 3, (8, 8), scheme=normal(0.02))
    initialise(layer, Rng(0))
    assert abs(layer.weight.std().item() - 0.02) < 0.02 * 4 / (2 * layer.weight.numel()) ** 0.5
    assert not layer.bias.any()
