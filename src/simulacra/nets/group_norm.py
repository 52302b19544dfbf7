"""A group norm and its SiLU in one: what torch's own kernel takes long for where channels lie last in memory.

On a CPU convolutions are fastest with channels last, and torch's backward pass of a group norm slow there. With one
scale and one shift a channel and example, y = silu(x a + b) takes a pass over x, and its gradient

    dx = a dz + p x + q,    dz = silu'(x a + b) dy,

where p and q hold what dz does to the mean and the variance: Wu & He 2018, eq. 1, 2 and 6, differentiated.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NormSiLU(nn.GroupNorm):
    """silu(group_norm(x)), (b, c, h, w) -> the same."""

    def forward(self, input: Tensor) -> Tensor:
        # autocast decides for itself what it computes a norm in, and a transform of functions needs torch's own
        plain = torch._C._are_functorch_transforms_active() or torch.is_autocast_enabled("cpu")
        if plain or input.device.type != "cpu" or input.dtype not in (torch.float32, torch.float64):
            return F.silu(super().forward(input))
        if not input.is_contiguous(memory_format=torch.channels_last):
            return F.silu(super().forward(input))
        return _NormSiLU.apply(input, self.weight, self.bias, self.num_groups, self.eps)


class _NormSiLU(torch.autograd.Function):
    """See above; where gradients of gradients are wanted, torch's own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        rows = x.permute(0, 2, 3, 1).flatten(1, 2)  # (b, h w, c), as it lies in memory
        size = rows.shape[1] * (rows.shape[2] // groups)
        mean = _over_group(rows.sum(1), groups) / size
        square = _over_group(rows.square().sum(1), groups) / size
        rate = (square - mean.square()).clamp_(min=0).add_(eps).rsqrt_()
        scale = rate * weight
        z = torch.addcmul((bias - mean * scale)[:, None], rows, scale[:, None])
        ctx.save_for_backward(x, weight, bias, mean, rate, z)
        ctx.groups, ctx.eps = groups, eps
        return _grid(F.silu(z), x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, rate, z = ctx.saved_tensors
        (dy,) = gradients
        if torch.is_grad_enabled():
            y = F.silu(F.group_norm(x, ctx.groups, weight, bias, ctx.eps))
            wanted = [t for t, needed in zip((x, weight, bias), ctx.needs_input_grad, strict=False) if needed]
            found = iter(torch.autograd.grad(y, wanted, dy, create_graph=True))
            return *(next(found) if needed else None for needed in ctx.needs_input_grad[:3]), None, None
        rows = x.permute(0, 2, 3, 1).flatten(1, 2)
        dz = torch.ops.aten.silu_backward(dy.permute(0, 2, 3, 1).flatten(1, 2), z)
        total, along = dz.sum(1), (dz * rows).sum(1)  # (b, c): of dz, and of dz x
        spread = (along - mean * total) * rate  # of dz times what is normalised
        size = rows.shape[1] * (rows.shape[2] // ctx.groups)
        p = -rate.square() * _over_group(spread * weight, ctx.groups) / size
        q = -rate * _over_group(total * weight, ctx.groups) / size - mean * p
        dx = torch.addcmul(q[:, None], rows, p[:, None]).addcmul_(dz, (rate * weight)[:, None])
        return _grid(dx, x), spread.sum(0), total.sum(0), None, None


def _over_group(channels: Tensor, groups: int) -> Tensor:
    """(b, c) -> its sum over each group, at every channel of the group."""
    if groups == channels.shape[1]:
        return channels
    parts = channels.unflatten(1, (groups, -1))
    return parts.sum(2, keepdim=True).expand_as(parts).flatten(1)


def _grid(rows: Tensor, like: Tensor) -> Tensor:
    """(b, h w, c) -> (b, c, h, w), channels last."""
    return rows.unflatten(1, like.shape[2:]).permute(0, 3, 1, 2)
