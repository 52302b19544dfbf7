"""The law of a latent variable's evidence: it lies between its bounds, and so does what a model says of itself."""

from __future__ import annotations

import math

from torch import Tensor

from simulacra.core.capabilities import LatentVariable, Likelihood
from simulacra.evaluation.annealed import Settings, sandwiched
from simulacra.laws.law import Broken, Law, Subject
from simulacra.mathematics.annealing import Annealing

EXAMPLES = 24
BRIEF = Settings(annealing=Annealing(steps=12, leapfrog=3), chains=3)  # bounds hold however short the walk
ERRORS = 5.0  # standard errors that a bound may lie on the wrong side


def sandwiched_evidence(subject: Subject) -> str:
    model = subject.fresh()
    found = sandwiched(model, EXAMPLES, rng=subject.rng("annealing"), settings=BRIEF)
    assert found.above is not None
    below, above = found.below.nats, found.above
    if not (below.isfinite().all() and above.isfinite().all()):
        raise Broken("a bound of the evidence is not finite")
    _ordered(below, above, "annealed from below", "from above")
    if isinstance(model, Likelihood):
        said = model.log_likelihood(found.examples.x, **found.examples.given(), rng=subject.rng("likelihood"))
        nats = said.nats.double().cpu()
        if said.kind != "estimate":  # one promises nothing
            _ordered(nats, above, f"the model's own {said.kind}", "annealed from above")
        if said.kind == "exact":
            _ordered(below, nats, "annealed from below", "the model's own exact likelihood")
    return f"between {float(below.mean()):.4g} and {float(above.mean()):.4g} nats"


def _ordered(low: Tensor, high: Tensor, name: str, other: str) -> None:
    over = low - high
    error = float(over.std()) / math.sqrt(len(over))
    if float(over.mean()) > ERRORS * error + 1e-6 * float(high.abs().mean()):
        raise Broken(
            f"{name} is {float(low.mean()):.6g} nats, {other} {float(high.mean()):.6g}: it must not lie above, and does"
            f" by {float(over.mean()):.3g}, standard error {error:.2g}"
        )


LAWS = (
    Law(
        name="sandwiched",
        says="The evidence of a model's own draws, annealed from below, lies below that from above; so does its bound.",
        needs=(LatentVariable,),
        check=sandwiched_evidence,
    ),
)
