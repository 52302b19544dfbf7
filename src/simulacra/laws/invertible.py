"""Laws of bijections: there and back is where one was, and the log-determinant is that of the derivative."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Values
from simulacra.core.capabilities import Invertible, Likelihood
from simulacra.core.randomness import Rng
from simulacra.laws.examples import apart, check_close, check_same, like, named
from simulacra.laws.law import Broken, Inapplicable, Law, Subject
from simulacra.laws.queries import classes_of, codes

LARGEST = 128  # dimensions of the Jacobians that are computed, a row at a time
ROWS = 3


def there_and_back(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    y = classes_of(subject, batch)
    z, log_det = model.to_latent(batch.x, y=y)
    expected = (8, *model.latent.only.shape)
    if z.shape != expected or log_det.shape != (8,):
        raise Broken(f"8 examples go to {tuple(z.shape)} and {tuple(log_det.shape)}; expected {expected} and (8,)")
    if math.prod(expected[1:]) != subject.space.size:
        raise Broken(f"{subject.space.size} numbers an example go to {math.prod(expected[1:])}: no bijection does that")
    back = named(subject.space, model.from_latent(z, y=y))
    far = max(float(apart(t, back[name]).max()) for name, t in named(subject.space, batch.x).items())
    noise = codes(model, 8, Rng(3))
    again, _ = model.to_latent(model.from_latent(noise, y=y), y=y)
    near = float(apart(noise, again).max())
    # half the digits: what a derivative of a hundred leaves of the others is the model's affair
    if not max(far, near) <= _half_the_digits(z):
        raise Broken(f"there and back is {far:.2g} of their size away for examples, {near:.2g} for codes")
    return f"to {max(far, near):.1g} of their size"


def log_det_is_the_derivative_s(subject: Subject) -> str:
    if subject.space.size > LARGEST:
        raise Inapplicable(f"the space has more than {LARGEST} dimensions")
    model = subject.fresh()
    batch = subject.batch(model, ROWS)
    if not all(t.is_floating_point() for t in named(subject.space, batch.x).values()):
        raise Inapplicable("a category has no derivative")
    y = classes_of(subject, batch)
    parts = {name: t.detach().clone().requires_grad_() for name, t in named(subject.space, batch.x).items()}
    z, log_det = model.to_latent(like(batch.x, parts), y=y)
    jacobian = torch.stack([_slopes(z_i.sum(), list(parts.values())) for z_i in z.flatten(1).unbind(1)], 1)
    exact = torch.linalg.slogdet(jacobian.double()).logabsdet
    far = float((log_det.detach().double() - exact).abs().max())
    if not far <= _half_the_digits(z) * (subject.space.size + float(exact.abs().max())):
        raise Broken(f"log |det| is {log_det.tolist()}, that of the derivative {exact.tolist()}")
    return f"to {far:.1g} nats"


def scores_by_its_code(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    said = model.log_likelihood(batch.x, **batch.given(), rng=subject.rng("score"))
    if said.kind != "exact":
        raise Inapplicable(f"the likelihood is of kind {said.kind}")
    z, log_det = model.to_latent(batch.x, y=classes_of(subject, batch))
    normal = -0.5 * (z.square() + math.log(2 * math.pi)).flatten(1).sum(1)
    far = check_close(said.nats, normal + log_det, "log p(x) and log N(z; 0, I) + log |det|")
    return f"they agree to {far:.1g} of their size"


def inverted_alone(subject: Subject) -> str:
    model = subject.fresh()
    z, batch = codes(model, 8, Rng(3)), subject.batch(model, 8)
    whole: Values = model.from_latent(z, y=classes_of(subject, batch))
    for r in range(8):
        alone = model.from_latent(z[r : r + 1], y=classes_of(subject, batch.rows(slice(r, r + 1))))
        check_same(Batch(x=whole).rows(slice(r, r + 1)).x, alone, subject.space, "a code inverted in a batch and alone")
    return ""


def _slopes(total: Tensor, parts: list[Tensor]) -> Tensor:
    """The gradient of a sum over examples, flat, (b, size)."""
    found = torch.autograd.grad(total, parts, retain_graph=True, allow_unused=True)
    slopes = [torch.zeros_like(p) if g is None else g for p, g in zip(parts, found, strict=True)]
    return torch.cat([g.reshape(len(g), -1) for g in slopes], 1)


def _half_the_digits(like: Tensor) -> float:
    return math.sqrt(torch.finfo(like.dtype).eps)


def _law(name: str, says: str, needs: tuple[type[Any], ...], check: Any) -> Law:
    return Law(name=name, says=says, needs=needs, check=check)


LAWS = (
    _law("there and back", "A bijection leads back to where one was.", (Invertible,), there_and_back),
    _law(
        "log-determinant", "The log-determinant is that of the derivative.", (Invertible,), log_det_is_the_derivative_s
    ),
    _law(
        "inverted alone",
        "What a code stands for does not depend on the codes beside it.",
        (Invertible,),
        inverted_alone,
    ),
    _law(
        "scored by its code",
        "An exact likelihood is the normal density of the code times the derivative's determinant.",
        (Invertible, Likelihood),
        scores_by_its_code,
    ),
)
