"""Laws of parts: what is said of part of an example is what is said of the whole, with the rest summed out.

They are about exact likelihoods and completions, on spaces that say what may be missing (``Space.missing``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simulacra.core.batch import Batch, each
from simulacra.core.capabilities import Completer, Likelihood
from simulacra.core.indices import choices
from simulacra.core.space import Categorical, Continuous, Field
from simulacra.laws.examples import like, named
from simulacra.laws.law import Broken, Inapplicable, Law, Subject, weight_of
from simulacra.laws.queries import taken
from simulacra.laws.sampling import SIGNIFICANCE, multinomial_p

ROWS = 6
MOST = 64  # values of a field that are gone through
POINTS, REACH = 4001, 14.0  # of a line that is integrated over, and its scales on either side of the centre
DRAWS = 400
# what a sum over points leaves of an integral: kinks and the tails beyond
SLACK = 2e-3


def parts_are_sums(subject: Subject) -> str:
    """log p(rest) = log sum over v of p(rest, v), or the integral, for each field that may be missing alone."""
    model = subject.fresh()
    batch = _whole(subject, model)
    said = model.log_likelihood(batch.x, **batch.given())
    if said.kind != "exact":
        raise Inapplicable(f"the likelihood is of kind {said.kind}")
    found: list[str] = []
    for name in subject.space.missing:
        f = subject.space.fields[name]
        if f.shape or not _enumerable(f):
            continue
        values, weight = _values(f, weight_of(model))
        part = model.log_likelihood(batch.x, **_given(batch, subject, name)).nats.double()
        at = torch.arange(ROWS, device=values.device).repeat_interleave(len(values))
        many = batch.rows(at)
        x = {**named(subject.space, many.x), name: values.repeat(ROWS)}
        whole = model.log_likelihood(like(batch.x, x), **many.given()).nats.double().reshape(ROWS, -1)
        far = float((part - (whole + weight.to(whole.device)).logsumexp(1)).abs().max())
        slack = 1e-4 if isinstance(f, Categorical) or f.levels is not None else SLACK
        if not far <= slack:
            raise Broken(f"without {name} an example has another density than its sum over {name}: {far:.3g} nats off")
        found.append(f"{name} to {far:.1g} nats")
    if not found:
        raise Inapplicable("no single column that may be missing can be summed over")
    return ", ".join(found)


def completions_are_conditionals(subject: Subject) -> str:
    """Draws of a column given the others have the frequencies that Bayes' rule gives: by brute force."""
    model = subject.fresh()
    if getattr(model, "completion", "") != "exact":
        raise Inapplicable("the model does not say that its completions are exact")
    batch = _whole(subject, model).rows(slice(0, 2))
    if model.log_likelihood(batch.x, **batch.given()).kind != "exact":
        raise Inapplicable("its likelihood is not exact")
    found: list[str] = []
    for name, f in subject.space.fields.items():
        countable = isinstance(f, Categorical) or f.levels is not None
        if f.shape or not countable or choices(f) > MOST:
            continue
        values, _ = _values(f, weight_of(model))
        for row in range(2):
            one = batch.rows(torch.full((len(values),), row, device=values.device))
            x = like(batch.x, {**named(subject.space, one.x), name: values})
            p = model.log_likelihood(x, **one.given()).nats.double().softmax(0).detach().cpu()
            many = batch.rows(torch.full((DRAWS,), row, device=values.device))
            known = _given(many, subject, name)["known"]
            given = {k: v for k, v in taken(model.complete, many).items() if k != "known"}
            done = model.complete(many.x, known, **given, rng=subject.rng("complete", name, row))
            drawn = named(subject.space, done.x)[name].detach().cpu()
            index = drawn if isinstance(f, Categorical) else f.index(drawn).long()
            seen = multinomial_p(np.asarray(index.bincount(minlength=len(values))), p.numpy())
            if seen < SIGNIFICANCE:
                raise Broken(f"{DRAWS} draws of {name} given the rest do not have its conditional, p = {seen:.1g}")
            found.append(f"{name}: p = {seen:.2g}")
    if not found:
        raise Inapplicable("no single column has few enough values to be gone through")
    return ", ".join(found)


def _whole(subject: Subject, model: Any) -> Batch:
    """Examples of which everything is known, and that lie within."""
    return replace(subject.batch(model, ROWS), known=None)


def _enumerable(f: Field) -> bool:
    return (isinstance(f, Continuous) and f.levels is None) or choices(f) <= MOST


def _values(f: Field, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The values a field can take, or points of its range, and the log of what each stands for."""
    if isinstance(f, Categorical) or f.levels is not None:
        number = torch.arange(choices(f), device=weight.device)
        value = number if isinstance(f, Categorical) else f.value(number.to(weight.dtype))
        return value, torch.zeros(len(number), dtype=torch.float64)
    low, high = max(f.low, f.centre - REACH * f.scale), min(f.high, f.centre + REACH * f.scale)
    step = (high - low) / POINTS
    points = low + (torch.arange(POINTS, dtype=torch.float64) + 0.5) * step
    return points.to(weight), torch.full((POINTS,), step, dtype=torch.float64).log()


def _given(batch: Batch, subject: Subject, without: str) -> dict[str, Any]:
    """What is given beside x, the mask among it: everything is known but one column."""
    known = each(lambda t: torch.ones_like(t, dtype=torch.bool), named(subject.space, batch.x))
    known[without] = torch.zeros_like(known[without])
    return replace(batch, known=like(batch.x, known)).given()


LAWS = (
    Law(
        name="parts are sums",
        says="The exact likelihood of part of an example is the sum, or integral, over what is missing.",
        needs=(Likelihood,),
        check=parts_are_sums,
    ),
    Law(
        name="completed exactly",
        says="Completions called exact have the frequencies that Bayes' rule gives by brute force.",
        needs=(Likelihood, Completer),
        check=completions_are_conditionals,
    ),
)
