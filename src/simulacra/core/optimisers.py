"""Optimiser settings as data: what a player asks for, and the torch optimiser it becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from simulacra.core.muon import Orthogonal


@runtime_checkable
class Optimiser(Protocol):
    """Settings that build the optimisers of a module."""

    def build(self, module: nn.Module) -> list[torch.optim.Optimizer]:
        """The torch optimisers that together step every parameter of the module that needs a gradient."""
        ...

    @property
    def schedule(self) -> Callable[[float, int], float]:
        """(fraction of the budget done, step) -> factor on the learning rate."""
        ...


def constant(fraction: float, step: int) -> float:
    """A learning rate that never changes."""
    return 1.0


@dataclass(frozen=True, kw_only=True)
class Warmup:
    """Linear rise over the first ``steps``, then linear decay to ``final`` over the last ``decay`` of the budget."""

    steps: int = 0
    decay: float = 0.0
    final: float = 0.0

    def __call__(self, fraction: float, step: int) -> float:
        rise = min(1.0, (step + 1) / self.steps) if self.steps else 1.0
        if self.decay == 0.0 or fraction <= 1 - self.decay:
            return rise
        return rise * (self.final + (1 - self.final) * max(0.0, 1 - fraction) / self.decay)


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019); weight decay acts on matrices only."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    schedule: Callable[[float, int], float] = constant

    def build(self, module: nn.Module) -> list[torch.optim.Optimizer]:
        """One fused AdamW over all parameters."""
        parameters = [p for p in module.parameters() if p.requires_grad]
        return [_adamw(parameters, self)]


def lazy(settings: AdamW, every: int) -> AdamW:
    """Settings for a player that also takes a lazy turn every ``every`` steps: Karras et al. 2020, appendix B.

    With c = every / (every + 1) the rate becomes c lr and the momenta beta^c, so that every + 1 steps of it move and
    forget as much as ``every`` steps did.
    """
    c = every / (every + 1)
    return replace(settings, lr=c * settings.lr, betas=(settings.betas[0] ** c, settings.betas[1] ** c))


@dataclass(frozen=True, kw_only=True)
class Muon:
    """Muon (Jordan et al. 2024, ``core.muon``) for the hidden matrices a module names, AdamW for everything else.

    A module marks a parameter for Muon by ``parameter.muon = True``: matrices, and kernels of convolutions.
    """

    lr: float = 0.02
    momentum: float = 0.95
    weight_decay: float = 0.0
    rest: AdamW = field(default_factory=AdamW)
    schedule: Callable[[float, int], float] = constant

    def build(self, module: nn.Module) -> list[torch.optim.Optimizer]:
        """Muon over the marked matrices and AdamW over the rest."""
        parameters = [p for p in module.parameters() if p.requires_grad]
        matrices = [p for p in parameters if p.ndim >= 2 and getattr(p, "muon", False)]
        chosen = {id(p) for p in matrices}
        others = [p for p in parameters if id(p) not in chosen]
        built: list[torch.optim.Optimizer] = []
        if matrices:
            built.append(Orthogonal(matrices, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay))
        if others:
            built.append(_adamw(others, self.rest))
        return built


def _adamw(parameters: list[nn.Parameter], settings: AdamW) -> torch.optim.Optimizer:
    if settings.weight_decay == 0.0:
        groups: list[dict[str, Any]] = [{"params": parameters}]  # a group less is a kernel launch less
    else:
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]],
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=0.0,
        fused=True,
    )
