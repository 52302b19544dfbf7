"""Muon (Jordan et al. 2024): momentum whose matrices are replaced by the nearest orthogonal ones.

torch has the same steps for matrices alone, one matrix at a time. Here kernels of convolutions take part, as matrices
of an output channel a row, and all parameters of one shape are orthogonalised together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# the quintic with the steepest slope at zero that keeps singular values within about 0.7 and 1.2 (Jordan et al. 2024)
QUINTIC = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


def orthogonalised(x: Tensor) -> Tensor:
    """Of matrices (n, rows, columns), the orthogonal factors of their polar decompositions, roughly; bfloat16.

    Five rounds of Newton and Schulz: singular values end within about 0.7 and 1.2 rather than at 1.
    """
    a, b, c = QUINTIC
    x = x.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if tall else x
    size = x.float().square().sum((1, 2), keepdim=True).sqrt()  # no singular value lies above it
    x = x / size.clamp(min=1e-7).to(x.dtype)
    for _ in range(ROUNDS):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.transpose(1, 2) if tall else x


class Orthogonal(torch.optim.Optimizer):
    """Steps of lr times an orthogonal matrix as large as a step of Adam, 0.2 of root mean square (Liu et al. 2025).

    Parameters of two or more dimensions; those beyond the first count as one. Nesterov's momentum; decoupled weight
    decay. A parameter without a gradient is left alone.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim < 2:
                    raise ValueError(f"Muon needs matrices or kernels; got a parameter of shape {tuple(p.shape)}")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step on the gradients as they stand."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[tuple[Any, ...], list[nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault((len(p), p[0].numel(), p.dtype, p.device), []).append(p)
            for parameters in alike.values():
                self._step(parameters, group)
        return loss

    def _step(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        """A step of parameters of one shape."""
        directions = orthogonalised(torch.stack([self._moved(p, group["momentum"]).flatten(1) for p in parameters]))
        size = 0.2 * math.sqrt(max(directions.shape[1:]))  # Liu et al. 2025, eq. 4
        for p, direction in zip(parameters, directions, strict=True):
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.add_(direction.reshape(p.shape).to(p.dtype), alpha=-group["lr"] * size)

    def _moved(self, p: nn.Parameter, momentum: float) -> Tensor:
        """The gradient, looking ahead along its running mean."""
        gradient, state = p.grad, self.state[p]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p)
        return gradient.lerp(state["momentum_buffer"].lerp_(gradient, 1 - momentum), momentum)
