"""Looking across a batch that several processes share: a gather and a mean, differentiable any number of times.

Each process holds the same number of rows of the batch and the loss of its own rows; the gradient of the whole is the
sum over the processes. So whatever one process sees of another's rows must send its gradient back there: the backward
of a gather sums what all processes say about a row. With one process everything here is the identity.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, distributed


def processes() -> int:
    """How many processes share a batch."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, 0 .. processes() - 1; it holds the rows of that share."""
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


class _Sum(torch.autograd.Function):
    """Sum over the processes; its own adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(x)  # pyright: ignore[reportUnknownMemberType]
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return total(gradients[0])


class _Gather(torch.autograd.Function):
    """Rows of all processes, in the order of their ranks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        shares = [torch.empty_like(x) for _ in range(processes())]
        distributed.all_gather(shares, x)  # pyright: ignore[reportUnknownMemberType]
        ctx.rows = len(x)
        return torch.cat(shares)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        first = rank() * ctx.rows
        return total(gradients[0])[first : first + ctx.rows]


def wait() -> None:
    """Wait until every process is here."""
    if processes() > 1:
        cast(Any, distributed).barrier()


def total(x: Tensor) -> Tensor:
    """Sum over the processes, of whatever shape x has; the same on each of them."""
    return x if processes() == 1 else cast("Tensor", _Sum.apply(x))  # pyright: ignore[reportUnknownMemberType]


def mean(x: Tensor) -> Tensor:
    """Mean over the processes, of whatever shape x has; the same on each of them."""
    return x if processes() == 1 else total(x) / processes()


def gather(x: Tensor) -> Tensor:
    """(b, ...) -> (processes x b, ...): the rows of the whole batch in order; b is the same on every process."""
    return x if processes() == 1 else cast("Tensor", _Gather.apply(x))  # pyright: ignore[reportUnknownMemberType]
