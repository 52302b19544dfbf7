"""Laws of translation between classes: what comes out are examples, and each is translated by itself."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.core.batch import Batch
from simulacra.core.capabilities import Translator
from simulacra.laws.examples import check_inside, check_same
from simulacra.laws.law import Broken, Law, Subject

N = 8


def _to(subject: Subject, y: object) -> Tensor:
    """Every class in turn."""
    if not isinstance(y, Tensor):
        raise Broken("a model that translates between classes has none")
    return torch.arange(len(y), device=y.device) % len(subject.space.classes)


def translated(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, N)
    check_inside(Batch(x=model.translate(batch.x, y=_to(subject, batch.y))), subject.space, N, y=False)
    return ""


def translated_alone(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, N)
    to = _to(subject, batch.y)
    whole = Batch(x=model.translate(batch.x, y=to))
    for row in (slice(r, r + 1) for r in range(N)):
        alone = model.translate(batch.rows(row).x, y=to[row])
        check_same(whole.rows(row).x, alone, subject.space, "an example translated in a batch and alone")
    return ""


LAWS = (
    Law(
        name="translated",
        says="What examples are translated to lies in the space.",
        needs=(Translator,),
        check=translated,
    ),
    Law(
        name="translated alone",
        says="What an example is translated to does not depend on the examples beside it.",
        needs=(Translator,),
        check=translated_alone,
    ),
)
