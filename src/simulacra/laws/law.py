"""What a law is, what it is checked on, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data
from simulacra.core.capabilities import Fitter
from simulacra.core.randomness import Rng
from simulacra.core.space import Space

Status = Literal["passed", "failed", "not applicable"]


class Broken(Exception):
    """A law does not hold; the message gives what was measured."""


class Inapplicable(Exception):
    """A law has nothing to say about this model; the message gives the reason."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of one law.

    name, says  the law's own.
    status      "passed" | "failed" | "not applicable".
    detail      what was measured, or why the law does not apply; "" where there is nothing to add.
    """

    name: str
    says: str
    status: Status
    detail: str = ""

    @property
    def failed(self) -> bool:
        """Whether the law is broken."""
        return self.status == "failed"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What the laws are checked on.

    make   makes the model anew; called once a law, so that no law sees what another has done to it.
    data   examples for it; drawn at random from its space where nobody gave any (``laws.examples``).
    rng    of every draw the laws make.
    """

    make: Callable[[], Any]
    data: Data
    rng: Rng

    @property
    def space(self) -> Space:
        """What the data is, and the model models."""
        return self.data.space

    def fresh(self) -> Any:
        """The model anew, fitted where it is one that fits."""
        model = self.make()
        if isinstance(model, Fitter):
            model.fit(self.data)
        return model

    def batch(self, model: Any, n: int) -> Batch:
        """The first n examples, or fewer again and again, on the model's device and in its precision."""
        batch = self.data.batch(torch.arange(n) % len(self.data), self.rng("batch"))
        like = weight_of(model)
        return batch.map(lambda t: t.to(like.device, like.dtype if t.is_floating_point() else t.dtype))


@dataclass(frozen=True, kw_only=True)
class Law:
    """Something that must hold for every model that has the capabilities it is about.

    name   one or two words, unique.
    says   the law, one sentence in plain words.
    needs  protocols of ``core.capabilities``; the law does not apply to a model that lacks one.
    check  returns what it measured in words; raises ``Broken`` or ``Inapplicable``.
    """

    name: str
    says: str
    needs: tuple[type[Any], ...]
    check: Callable[[Subject], str]

    def __call__(self, subject: Subject) -> Result:
        """Check it. What the model raises is the model's failure, not the battery's."""
        status: Status = "passed"
        try:
            model = subject.make()
            lacking = [c.__name__ for c in self.needs if not isinstance(model, c)]
            if lacking:
                raise Inapplicable(f"the model is no {' and no '.join(lacking)}")
            detail = self.check(subject)
        except Inapplicable as reason:
            status, detail = "not applicable", str(reason)
        except Broken as finding:
            status, detail = "failed", str(finding)
        except Exception as error:
            status, detail = "failed", f"raised {type(error).__name__}: {' '.join(str(error).split())}"
        return Result(name=self.name, says=self.says, status=status, detail=detail)


def weight_of(model: Any) -> Tensor:
    """A floating-point weight of the model, for its device and precision; an empty one where it has none."""
    state = model.state_dict().values() if isinstance(model, nn.Module) else ()
    return next((t for t in state if t.is_floating_point()), torch.empty(0))


def rounding(dtype: torch.dtype) -> float:
    """Relative difference that sums taken in another order may make: a thousand units in the last place."""
    return 1000 * torch.finfo(dtype).eps if dtype.is_floating_point else 0.0
