"""A model of a codec's codes as a model of what the codec encodes: latent diffusion, and every other family's likes.

Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models": one model turns examples into codes
and back, another learns the distribution of the codes. Neither is asked what it is: ``through`` gives the pair every
method that its two parts can do together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from simulacra.core.batch import Batch, Values
from simulacra.core.capabilities import (
    Codec,
    ConditionalSampler,
    Labelled,
    LatentVariable,
    Likelihood,
    Modelled,
    Sampler,
    require,
)
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space


@runtime_checkable
class Emitting(Protocol):
    """Knows p(x | code)."""

    def log_prob_given(self, x: Values, z: Tensor, *, y: Values | None = None) -> Tensor: ...


class Through(nn.Module):
    """A codec, and a model of its codes; made by ``through``."""

    def __init__(self, codec: Any, inner: Any) -> None:
        super().__init__()
        self.codec, self.inner = codec, inner
        self.space: Space = replace(codec.space, y=inner.space.y)
        self.latent: Space = codec.latent

    def encode(self, x: Values, *, y: Values | None = None) -> Tensor:
        """The codec's code of each example, (b, *latent)."""
        return self.codec.encode(x, y=self._heard(y))

    def decode(self, z: Tensor, *, y: Values | None = None) -> Values:
        """The most typical example of each of the codec's codes."""
        return self.codec.decode(z, y=self._heard(y))

    def posterior(self, x: Values, *, y: Values | None = None) -> Distribution:
        """The codec's distribution over codes of each example."""
        return self.codec.posterior(x, y=self._heard(y))

    def _heard(self, y: Values | None) -> Values | None:
        """What the codec is told of the condition: nothing where it learnt without."""
        return None if self.codec.space.y is None else y

    def _seen(self, codes: Batch, y: Values | None, rng: Rng) -> Batch:
        """What codes are decoded to: the most typical examples, on their levels; drawn where lengths vary."""
        assert isinstance(codes.x, Tensor)
        if any(f.varying for f in self.space.fields.values()):
            return replace(self.codec.sample_from(codes.x, y=self._heard(y), rng=rng("decoded")), y=y)
        return Batch(x=settled(self.decode(codes.x, y=y), self.space), y=y)


def through(codec: object, inner: object) -> Through:
    """A model of examples from a codec of them and a model of its codes, which decides about labels.

    It draws where ``inner`` draws, scores by a bound where ``inner`` scores and the codec knows p(x | code), and codes
    as the codec does. Options of ``inner``'s methods stay options. Raises ValueError for a codec that is none, or whose
    codes are not what ``inner`` models.
    """
    coded, modelled = require(codec, Codec, "a model of codes"), require(inner, Modelled, "a model of codes")
    known = require(codec, Modelled, "a model of codes")
    theirs = next(iter(modelled.space.fields.values()))
    if len(modelled.space.fields) != 1 or theirs.shape != coded.latent.only.shape:
        raise ValueError(
            f"a model of codes must model the codec's, of shape {coded.latent.only.shape}; got one of"
            f" {[f.shape for f in modelled.space.fields.values()]}"
        )
    if any(f.varying for f in known.space.fields.values()) and not isinstance(codec, LatentVariable):
        raise ValueError(
            f"examples vary in length, and {type(codec).__name__} does not draw lengths; take a codec that does (vae)"
        )
    kind: Any = type(inner)
    methods: dict[str, Any] = {}
    if isinstance(inner, Sampler):
        methods["sample"] = _like(kind.sample, _sample)
    if isinstance(inner, ConditionalSampler):
        methods["sample_given"] = _like(kind.sample_given, _sample_given)
    if isinstance(inner, Labelled):
        methods["label_log_prob"] = _like(kind.label_log_prob, lambda self: self.inner.label_log_prob())
    if isinstance(inner, Likelihood) and isinstance(codec, Likelihood) and isinstance(codec, Emitting):
        methods["log_likelihood"] = _like(kind.log_likelihood, _log_likelihood)
    return cast(Through, type("Through", (Through,), {**methods, "__module__": __name__})(codec, inner))


def _like(model: Callable[..., Any], method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that shows the signature, and so the options, of the one it goes through."""
    return torch.no_grad()(functools.wraps(model)(method))


def _sample(self: Through, n: int, *, y: Tensor | None = None, rng: Rng | int, **options: Any) -> Batch:
    rng = Rng.of(rng)
    codes = self.inner.sample(n, y=y, rng=rng, **options)
    return self._seen(codes, codes.y, rng)


def _sample_given(self: Through, y: Values, *, rng: Rng | int, **options: Any) -> Batch:
    rng = Rng.of(rng)
    return self._seen(self.inner.sample_given(y, rng=rng, **options), y, rng)


def _log_likelihood(
    self: Through,
    x: Values,
    *,
    y: Values | None = None,
    known: Values | None = None,
    length: Tensor | None = None,
    rng: Rng | int | None = None,
    **options: Any,
) -> LogLikelihood:
    # log p(x | y) >= E_q [log p(x | z, y) + log p(z | y) - log q(z | x, y)]: Vahdat et al. 2021, "Score-based
    # generative modeling in latent space", section 3.1
    rng, given = Rng.of(rng), {k: v for k, v in {"known": known, "length": length}.items() if v is not None}
    kinds: list[LogLikelihood] = []

    def score(labels: Values | None) -> Tensor:
        heard = self._heard(labels)
        q = self.codec.posterior(x, y=heard, **given)
        z, log_q = drawn(q, self.latent, rng("code"))
        kinds.append(self.inner.log_likelihood(z, y=labels, rng=rng("inner"), **options))
        log_px = self.codec.log_prob_given(x, z, y=heard, **given)
        return log_px + kinds[-1].nats.to(log_px) - log_q

    said = self.codec.log_likelihood(x, y=self._heard(y), **given, rng=rng("measure"))
    if isinstance(self.space.y, Classes) and y is None:
        one = torch.ones_like(said.nats, dtype=torch.int64)
        nats = torch.stack([score(c * one) for c in range(len(self.space.y))])
        nats = (nats + self.inner.label_log_prob().to(nats)[:, None]).logsumexp(0)
    else:
        nats = score(y)
    of_codes = kinds[0]
    return replace(
        said,
        nats=nats,
        # an exact log p of the codes makes no more than a bound: the codec's posterior is not the true one
        kind="estimate" if of_codes.kind == "estimate" else "bound",
        method=f"one code an example; of the codes: {of_codes.method or of_codes.kind}",
    )


def drawn(posterior: Distribution, latent: Space, rng: Rng) -> tuple[Tensor, Tensor]:
    """A code (b, *latent) drawn for each example, and its log q, nats (b,), where codes are real densities.

    Raises ValueError for a posterior that is neither independent normals nor independent choices.
    """
    base: Any = posterior.base_dist if isinstance(posterior, Independent) else posterior
    if isinstance(base, Normal):
        noise = rng.normal(base.mean.shape, dtype=base.mean.dtype, device=base.mean.device)
        z = base.mean + base.stddev * noise
    elif isinstance(latent.only, Categorical) and hasattr(base, "logits"):
        z = rng.categorical(base.logits)
    else:
        raise ValueError(
            f"codes are drawn from independent normals or choices; this codec's posterior is {type(posterior).__name__}"
        )
    log_q = posterior.log_prob(z)
    return z, log_q.reshape(len(z), -1).sum(1)


def settled(x: Values, space: Space) -> Values:
    """Typical values as data has them: on their levels, inside their range."""

    def one(name: str, t: Tensor) -> Tensor:
        f = space.fields[name]
        if not isinstance(f, Continuous):
            return t
        return f.value(f.index(t)) if f.levels is not None else t.clamp(f.low, f.high)

    if isinstance(x, Tensor):
        return one(next(iter(space.fields)), x)
    return {name: one(name, t) for name, t in x.items()}
