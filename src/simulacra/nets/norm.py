"""Batch normalisation whose statistics are those of the whole batch, however many processes share it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.core import across
from simulacra.core.randomness import Rng


class BatchNorm(nn.Module):
    """Batch normalisation over all dimensions but the second, (b, channels, ...) (Ioffe & Szegedy 2015, alg. 1).

    While training, mean and variance are those of the batch over all processes (each holding as many rows), and the
    running ones move towards them by ``momentum``, unless ``held``; in evaluation mode the running ones are used.
    Raises ValueError where a variance would rest on a single value a channel.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True) -> None:
        super().__init__()
        self.channels, self.eps, self.momentum = channels, eps, momentum
        self.held = False
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64))

    def extra_repr(self) -> str:
        return f"{self.channels}, eps={self.eps}, momentum={self.momentum}, affine={self.weight is not None}"

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Start as the identity on standardised values; nothing is drawn."""
        if self.weight is not None and self.bias is not None:
            self.weight.fill_(1.0)
            self.bias.zero_()
        self.running_mean.zero_()
        self.running_var.fill_(1.0)
        self.num_batches_tracked.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """x (b, channels, ...) -> the same shape."""
        if self.training and not self.held:
            self.num_batches_tracked.add_(1)
        if self.training and across.processes() > 1:
            return self._shared(x)
        running = (None, None) if self.training and self.held else (self.running_mean, self.running_var)
        return F.batch_norm(x, *running, self.weight, self.bias, self.training, self.momentum, self.eps)

    def _shared(self, x: Tensor) -> Tensor:
        over = [d for d in range(x.ndim) if d != 1]
        # statistics in at least float32: under autocast x may be bfloat16
        wide = x if x.dtype == torch.float64 else x.float()
        count = across.processes() * (x.numel() // self.channels)
        if count < 2:
            raise ValueError(f"batch norm needs more than one value a channel while training; got {tuple(x.shape)}")
        # one message; the variance of the whole is the mean of the variances plus the variance of the means
        own = torch.stack([wide.mean(over), wide.var(over, correction=0)])
        means, variances = across.gather(own[None]).unbind(1)
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        if not self.held:
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
                self.running_var.lerp_((variance * (count / (count - 1))).to(self.running_var.dtype), self.momentum)
        shape = [-1 if d == 1 else 1 for d in range(x.ndim)]
        out = (wide - mean.view(shape)) * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None and self.bias is not None:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(x.dtype)


class holding:
    """A module whose layers with a switch ``held`` leave their statistics alone for a while: a batch seen before."""

    def __init__(self, module: nn.Module) -> None:
        self.norms: list[Any] = [m for m in module.modules() if hasattr(m, "held")]

    def __enter__(self) -> None:
        for norm in self.norms:
            norm.held = True

    def __exit__(self, *error: object) -> None:
        for norm in self.norms:
            norm.held = False
