"""What a generator has shown, and what the critic thought of it: work of one turn that the next need not do again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary


class Shown(WeakIdKeyDictionary):
    """What the generator has shown in answer to a batch, u, by the batch's first tensor; forgotten with the batch."""

    def __deepcopy__(self, memo: object) -> Shown:
        return Shown()  # a copy of the model has shown nothing yet


@dataclass(frozen=True)
class Opinion:
    """Scores (b,) of what stood at a point (b, *event), with their graph; ``state`` is the critic they are of."""

    point: Tensor
    scores: Tensor
    state: tuple[Any, ...]


class Opinions(WeakIdKeyDictionary):
    """The critic's opinion of what was last shown, by the batch's first tensor: in its own turn it looks at reality.

    One at most is held, so that a batch taken in parts keeps one graph, not all of them. A critic that has changed
    since is asked again.
    """

    def __deepcopy__(self, memo: object) -> Opinions:
        return Opinions()

    def form(
        self, critic: nn.Module, fake: Tensor, y: Tensor | None, batch: Tensor, frozen: Sequence[nn.Parameter] = ()
    ) -> Opinion | None:
        """Look at what is shown, and remember; None where the critic's graph must not outlive the generator's turn.

        That is where no gradient is wanted, where parameters are split over processes (their memory is freed after each
        use), where a compiled backward pass frees its own, and for a critic that looks at both sides in one pass.
        Those of the critic's weights that are frozen have no part in the graph.
        """
        self.clear()
        parameters = list(critic.parameters())
        compiled = any(getattr(m, "_compiled_call_impl", None) is not None for m in critic.modules())
        whole = all(type(p) is nn.Parameter for p in parameters)
        if compiled or not whole or not fake.requires_grad or getattr(critic, "alone", False):
            return None
        point = fake.detach().requires_grad_()
        kept = {id(p) for p in frozen}
        # it is not the critic's turn, but the graph is to serve that one as well
        with _learning([p for p in parameters if id(p) not in kept]):
            scores = critic(point, y)
        self[batch] = opinion = Opinion(point, scores, _state(critic))
        return opinion

    def recall(self, critic: nn.Module, batch: Tensor) -> Opinion | None:
        """The opinion of what was shown for a batch, once: a graph is gone through once. None where there is none."""
        opinion = self.pop(batch, None)
        return opinion if opinion is not None and opinion.state == _state(critic) else None


def through(loss: Tensor, opinion: Opinion, fake: Tensor) -> Tensor:
    """A loss (b,) of an opinion as one of ``fake``: the same value; its sum has the same gradient.

    The slope at the point is taken at once, and of nothing but the point: no weight of the critic's gets a gradient.
    """
    with torch.autocast(loss.device.type, enabled=False):
        (slope,) = torch.autograd.grad(loss.sum(), opinion.point, retain_graph=True)
        carried = (slope * fake).flatten(1).sum(1)
    return loss.detach() + (carried - carried.detach()).to(loss.dtype)


def _state(critic: nn.Module) -> tuple[Any, ...]:
    """What changes when a critic's opinion may."""
    return critic.training, *((id(p), p._version) for p in critic.parameters())


@contextlib.contextmanager
def _learning(parameters: list[nn.Parameter]) -> Iterator[None]:
    before = [p.requires_grad for p in parameters]
    for p in parameters:
        p.requires_grad_()
    try:
        yield
    finally:
        for p, wanted in zip(parameters, before, strict=True):
            p.requires_grad_(wanted)
