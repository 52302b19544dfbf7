"""Laws of walking: deciding one element after another is the same distribution as the whole."""

from __future__ import annotations

import torch

from simulacra.core.capabilities import Likelihood, Stepwise
from simulacra.core.indices import to_indices
from simulacra.laws.examples import check_close
from simulacra.laws.law import Broken, Inapplicable, Law, Subject, rounding
from simulacra.laws.queries import walked


def order_is_whole(subject: Subject) -> str:
    model = subject.fresh()
    order = model.walk(2, y=subject.batch(model, 2).y).order
    if sorted(order.tolist()) != list(range(subject.space.size)):
        raise Broken(f"{len(order)} steps decide {len(set(order.tolist()))} of {subject.space.size} elements")
    return f"{len(order)} steps"


def walk_adds_up(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    whole = model.log_likelihood(batch.x, **batch.given())
    if whole.kind != "exact":
        raise Inapplicable(f"the likelihood is of kind {whole.kind}")
    wanted = to_indices(subject.space, batch.x)
    walk = model.walk(len(batch), y=batch.y)
    if sorted(walk.order.tolist()) != list(range(subject.space.size)):
        raise Inapplicable("the walk does not decide every element once")
    summed = torch.zeros_like(whole.nats)
    for place in walk.order.tolist():
        value = wanted[:, place]
        log_probs = walk.log_probs()
        left = float(log_probs.logsumexp(-1).abs().max())
        if not left <= rounding(log_probs.dtype):
            raise Broken(f"the probabilities of element {place} do not sum to 1: their log-sum is off by {left:.3g}")
        summed = summed + log_probs.gather(1, value[:, None])[:, 0].to(summed)
        walk.take(value)
    far = check_close(whole.nats, summed, "log p of whole examples and the sum along a walk")
    return f"they agree to {far:.1g} of their size"


def walked_alone(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    whole = walked(model, subject, batch)
    for rows in (slice(0, 1), slice(3, 6)):
        few = walked(model, subject, batch.rows(rows))
        check_close(whole[rows], few, f"{len(few)} examples walked along alone and among 8")
    return f"{whole.shape[1]} steps"


LAWS = (
    Law(
        name="walk is whole",
        says="A walk decides every element of an example once.",
        needs=(Stepwise,),
        check=order_is_whole,
    ),
    Law(
        name="walk adds up",
        says="The steps' log-probabilities are normalised, and sum to the log-likelihood of the example.",
        needs=(Stepwise, Likelihood),
        check=walk_adds_up,
    ),
    Law(
        name="walked alone",
        says="What may come next in an example does not depend on the examples beside it.",
        needs=(Stepwise,),
        check=walked_alone,
    ),
)
