"""From a space to a network's outputs, and from raw outputs to a distribution over its examples.

A likelihood is a function (field) -> ``Kind``: how many raw numbers an element needs and which distribution they
make. ``natural`` chooses by what the field is; any function of this shape may be passed instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Values
from simulacra.core.indices import choices
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Continuous, Field, Space
from simulacra.mathematics.distributions import (
    Bernoulli,
    Categories,
    DiscretisedLogistics,
    Elementwise,
    Gaussian,
    Grey,
    Levelled,
    soft_floor,
)
from simulacra.nets.embeddings import pick, within

NARROWEST = -7.0  # log of the smallest scale, in units of the field's own: float32 tells no finer values apart


@runtime_checkable
class Kind(Protocol):
    """What a field's elements are distributed as."""

    @property
    def outputs(self) -> int:
        """Raw numbers an element needs."""
        ...

    @property
    def density(self) -> bool:
        """Whether it scores by a density; False: by a probability mass."""
        ...

    def __call__(self, raw: Tensor) -> Elementwise:
        """raw (..., outputs) -> the distribution of elements (...)."""
        ...


Likelihood = Callable[[Field], Kind]


@dataclass(frozen=True)
class CategoricalKind:
    """k categories by their logits."""

    field: Categorical
    density = False

    @property
    def outputs(self) -> int:
        return self.field.k

    def __call__(self, raw: Tensor) -> Elementwise:
        return Categories(raw)


@dataclass(frozen=True)
class BernoulliKind:
    """Two levels by one logit."""

    field: Continuous
    density = False
    outputs = 1

    def __call__(self, raw: Tensor) -> Elementwise:
        # squeezed, not indexed: the gradient of an index is written into zeros first
        return Bernoulli(raw.squeeze(-1), self.field.low, self.field.high)


@dataclass(frozen=True)
class GreyKind:
    """Shares between two ends by one logit."""

    field: Continuous
    density = False
    outputs = 1

    def __call__(self, raw: Tensor) -> Elementwise:
        return Grey(Bernoulli(raw.squeeze(-1), self.field.low, self.field.high))


@dataclass(frozen=True)
class GaussianKind:
    """A normal density; raw 0 is the field's centre and scale."""

    field: Continuous
    density = True
    outputs = 2

    def __call__(self, raw: Tensor) -> Elementwise:
        f = self.field
        return Gaussian(f.centre + f.scale * raw[..., 0], math.log(f.scale) + soft_floor(raw[..., 1], NARROWEST))


@dataclass(frozen=True)
class LogisticKind:
    """A mixture of logistics discretised to the field's levels; raw 0 is the field's centre and scale."""

    field: Continuous
    components: int
    density = False

    @property
    def outputs(self) -> int:
        return 2 if self.components == 1 else 3 * self.components

    def __call__(self, raw: Tensor) -> Elementwise:
        f = self.field
        if self.components == 1:
            centre, log_scale = raw[..., :1], raw[..., 1:]
            logits = torch.zeros_like(centre)
        else:
            logits, centre, log_scale = raw.unflatten(-1, (3, self.components)).unbind(-2)
            # components that start in the same place stay there: spread them over the range
            spread = torch.linspace(-1, 1, self.components, dtype=raw.dtype, device=raw.device)
            centre = centre + spread
        log_scale = math.log(f.scale) + soft_floor(log_scale, NARROWEST)
        return DiscretisedLogistics(logits, f.centre + f.scale * centre, log_scale, f.low, f.high, f.levels or 2)


def natural(field: Field) -> Kind:
    """Categories by logits, two levels by a Bernoulli, more by a discretised logistic, no levels by a Gaussian."""
    return Mixture(components=1)(field)


def gaussian(field: Field) -> Kind:
    """A Gaussian density for every continuous field, whatever its levels; categories by logits."""
    return GaussianKind(field) if isinstance(field, Continuous) else CategoricalKind(field)


def bernoulli(field: Field) -> Kind:
    """A Bernoulli for every continuous field: values between its ends count as that share of the higher one.

    A proper likelihood for two levels only; for more it is the widespread binary cross-entropy of grey pictures.
    """
    if not isinstance(field, Continuous):
        return CategoricalKind(field)
    if math.isinf(field.high - field.low):
        raise ValueError(f"a Bernoulli needs a field with two ends; got the range [{field.low}, {field.high}]")
    return BernoulliKind(field) if field.levels == 2 else GreyKind(field)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Like ``natural``, with a mixture of several discretised logistics for fields of more than two levels."""

    components: int = 5

    def __call__(self, field: Field) -> Kind:
        if isinstance(field, Categorical):
            return CategoricalKind(field)
        if field.levels is None:
            return GaussianKind(field)
        return BernoulliKind(field) if field.levels == 2 else LogisticKind(field, self.components)


class Head:
    """What a network has to put out for a space, and what that output means. It has no parameters.

    layout "grid"      raw (..., outputs, h, w)
    layout "sequence"  raw (..., t, outputs)
    layout "vector"    raw (..., outputs)

    shape    of one example's raw output, in that layout.
    lengths  number of logits that the distribution over lengths 0 .. longest takes; 0 where nothing varies.
    measure  the decoded data that the log-likelihood belongs to.
    """

    def __init__(self, space: Space, likelihood: Likelihood = natural) -> None:
        self.space, self.layout = space, space.layout
        self.kinds = {name: likelihood(f) for name, f in space.fields.items()}
        per = {name: math.prod(f.shape) * self.kinds[name].outputs for name, f in space.fields.items()}
        if self.layout == "grid":
            _, height, width = space.only.shape
            self.outputs = sum(per.values()) // (height * width)
            self.shape: tuple[int, ...] = (self.outputs, height, width)
        elif self.layout == "sequence":
            self.outputs = sum(per.values()) // space.only.shape[0]
            self.shape = (space.only.shape[0], self.outputs)
        else:
            self.outputs = sum(per.values())
            self.shape = (self.outputs,)
        self._per = per
        longest = {f.shape[0] for f in space.fields.values() if f.varying}
        self.lengths = max(longest) + 1 if longest else 0
        unnatural = any(
            kind.density and isinstance(f, Continuous) and f.levels is not None
            for kind, f in zip(self.kinds.values(), space.fields.values(), strict=True)
        )
        self.measure = f"{space.measure}, as a density" if unnatural else space.measure

    def __call__(self, raw: Tensor, lengths: Tensor | None = None) -> Joint:
        """The distribution that raw outputs (..., *shape) and length logits (..., lengths) stand for."""
        raw = raw.float() if raw.dtype in (torch.bfloat16, torch.float16) else raw
        parts: dict[str, Elementwise] = {}
        if self.layout == "vector":
            lead = raw.shape[:-1]
            for (name, f), piece in zip(
                self.space.fields.items(), raw.split(list(self._per.values()), dim=-1), strict=True
            ):
                kind = self.kinds[name]
                parts[name] = kind(piece.reshape(*lead, *f.shape, kind.outputs))
        else:
            name, f = next(iter(self.space.fields.items()))
            kind = self.kinds[name]
            if self.layout == "grid":
                channels, height, width = f.shape
                raw = raw.reshape(*raw.shape[:-3], channels, kind.outputs, height, width).movedim(-3, -1)
            parts[name] = kind(raw.reshape(*raw.shape[: raw.ndim - len(self.shape)], *f.shape, kind.outputs)
                               if self.layout == "sequence" else raw)  # fmt: skip
        logits = None if lengths is None or not self.lengths else Categories(lengths.float())
        return Joint(self.space, parts, logits)


@dataclass(frozen=True)
class Joint:
    """A distribution over examples whose elements are independent of one another.

    parts    field name -> distribution of its elements.
    lengths  distribution over lengths; None where nothing varies, or where lengths are somebody else's affair.
    """

    space: Space
    parts: Mapping[str, Elementwise]
    lengths: Categories | None = None

    def log_prob(self, x: Values, known: Values | None = None, length: Tensor | None = None) -> Tensor:
        """log p of each example, nats (..., b): the sum over its observed elements within its length.

        x, known, length as in ``Batch``; further leading dimensions of the parameters (several draws of a
        latent) are kept. Unobserved entries may hold anything, NaN included.
        """
        total: Tensor | None = None
        for name, f in self.space.fields.items():
            values, mask = pick(x, name), pick(known, name)
            if f.varying and length is not None:
                inside = within(f, len(values), length, values.device)
                inside = inside.reshape(*inside.shape, *[1] * (len(f.shape) - 1)).expand(values.shape)
                mask = inside if mask is None else mask & inside
            if mask is not None:
                values = torch.where(mask, values, torch.zeros((), dtype=values.dtype, device=values.device))
            each = self.parts[name].log_prob(values)
            if mask is not None:
                each = torch.where(mask, each, torch.zeros((), dtype=each.dtype, device=each.device))
            summed = each.sum(dim=tuple(range(-len(f.shape), 0))) if f.shape else each
            total = summed if total is None else total + summed
        assert total is not None
        if self.lengths is not None:
            full = torch.full((total.shape[-1],), self.lengths.logits.shape[-1] - 1, device=total.device)
            total = total + self.lengths.log_prob(full if length is None else length.to(total.device))
        return total

    def sample(self, rng: Rng, temperature: float = 1.0) -> Batch:
        """One draw of each example; below temperature 1 nearer to the most typical one, at 0 exactly that."""
        drawn = {name: part.sample(rng(name), temperature) for name, part in self.parts.items()}
        return self._batch(drawn, None if self.lengths is None else self.lengths.sample(rng("length"), temperature))

    def mode(self) -> Batch:
        """The most probable example of each."""
        return self.sample(Rng(0), temperature=0.0)

    def typical(self) -> Batch:
        """The mean of continuous fields, the mode of categorical ones and of the length; differentiable."""
        means = {name: part.mean() for name, part in self.parts.items()}
        return self._batch(means, None if self.lengths is None else self.lengths.mode())

    def _batch(self, x: dict[str, Tensor], length: Tensor | None) -> Batch:
        for name, f in self.space.fields.items():
            if f.varying and length is not None:
                inside = within(f, len(x[name]), length, x[name].device)
                x[name] = x[name] * inside.reshape(*inside.shape, *[1] * (len(f.shape) - 1))
        return Batch(x=x if len(x) > 1 else next(iter(x.values())), length=length)


def choice_log_probs(joint: Joint) -> Tensor:
    """Nats (b, size, k) of every value that each element can take, as ``core.indices`` numbers them; normalised.

    Fields of fewer values than the largest hold -inf beyond theirs. A density is taken at the levels and normalised
    over them. ValueError for a field without levels.
    """
    found: list[Tensor] = []
    for name, f in joint.space.fields.items():
        part, k = joint.parts[name], choices(f)
        if isinstance(part, Levelled):
            each = part.level_log_probs()
        else:
            each = torch.stack([part.log_prob(_choice(f, i, part)) for i in range(k)], dim=-1)
        found.append(each.reshape(len(each), math.prod(f.shape), k).log_softmax(-1))
    most = max(t.shape[-1] for t in found)
    return torch.cat([torch.nn.functional.pad(t, (0, most - t.shape[-1]), value=-math.inf) for t in found], dim=1)


def _choice(f: Field, number: int, part: Elementwise) -> Tensor:
    """The number-th value of a field in every element of a distribution."""
    like = part.mode()
    value = f.value(float(number)) if isinstance(f, Continuous) else number
    return torch.full_like(like, value)


def elements(
    space: Space, batch: int, known: Values | None, length: Tensor | None, x: Values | None = None
) -> float | Tensor:
    """Observed elements of each example: a number where all have the same, else float64 (b,).

    x  the examples: needed where categories have sizes (``Categorical.sizes``), which are then what is counted.
    """
    sized = any(isinstance(f, Categorical) and f.sizes is not None for f in space.fields.values())
    if not sized and known is None and (length is None or not any(f.varying for f in space.fields.values())):
        return float(space.size)
    count = torch.zeros(batch, dtype=torch.float64)
    for name, f in space.fields.items():
        seen = pick(known, name)
        device = next((t.device for t in (seen, length, pick(x, name)) if t is not None), torch.device("cpu"))
        inside = within(f, batch, length, device).reshape(batch, -1, *[1] * max(0, len(f.shape) - 1))
        inside = inside.reshape(batch) if not f.shape else inside.expand(batch, *f.shape)
        inside = inside if seen is None else inside & seen
        worth = inside.to(torch.float64)
        if isinstance(f, Categorical) and f.sizes is not None:
            assert x is not None, "categories of several sizes are counted by their values"
            worth = worth * torch.tensor(f.sizes, dtype=torch.float64, device=device)[pick(x, name)]
        count += worth.reshape(batch, -1).sum(1).cpu()
    return count
