"""The gradient of every example alone, and the sum of them cut to a norm: what a private step is made of.

Two ways to the same numbers. ``OneByOne`` differentiates each example's loss by itself, which is right for any model.
``ByLayers`` differentiates the batch once and reads each example's share off the layers: a layer's gradient for example
i follows from its input and the gradient of its output in row i (Goodfellow 2015, "Efficient per-example gradient
computations"); of a linear layer called once, norm and weighted sum need no gradient of single examples at all. It
holds where every layer sees one row of an example at each call, which the caller has to try (``training.private``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from simulacra.core.batch import Batch, Loss
from simulacra.core.randomness import Rng

LossOf = Callable[[Batch, Rng], Loss]


class Inseparable(ValueError):
    """The gradients of single examples cannot be read off the layers."""


@runtime_checkable
class Gradients(Protocol):
    """A way to the gradients of single examples."""

    def __call__(self, loss: LossOf, module: nn.Module, batch: Batch, rng: Rng) -> Iterator[Share]:
        """Parts of the batch's examples, each with the gradients of its own; the loss's row r draws from rng row r."""
        ...


@runtime_checkable
class Share(Protocol):
    """The gradients of some examples in the parameters of a module that need one."""

    def norms(self) -> Tensor:
        """The norm of each example's gradient, (k,)."""
        ...

    def weighted(self, weights: Tensor) -> list[Tensor]:
        """The sum of the gradients with these weights (k,), of every parameter; one of weight 0 may be infinite."""
        ...


def clipped_sum(way: Gradients, loss: LossOf, module: nn.Module, batch: Batch, rng: Rng, clip: float) -> list[Tensor]:
    """The sum over the examples of g min(1, clip / |g|), of every parameter of the module that needs a gradient.

    Abadi et al. 2016, algorithm 1. An example whose gradient is not finite counts as zero, so that the norm of what
    each adds is at most ``clip`` whatever it is.
    """
    total = [torch.zeros_like(p) for p in learnt(module)]
    for share in way(loss, module, batch, rng):
        norms = share.norms()
        weights = (clip / norms.clamp(min=1e-12)).clamp(max=1.0)
        torch._foreach_add_(total, share.weighted(torch.where(norms.isfinite(), weights, 0.0)))
    return total


def learnt(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that need a gradient."""
    return [p for p in module.parameters() if p.requires_grad]


@dataclass(frozen=True)
class OneByOne:
    """Each example's loss differentiated by itself: right for any model, and as slow as batches of one."""

    def __call__(self, loss: LossOf, module: nn.Module, batch: Batch, rng: Rng) -> Iterator[Share]:
        for i in range(len(batch)):
            total = loss(batch.rows(slice(i, i + 1)), rng.rows(i)).total
            found = torch.autograd.grad(total, learnt(module), allow_unused=True, materialize_grads=True)
            yield Stacked([g[None] for g in found])


@dataclass(frozen=True)
class ByLayers:
    """Read off the layers: one pass for the whole batch. Raises Inseparable where a layer sees no row of each."""

    def __call__(self, loss: LossOf, module: nn.Module, batch: Batch, rng: Rng) -> Iterator[Share]:
        with _listening(module) as calls:
            total = loss(batch, rng).total
        heard = torch.autograd.grad(total, [c.output for c in calls], allow_unused=True)
        of_layer: dict[nn.Module, list[tuple[Call, Tensor]]] = {}
        for call, gradient in zip(calls, heard, strict=True):
            if gradient is not None:
                if not call.rows(len(batch)):
                    raise Inseparable(f"{type(call.layer).__name__} does not see one row of each example")
                of_layer.setdefault(call.layer, []).append((call, gradient))
        pieces: dict[int, Piece] = {}
        for layer, heard_of in of_layer.items():
            pieces |= _pieces(layer, heard_of)
        yield Pieces(pieces, learnt(module), len(batch))


@dataclass(frozen=True)
class Stacked:
    """The gradients themselves, (k, *shape) of every parameter."""

    each: list[Tensor]

    def norms(self) -> Tensor:
        return torch.stack([g.flatten(1).square().sum(1) for g in self.each]).sum(0).sqrt()

    def weighted(self, weights: Tensor) -> list[Tensor]:
        return [_weighted(g, weights) for g in self.each]


@dataclass(frozen=True)
class Outer:
    """Gradients of a linear layer's weights that are outer products of what it gave (b, out) and saw (b, in)."""

    given: Tensor
    seen: Tensor

    def squares(self) -> Tensor:
        return self.given.square().sum(1) * self.seen.square().sum(1)

    def weighted(self, weights: Tensor) -> Tensor:
        kept = weights > 0
        return (weights[kept, None] * self.given[kept]).T @ self.seen[kept]


@dataclass(frozen=True)
class Whole:
    """Gradients (b, *shape)."""

    each: Tensor

    def squares(self) -> Tensor:
        return self.each.flatten(1).square().sum(1)

    def weighted(self, weights: Tensor) -> Tensor:
        return _weighted(self.each, weights)


Piece = Outer | Whole


@dataclass(frozen=True)
class Pieces:
    """What each parameter has of the gradients; none of those that no layer used."""

    of: dict[int, Piece]
    parameters: list[nn.Parameter]
    examples: int

    def norms(self) -> Tensor:
        zero = self.parameters[0].new_zeros(self.examples)
        return torch.stack([zero, *(piece.squares() for piece in self.of.values())]).sum(0).sqrt()

    def weighted(self, weights: Tensor) -> list[Tensor]:
        return [self.of[id(p)].weighted(weights) if id(p) in self.of else torch.zeros_like(p) for p in self.parameters]


@dataclass(frozen=True)
class Call:
    """One call of a layer: what it saw and gave."""

    layer: nn.Module
    args: tuple[Any, ...]
    output: Tensor

    def rows(self, n: int) -> bool:
        """Whether all tensors have a row for each of n examples."""
        return all(t.ndim > 0 and len(t) == n for t in (*self.args, self.output) if isinstance(t, Tensor))


@contextmanager
def _listening(module: nn.Module) -> Iterator[list[Call]]:
    """Within it, calls of layers with parameters of their own that need a gradient are noted."""
    calls: list[Call] = []

    def note(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if not isinstance(output, Tensor) or any(isinstance(v, Tensor) for v in kwargs.values()):
            raise Inseparable(f"{type(layer).__name__} is given, or gives, more than plain tensors")
        if output.requires_grad:
            calls.append(Call(layer, tuple(a.detach() if isinstance(a, Tensor) else a for a in args), output))

    handles = [
        layer.register_forward_hook(note, with_kwargs=True)
        for layer in module.modules()
        if any(p.requires_grad for p in layer.parameters(recurse=False))
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _pieces(layer: nn.Module, heard: list[tuple[Call, Tensor]]) -> dict[int, Piece]:
    own = {name: p for name, p in layer.named_parameters(recurse=False) if p.requires_grad}
    if type(layer) is nn.Linear and len(heard) == 1 and heard[0][1].ndim == 2:
        call, gradient = heard[0]
        found: dict[int, Piece] = {id(layer.weight): Outer(gradient, call.args[0].to(gradient.dtype))}
        return {**found, **({} if layer.bias is None else {id(layer.bias): Whole(gradient)})}
    sums: dict[str, Tensor] = {}
    for call, gradient in heard:
        for name, each in _of_rows(layer, own, call.args, gradient).items():
            sums[name] = sums[name] + each if name in sums else each
    return {id(own[name]): Whole(each) for name, each in sums.items()}


def _of_rows(
    layer: nn.Module, own: dict[str, nn.Parameter], args: tuple[Any, ...], gradient: Tensor
) -> dict[str, Tensor]:
    """The gradients of a layer's own parameters row by row, (b, *shape) each."""
    places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]

    def one(rows: list[Tensor], given: Tensor) -> dict[str, Tensor]:
        filled = list(args)
        for place, row in zip(places, rows, strict=True):
            filled[place] = row[None]

        def call(parameters: dict[str, Tensor]) -> Any:
            return functional_call(layer, parameters, tuple(filled))

        pull: Any = vjp(call, {name: p.detach() for name, p in own.items()})[1]
        return pull(given[None])[0]

    return vmap(one)([args[i] for i in places], gradient)


def _weighted(each: Tensor, weights: Tensor) -> Tensor:
    kept = weights > 0  # 0 times infinity is no number
    return torch.tensordot(weights[kept].to(each.dtype), each[kept], dims=1)
