"""Laws of scoring: a likelihood is of the example it was given, all of it and nothing else, and sums to one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from simulacra.core.batch import Batch, Values, each
from simulacra.core.capabilities import Labelled, Likelihood, LogProb
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes
from simulacra.laws.examples import check_close, drawn, inside, like, named
from simulacra.laws.law import Broken, Inapplicable, Law, Subject
from simulacra.laws.normalisation import sums_to_one

STEP = 1e-3  # of all nats, that a step along the gradient changes them by: far above rounding, nearly straight
STRAIGHT = 0.05  # share by which the change may differ from what the gradient says: what bends over such a step


def scores(subject: Subject) -> str:
    model = subject.fresh()
    said = _score(model, subject.batch(model, 16))
    if not isinstance(said, LogLikelihood):
        raise Broken(f"log_likelihood returns {type(said).__name__}; expected LogLikelihood")
    if said.nats.shape != (16,):
        raise Broken(f"nats has shape {tuple(said.nats.shape)} for 16 examples; expected (16,)")
    if not said.nats.isfinite().all():
        raise Broken(f"{int((~said.nats.isfinite()).sum())} of 16 are not finite")
    if said.kind not in ("exact", "bound", "estimate"):
        raise Broken(f"kind is {said.kind!r}; expected exact, bound or estimate")
    if not said.measure:
        raise Broken("measure is empty: it names the decoded data that the likelihood belongs to")
    count = torch.as_tensor(said.count, dtype=torch.float64)
    if count.shape not in ((), (16,)) or not bool((count >= 0).all()) or not float(count.sum()) > 0:
        raise Broken(f"count is {said.count}; expected the number of elements of an example, or one for each")
    return f"{said.kind}, {said.measure}: {said.mean():.4g} nats"


def rows_alone(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    whole = _score(model, batch, Rng(5)).nats
    alone = [_score(model, batch.rows(slice(r, r + 1)), Rng(5).rows(r)).nats for r in range(8)]
    far = check_close(whole, torch.cat(alone), "an example scored alone and in a batch")
    return f"they agree to {far:.1g} of their size"


def exact_is_exact(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    one, other = _score(model, batch, Rng(1)), _score(model, batch, Rng(2))
    if one.kind != "exact":
        raise Inapplicable(f"the likelihood is of kind {one.kind}")
    check_close(one.nats, other.nats, "an exact likelihood under one rng and another")
    return ""


def unknown_ignored(subject: Subject) -> str:
    if not subject.space.missing:
        raise Inapplicable("nothing in this space may be missing")
    model = subject.fresh()
    batch = subject.batch(model, 16)
    known = _observed(subject, batch, 0.6)
    other = _other(subject, batch)
    x, replaced, mask = (named(subject.space, v) for v in (batch.x, other, known))
    changed = {name: torch.where(mask[name], x[name], replaced[name]) for name in x}
    one = _score(model, replace(batch, known=known)).nats
    two = _score(model, replace(batch, known=known, x=like(batch.x, changed))).nats
    check_close(one, two, "with other values where nothing was observed")
    return ""


def all_known(subject: Subject) -> str:
    if not subject.space.missing:
        raise Inapplicable("nothing in this space may be missing")
    model = subject.fresh()
    batch = subject.batch(model, 16)
    everything = each(lambda t: torch.ones_like(t, dtype=torch.bool), batch.x)
    one, two = _score(model, replace(batch, known=None)), _score(model, replace(batch, known=everything))
    check_close(one.nats, two.nats, "known=None and everything known")
    return ""


def padding_ignored(subject: Subject) -> str:
    if not any(f.varying for f in subject.space.fields.values()):
        raise Inapplicable("nothing in this space varies in length")
    model = subject.fresh()
    batch = subject.batch(model, 16)
    x, other = named(subject.space, batch.x), named(subject.space, _other(subject, batch, padded=False))
    there = {name: inside(f, batch.length, 16).to(x[name].device) for name, f in subject.space.fields.items()}
    changed = {name: torch.where(there[name], x[name], other[name]) for name in x}
    one, two = _score(model, batch), _score(model, replace(batch, x=like(batch.x, changed)))
    check_close(one.nats, two.nats, "with other values beyond the examples' length")
    return ""


def has_its_slope(subject: Subject) -> str:
    model = subject.fresh()
    if not (weights := _learnable(model)):
        raise Inapplicable("the model has no weights that learn")
    batch = subject.batch(model, 8)
    given = {name: v for name, v in batch.given().items() if name != "known"}

    signs = torch.linspace(-1.0, 2.0, 8)  # not the mere sum: a part that examples share would count whatever its sign
    nats = model.log_prob_of(batch.x, **given)
    check_close(model.log_likelihood(batch.x, **given).nats, nats.detach(), "log_likelihood and log_prob_of")
    found = torch.autograd.grad((nats * signs.to(nats)).sum(), weights, allow_unused=True)
    slopes = [torch.zeros_like(p) if g is None else g for p, g in zip(weights, found, strict=True)]
    steep = sum(float(g.double().square().sum()) for g in slopes) ** 0.5
    if not 0 < steep < math.inf:
        raise Broken(f"log_prob_of has a gradient of norm {steep:.3g} in the weights")
    size = STEP * float(nats.detach().abs().sum()) / steep
    ends = []
    with torch.no_grad():
        for move in (size, -2 * size, size):
            for p, g in zip(weights, slopes, strict=True):
                p.add_(g, alpha=move / steep)
            ends.append(float((model.log_prob_of(batch.x, **given) * signs.to(nats)).sum()))
    changed, wanted = ends[0] - ends[1], 2 * size * steep
    if not abs(changed - wanted) <= STRAIGHT * wanted:
        raise Broken(f"a step along its gradient changes log_prob_of by {changed:.4g}; by the gradient {wanted:.4g}")
    return f"{changed / wanted:.3f} of what the gradient says"


def sums_out_labels(subject: Subject) -> str:
    if not isinstance(subject.space.y, Classes):
        raise Inapplicable("this space has no classes")
    model = subject.fresh()
    batch = subject.batch(model, 8)
    whole = _score(model, replace(batch, y=None))
    if whole.kind != "exact":
        raise Inapplicable(f"the likelihood is of kind {whole.kind}")
    log_prob = model.label_log_prob().to(whole.nats)
    each_class = [
        _score(model, replace(batch, y=torch.full((8,), c, device=whole.nats.device))).nats + log_prob[c]
        for c in range(len(subject.space.y))
    ]
    far = check_close(whole.nats, torch.stack(each_class).logsumexp(0), "log p(x) and log sum_y p(y) p(x | y)")
    return f"they agree to {far:.1g} of their size"


def _score(model: Any, batch: Batch, rng: Rng | int = 3) -> LogLikelihood:
    return model.log_likelihood(batch.x, **batch.given(), rng=Rng.of(rng))


def _learnable(model: Any) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad] if isinstance(model, nn.Module) else []


def _observed(subject: Subject, batch: Batch, share: float) -> Values:
    """A mask like x, with that share of the entries that may be missing observed."""
    mask: dict[str, Any] = {}
    for name, t in named(subject.space, batch.x).items():
        p = torch.full(t.shape, share if name in subject.space.missing else 1.0)
        mask[name] = subject.rng("observed", name).bernoulli(p).to(t.device)
    return like(batch.x, mask)


def _other(subject: Subject, batch: Batch, *, padded: bool = True) -> Values:
    """Other values of the space, like x; without padding they fill the whole of their extent."""
    space = subject.space
    if not padded:
        space = replace(space, fields={n: replace(f, varying=False) for n, f in space.fields.items()})
    values = drawn(space, len(batch), subject.rng("other")).batch(torch.arange(len(batch)), Rng(0)).x
    old = named(subject.space, batch.x)
    return like(batch.x, {name: t.to(old[name].device, old[name].dtype) for name, t in named(space, values).items()})


LAWS = (
    Law(
        name="log p has its slope",
        says="log_prob_of is the log-likelihood, and its gradient in the weights is what it changes by.",
        needs=(LogProb, Likelihood),
        check=has_its_slope,
    ),
    Law(
        name="scores",
        says="A log-likelihood is a finite number an example, and says what it is: kind, measure and count.",
        needs=(Likelihood,),
        check=scores,
    ),
    Law(
        name="scored alone",
        says="An example's likelihood does not depend on the examples beside it.",
        needs=(Likelihood,),
        check=rows_alone,
    ),
    Law(
        name="exact",
        says="A likelihood called exact is the same for every rng.",
        needs=(Likelihood,),
        check=exact_is_exact,
    ),
    Law(
        name="unknown ignored",
        says="What was not observed has no influence on the likelihood.",
        needs=(Likelihood,),
        check=unknown_ignored,
    ),
    Law(
        name="all known",
        says="Saying that everything is known is the same as saying nothing.",
        needs=(Likelihood,),
        check=all_known,
    ),
    Law(
        name="padding ignored",
        says="What lies beyond an example's length has no influence on the likelihood.",
        needs=(Likelihood,),
        check=padding_ignored,
    ),
    Law(
        name="labels summed out",
        says="An exact likelihood without a label is the sum over the labels: log sum_y p(y) p(x | y).",
        needs=(Likelihood, Labelled),
        check=sums_out_labels,
    ),
    Law(
        name="sums to one",
        says="All examples together have probability 1; by a lower bound, at most 1.",
        needs=(Likelihood,),
        check=sums_to_one,
    ),
)
