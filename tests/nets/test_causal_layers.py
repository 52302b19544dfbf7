"""Layers of autoregressive networks: their gates, and what they look like from one pixel to the next."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.nets.causal_attention import Attention, Places
from simulacra.nets.causal_layers import Gate, Gated, Residual, gate
from simulacra.nets.initialise import initialise
from simulacra.nets.masked import Above, Left


def noise(*shape: int) -> Tensor:
    return Rng(0)(*shape).normal(shape, dtype=torch.float64)


def test_the_gate_and_its_gradient():
    x = noise(2, 6, 3, 4).requires_grad_()
    a, b = x.chunk(2, 1)
    assert torch.allclose(gate(x), torch.tanh(a / 2) * torch.sigmoid(b), rtol=1e-12)
    assert torch.autograd.gradcheck(Gate.apply, (x,))


@pytest.mark.parametrize("strict", [True, False])
def test_convolutions_equal_masked_ones(strict):
    """A masked square convolution, as the papers have it, with the weights put where they may look."""
    x = noise(2, 3, 7, 6)
    above = Above(3, 4, rows=2, columns=5, strict=strict).double()
    left = Left(3, 4, columns=3, strict=strict).double()
    initialise(above, Rng(1))
    initialise(left, Rng(2))
    kernel = torch.zeros(4, 3, 5, 5, dtype=torch.float64)
    first = 0 if strict else 1
    kernel[:, :, first : first + 2] = above.weight.detach()
    wanted = torch.nn.functional.conv2d(x, kernel, above.bias.detach(), padding=2)
    assert torch.allclose(above(x), wanted)
    row = torch.zeros(4, 3, 1, 7, dtype=torch.float64)
    row[..., first : first + 3] = left.weight.detach()
    assert torch.allclose(left(x), torch.nn.functional.conv2d(x, row, padding=(0, 3)))


@pytest.mark.parametrize("layer", [Gated(), Gated(kernel=5), Residual(), Attention(heads=2), Places()])
def test_signals_neither_fade_nor_explode_where_layers_begin(layer):
    v, h = noise(4, 16, 8, 8), noise(4, 16, 8, 8) * 2
    built = layer.build(16, (8, 8), 0).double()
    initialise(built, Rng(1))
    for _ in range(2):
        v, h = built(v, h, None, None)
    for signal in (v, h):
        assert 0.2 < float(signal.detach().square().mean().sqrt()) < 10
