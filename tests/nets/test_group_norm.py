"""The norm and its activation in one are torch's two, and so are their gradients, also of gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from simulacra.core.randomness import Rng
from simulacra.nets.group_norm import NormSiLU


def layer(groups: int) -> NormSiLU:
    made = NormSiLU(groups, 12, eps=1e-4).double()
    with torch.no_grad():
        made.weight.copy_(Rng(1).normal((12,)) + 1)
        made.bias.copy_(Rng(2).normal((12,)))
    return made


def pictures() -> torch.Tensor:
    x = 3 * Rng(3).normal((5, 12, 3, 7), dtype=torch.float64) + 0.7
    return x.to(memory_format=torch.channels_last).requires_grad_()


@pytest.mark.parametrize("groups", [1, 4, 12])
def test_values_and_gradients_are_torchs(groups):
    made, x = layer(groups), pictures()
    y, theirs = made(x), F.silu(F.group_norm(x, groups, made.weight, made.bias, 1e-4))
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, theirs, rtol=1e-12, atol=1e-12)
    g = Rng(4).normal(tuple(y.shape), dtype=torch.float64)
    inputs = (x, made.weight, made.bias)
    for a, b in zip(torch.autograd.grad(y, inputs, g), torch.autograd.grad(theirs, inputs, g), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_gradients_of_gradients():
    made, x = layer(4), pictures()

    def norm(x, w, b):
        return torch.func.functional_call(made, {"weight": w, "bias": b}, (x,))

    assert torch.autograd.gradgradcheck(norm, (x, made.weight, made.bias))


def test_a_frozen_layer_passes_gradients_on():
    made, x = layer(4).requires_grad_(False), pictures()
    made(x).sum().backward()
    assert x.grad.abs().sum() > 0


def test_other_layouts_and_transforms_take_torchs_way():
    made, x = layer(4), pictures().detach()
    want = made(x)
    torch.testing.assert_close(made(x.contiguous()), want, rtol=1e-12, atol=1e-12)
    each = torch.func.vmap(lambda row: made(row[None])[0])(x)
    torch.testing.assert_close(each, want, rtol=1e-12, atol=1e-12)
