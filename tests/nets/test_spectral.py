"""Spectral norm, conditional norm, attention and projection against closed forms."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.nets.class_heads import Projection
from simulacra.nets.initialise import he_normal, initialise
from simulacra.nets.norm import holding
from simulacra.nets.spectral import ConditionalBatchNorm, SelfAttention, Spectral, off_diagonal, orthogonal


def numbers(*shape: int, name: str = "x") -> Tensor:
    return Rng(3)(name).normal(shape, dtype=torch.float64)


@pytest.mark.parametrize("kernel", [0, 3])
def test_the_largest_singular_value_becomes_one(kernel: int):
    # Miyato et al. 2018, eq. 6-8, against numpy's decomposition
    layer = Spectral(5, 7, kernel, scheme=he_normal(0.0)).double()
    initialise(layer, Rng(0))
    for _ in range(300):
        layer.norm.step(layer.weight)
    values = torch.linalg.svdvals(layer.norm(layer.weight).flatten(1))
    assert abs(values[0] - 1) < 1e-9
    sigma = torch.linalg.svdvals(layer.weight.flatten(1))[0]
    assert torch.allclose(layer.norm(layer.weight), layer.weight / sigma)
    # eq. 9-12: the gradient of sigma is u v^T, with u and v held
    x = numbers(4, 5, *([6, 6] if kernel else []))
    layer(x).sum().backward()
    w = layer.weight.detach().clone().requires_grad_()
    found = w / torch.linalg.matrix_norm(w.flatten(1), 2)
    truth = (nn.functional.conv2d(x, found, padding=1) if kernel else x @ found.T).sum()
    (slope,) = torch.autograd.grad(truth, w)
    assert layer.weight.grad is not None
    assert torch.allclose(layer.weight.grad, slope, atol=1e-6)


def test_u_moves_in_training_only_and_not_while_held():
    layer = Spectral(5, 7, 0, scheme=he_normal(0.0))
    initialise(layer, Rng(0))
    x = Rng(1).normal((4, 5))
    before = copy.deepcopy(layer.norm.state_dict())
    layer.eval()(x)
    with holding(layer.train()):
        layer(x)
    assert all(torch.equal(before[k], v) for k, v in layer.norm.state_dict().items())
    layer(x)
    assert any(not torch.equal(before[k], v) for k, v in layer.norm.state_dict().items())


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (4, 3, 3, 3), (6, 6)])
def test_orthogonal_weights_are(shape: tuple[int, ...]):
    w = orthogonal(torch.empty(shape, dtype=torch.float64), Rng(0)).flatten(1)
    small = w @ w.T if len(w) <= w.shape[1] else w.T @ w
    assert torch.allclose(small, torch.eye(len(small)).double(), atol=1e-12)


def test_only_filters_that_are_alike_are_penalised():
    # Brock et al. 2018, eq. 3: the diagonal, the filters' norms, is free
    w = torch.diag(torch.tensor([3.0, 0.5, 9.0])).double()
    assert off_diagonal(w) == 0
    assert torch.isclose(off_diagonal(torch.tensor([[1.0, 2.0], [3.0, 4.0]])), torch.tensor(2 * 11.0**2))
    assert off_diagonal(orthogonal(torch.empty(4, 2, 3, 3).double(), Rng(0))) < 1e-24


def test_conditional_norm_is_batch_norm_with_scales_of_the_condition():
    layer = ConditionalBatchNorm(3, 4, scheme=orthogonal).double()
    initialise(layer, Rng(0))
    x, given = numbers(6, 3, 5, 5) * 3 + 1, numbers(6, 4, name="y")
    assert layer.told is not None
    layer.told.eval()
    out = layer(x, given)
    scale, shift = layer.told(given).chunk(2, dim=1)
    plain = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(out, plain * (1 + scale)[:, :, None, None] + shift[:, :, None, None])
    assert torch.allclose(layer(x, torch.zeros_like(given)), plain)


@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
def test_attention_starts_as_nothing_and_its_weights_sum_to_one(size: tuple[int, int]):
    layer = SelfAttention(16, scheme=orthogonal).double()
    initialise(layer, Rng(0))
    layer.eval()
    x = numbers(2, 16, *size)
    assert torch.equal(layer(x), x)
    weights = layer.weights(x)
    assert weights.shape == (2, size[0] * size[1], (size[0] // 2) * (size[1] // 2))
    assert torch.allclose(weights.sum(2), torch.ones(2, size[0] * size[1]).double())
    with torch.no_grad():
        layer.gamma.fill_(1.0)
    # a place far from another is seen
    far = x.clone()
    far[:, :, -2, -2] += 5
    assert ((layer(far) - layer(x))[:, :, 0, 0].abs().amax() > 1e-9).item()
    # what attends to one value everywhere gathers that value, whatever the weights
    flat = x[:, :, :1, :1].expand_as(x)
    assert torch.allclose(layer(flat) - flat, layer.out(layer.value(flat)))


def test_projection_is_linear_in_features_and_class():
    # Miyato & Koyama 2018, eq. 3
    head = Projection(5, 3, linear=lambda a, b: nn.Linear(a, b, bias=False), gain=0.5).double()
    f, y = numbers(4, 5), torch.eye(3).double()[[0, 2, 1, 0]]
    assert head.labels is not None
    truth = f @ head.score.weight[0] + 0.5 * (head.labels.weight.T[[0, 2, 1, 0]] * f).sum(1)  # type: ignore[operator]
    assert torch.allclose(head(f, y), truth)
