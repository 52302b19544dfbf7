"""Laws of codes, completions and critics: shapes, spaces, and that no example meddles with another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

from simulacra.core.batch import Batch, Values
from simulacra.core.capabilities import Codec, Completer, Critic, Decoder, Denoiser, Factorised, Successive
from simulacra.core.indices import choices
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Space
from simulacra.laws.examples import check_close, check_inside, check_same, named
from simulacra.laws.law import Broken, Inapplicable, Law, Subject, rounding
from simulacra.laws.queries import classes_of, codes, complete, half, taken


def encoded(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    z = model.encode(batch.x, **taken(model.encode, batch))
    expected = (8, *model.latent.only.shape)
    if z.shape != expected:
        raise Broken(f"8 examples are encoded as {tuple(z.shape)}; latent says {expected}")
    check_inside(Batch(x=z), model.latent, 8)
    again = model.decode(z, y=classes_of(subject, batch))
    _lawful(again, subject.space, rounded=False)
    return ""


def encoded_alone(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    whole = model.encode(batch.x, **taken(model.encode, batch))
    rows = [batch.rows(slice(r, r + 1)) for r in range(8)]
    alone = torch.cat([model.encode(row.x, **taken(model.encode, row)) for row in rows])
    check_close(whole, alone, "an example encoded alone and in a batch")
    return ""


def posterior_scores(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    given = taken(model.posterior, batch)
    log_prob = model.posterior(batch.x, **given).log_prob(model.encode(batch.x, **taken(model.encode, batch)))
    if log_prob.shape != (8,):
        raise Broken(f"its density of 8 codes has shape {tuple(log_prob.shape)}; expected (8,)")
    if not log_prob.isfinite().all():
        raise Broken("its density at the code of an example is not finite")
    return ""


def posterior_in_parts(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    q: Any = model.posterior(batch.x, **taken(model.posterior, batch))
    if not isinstance(q, Successive):
        raise Inapplicable("the posterior decides a code at once")
    z = codes(model, 8, Rng(3))
    scores: list[Tensor] = []
    sizes: list[int] = []

    def pick(normal: Normal) -> Tensor:
        part = z.flatten(1)[:, sum(sizes) : sum(sizes) + normal.mean.shape[1]]
        if part.shape != normal.mean.shape:
            raise Broken(f"parts of {[*sizes, normal.mean.shape[1]]} numbers are more than the code's {z[0].numel()}")
        sizes.append(part.shape[1])
        scores.append(normal.log_prob(part).sum(1))
        return part

    code = q.decide(pick)
    if sum(sizes) != z[0].numel():
        raise Broken(f"parts of {sizes} numbers are not the code's {z[0].numel()}")
    check_close(z, code, "a code and the parts that were picked of it")
    whole = model.posterior(batch.x, **taken(model.posterior, batch)).log_prob(z)
    check_close(torch.stack(scores).sum(0), whole, "log q of the parts of a code and of the whole")
    return f"{len(sizes)} parts"


def decoded(subject: Subject) -> str:
    model = subject.fresh()
    y = classes_of(subject, subject.batch(model, 8))
    x = model.decode(codes(model, 8, Rng(3)), y=y)
    _lawful(x, subject.space, rounded=False)
    return ""


def decoded_alone(subject: Subject) -> str:
    model = subject.fresh()
    z, batch = codes(model, 8, Rng(3)), subject.batch(model, 8)
    whole = model.decode(z, y=classes_of(subject, batch))
    for r in range(8):
        alone = model.decode(z[r : r + 1], y=classes_of(subject, batch.rows(slice(r, r + 1))))
        here = Batch(x=whole).rows(slice(r, r + 1)).x
        check_same(here, alone, subject.space, "a code decoded in a batch and alone")
    return ""


def decoded_smoothly(subject: Subject) -> str:
    if any(isinstance(f, Categorical) for f in subject.space.fields.values()):
        raise Inapplicable("categories have no slope")
    model = subject.fresh()
    if isinstance(model.latent.only, Categorical):
        raise Inapplicable("categorical codes have no slope")
    z = codes(model, 8, Rng(3)).requires_grad_()
    x = named(subject.space, model.decode(z, y=classes_of(subject, subject.batch(model, 8))))
    total = torch.stack([t.double().square().sum() for t in x.values()]).sum()
    slope = torch.autograd.grad(total, [z], allow_unused=True)[0] if total.requires_grad else None
    if slope is None or not slope.any():
        raise Broken("no gradient reaches the codes")
    if not slope.isfinite().all():
        raise Broken("the gradient at the codes is not finite")
    return ""


def choices_add_up(subject: Subject) -> str:
    if any(f.varying or (not isinstance(f, Categorical) and f.levels is None) for f in subject.space.fields.values()):
        raise Inapplicable("elements take no countable values, or vary in number")
    model = subject.fresh()
    log_probs = model.choice_log_probs(codes(model, 8, Rng(3)), y=classes_of(subject, subject.batch(model, 8)))
    most = max(choices(f) for f in subject.space.fields.values())
    expected = (8, subject.space.size, most)
    if tuple(log_probs.shape) != expected:
        raise Broken(f"log-probabilities of shape {tuple(log_probs.shape)}; expected {expected}")
    left = float(log_probs.logsumexp(-1).abs().max())
    if not left <= rounding(log_probs.dtype):
        raise Broken(f"the probabilities of an element's values do not sum to 1: their log-sum is off by {left:.3g}")
    return f"{log_probs.shape[1]} elements of up to {most} values"


def known_kept(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    known = half(subject, batch)
    after = named(subject.space, complete(model, subject, batch, Rng(3), known).x)
    before, mask = named(subject.space, batch.x), named(subject.space, known)
    for name, t in before.items():
        changed = (after[name] != t) & mask[name]
        if changed.any():
            raise Broken(f"{int(changed.sum())} of {int(mask[name].sum())} known entries of {name} were changed")
    return ""


def completed_in_space(subject: Subject) -> str:
    model = subject.fresh()
    after = complete(model, subject, subject.batch(model, 8), Rng(3))
    _lawful(after.x, subject.space, rounded=True)
    return ""


def unknown_unseen(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    known = half(subject, batch)
    one = complete(model, subject, batch, Rng(3), known)
    # the same questions, the true values left where a model must not look
    given = {k: v for k, v in taken(model.complete, batch).items() if k != "known"}
    two = model.complete(batch.x, known, **given, rng=Rng(3))
    check_same(one.x, two.x, subject.space, "with other values where nothing is known")
    return ""


def completed_alone(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    known = half(subject, batch)
    whole = complete(model, subject, batch, Rng(3), known).rows(slice(0, 3))
    few = complete(model, subject, batch.rows(slice(0, 3)), Rng(3), Batch(x=known).rows(slice(0, 3)).x)
    check_same(whole.x, few.x, subject.space, "3 examples completed alone and among 8")
    return ""


def criticised(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    scores = model.criticise(batch.x, y=batch.y)
    if not isinstance(scores, Tensor) or scores.shape != (8,):
        raise Broken(f"8 examples get scores of shape {tuple(getattr(scores, 'shape', ()))}; expected (8,)")
    if not scores.isfinite().all():
        raise Broken(f"{int((~scores.isfinite()).sum())} of 8 scores are not finite")
    return ""


def criticised_alone(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    rows = [batch.rows(slice(r, r + 1)) for r in range(8)]
    alone = torch.cat([model.criticise(row.x, y=row.y) for row in rows])
    check_close(model.criticise(batch.x, y=batch.y), alone, "an example criticised in a batch and alone")
    return ""


def denoised_alone(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    first = batch.x if isinstance(batch.x, Tensor) else next(iter(batch.x.values()))
    sigma = torch.logspace(-2, 1, 8, dtype=first.dtype, device=first.device)
    whole = named(subject.space, model.denoise(batch.x, sigma, y=batch.y))
    for r in range(8):
        row = batch.rows(slice(r, r + 1))
        alone = named(subject.space, model.denoise(row.x, float(sigma[r]), y=row.y))
        for name in subject.space.fields:
            check_close(whole[name][r : r + 1], alone[name], f"{name} denoised in a batch and alone")
    return ""


def _unvarying(space: Space) -> Space:
    """The space of the values alone: what comes back without lengths fills its extent with zeros at the end."""
    return replace(space, fields={name: replace(f, varying=False) for name, f in space.fields.items()}, y=None)


def _lawful(x: Values, space: Space, *, rounded: bool) -> None:
    check_inside(Batch(x=x), _unvarying(space), 8, rounded=rounded)


def _law(name: str, says: str, needs: type[Any], check: Callable[[Subject], str]) -> Law:
    return Law(name=name, says=says, needs=(needs,), check=check)


LAWS = (
    _law("encoded", "Codes lie in the latent space, and are decoded into the examples' space.", Codec, encoded),
    _law("encoded alone", "An example's code does not depend on the examples beside it.", Codec, encoded_alone),
    _law("posterior", "The posterior of an example gives its code a finite density.", Codec, posterior_scores),
    _law(
        "posterior in parts",
        "A posterior that decides part after part gives the whole code the density of its parts.",
        Codec,
        posterior_in_parts,
    ),
    _law("decoded", "Codes drawn from N(0, I), or any categorical ones, are decoded into the space.", Decoder, decoded),
    _law("decoded alone", "What a code is decoded to does not depend on the codes beside it.", Decoder, decoded_alone),
    _law("decoded smoothly", "Continuous examples have a gradient in their code.", Decoder, decoded_smoothly),
    _law(
        "choices add up",
        "A code gives the values of each element probabilities that sum to 1.",
        Factorised,
        choices_add_up,
    ),
    _law("known kept", "Completing leaves what is known as it is.", Completer, known_kept),
    _law("completed in space", "Completed examples lie in the space.", Completer, completed_in_space),
    _law("unknown unseen", "A completion is blind to what stands where nothing is known.", Completer, unknown_unseen),
    _law("completed alone", "A completion does not depend on the examples beside it.", Completer, completed_alone),
    _law(
        "denoised alone",
        "What is taken out of an example as noise depends on it alone, and on its own noise.",
        Denoiser,
        denoised_alone,
    ),
    _law("criticised", "A critic gives every example one finite score.", Critic, criticised),
    _law("criticised alone", "An example's score does not depend on the examples beside it.", Critic, criticised_alone),
)
