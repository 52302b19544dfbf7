"""All the laws, put to a model; what came of it as a table; a stranger's model by "module:factory"."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from simulacra.core.batch import Data
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.laws import (
    annealing,
    conditionals,
    invertible,
    latent,
    learning,
    likelihood,
    sampling,
    stepwise,
    translating,
)
from simulacra.laws.examples import drawn
from simulacra.laws.law import Law, Result, Subject

LAWS: tuple[Law, ...] = (
    *sampling.LAWS,
    *likelihood.LAWS,
    *conditionals.LAWS,
    *stepwise.LAWS,
    *latent.LAWS,
    *invertible.LAWS,
    *annealing.LAWS,
    *translating.LAWS,
    *learning.LAWS,
)
MARKS = {"passed": "ok", "failed": "FAILED", "not applicable": "-"}


def check(
    make_model: Callable[[], Any],
    data: Data | None = None,
    rng: Rng | int = 0,
    *,
    laws: Sequence[Law] = LAWS,
    told: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Put every law to a model; one result a law, in order.

    make_model  makes the model, anew for each law; it needs a ``space`` and whatever methods it has.
    data        examples of that space; None draws some without anything to learn in them.
    told        called with each result as it comes, for progress.
    Raises ValueError for a model without a space, or data of another space than the model's.
    """
    model, rng = make_model(), Rng.of(rng)
    space = getattr(model, "space", None)
    if not isinstance(space, Space):
        raise ValueError(
            f"the laws need to know what {type(model).__name__} models; give it an attribute space (Space)"
        )
    if data is None:
        data = drawn(space, 256, rng("data"))
    elif data.space != space:
        raise ValueError(f"{type(model).__name__} models another space than {data.name} has; make it with data.space")
    subject, results = Subject(make=make_model, data=data, rng=rng("laws")), []
    for law in laws:
        results.append(law(subject))
        if told is not None:
            told(results[-1])
    return results


def table(results: Sequence[Result]) -> str:
    """Results as plain text: a line a law, the laws that do not apply last, and a line that counts them."""
    width = max((len(r.name) for r in results), default=0)
    lines = []
    for r in sorted(results, key=lambda r: r.status == "not applicable"):
        said = r.says if r.status == "passed" else r.detail
        lines.append(f"{MARKS[r.status]:<6}  {r.name:<{width}}  {said}")
    counted = ", ".join(f"{sum(r.status == status for r in results)} {status}" for status in MARKS)
    return "\n".join([*lines, "", f"{len(results)} laws: {counted}"])


def run(target: str, data: Data | None = None, rng: Rng | int = 0) -> tuple[list[Result], str]:
    """The results for "module:factory", and their table. Raises ValueError where there is no such factory."""
    results = check(find(target), data, rng)
    return results, table(results)


def find(target: str) -> Callable[[], Any]:
    """The factory that "module:factory" names, modules of the working directory among them; ValueError without one."""
    name, _, factory = target.partition(":")
    if not name or not factory:
        raise ValueError(f"a model is named as MODULE:FACTORY; got {target!r}")
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise ValueError(f"no module {name!r} here or among the installed ones; give MODULE:FACTORY") from None
        raise
    finally:
        sys.path.remove(os.getcwd())
    made = getattr(module, factory, None)
    if not callable(made):
        raise ValueError(f"{name} has no function {factory!r}; it is to return a model")
    return made
