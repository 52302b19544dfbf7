"""The latent noise that a model would draw an example from: by its inverse, its encoder, its flow, or by search.

What is asked is what the model can do, never what it is: an ``Invertible`` inverts, an ``Encoder`` encodes (of
diffusion and flow matching that is the probability flow run backwards, DDIM inversion: Song et al. 2021), a model of a
codec's codes does one after the other, any other ``Denoiser`` has its own flow followed here, and of a ``Decoder``
alone, a generator, the code is searched whose picture is nearest (Creswell & Bharath 2018, "Inverting the generator of
a generative adversarial network").
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from simulacra.core.batch import Values
from simulacra.core.capabilities import (
    Codec,
    Decoder,
    Denoiser,
    Invertible,
    Modelled,
    capabilities,
    require,
)
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Space
from simulacra.evaluation.likelihood import resting
from simulacra.mathematics.solvers import heun, karras
from simulacra.nets.continuum import Continuum

LOW, HIGH = 0.002, 80.0  # in units of the fields' scale: Karras et al. 2022, table 1
LEVELS = 32
STARTS, STEPS, RATE = 4, 300, 0.1  # of the search: first codes, and Adam's steps from each
PART = 128  # examples at a time


@runtime_checkable
class Composed(Protocol):
    """A model of a codec's codes: what it draws is decoded."""

    codec: Codec
    inner: Modelled


@runtime_checkable
class Encoder(Protocol):
    """Encodes: what a mark asks of a ``Codec``, and all that a flow followed backwards has."""

    latent: Space

    def encode(self, x: Values, *, y: Values | None = None) -> Tensor: ...


def recovered(model: object, x: Values) -> Iterator[Tensor]:
    """The latent noise (n, size) of each example, float32: once for each class it may be of, or once in all.

    Raises ValueError for a model that none can be had of.
    """
    space = require(model, Modelled, "a mark in the latent").space
    n = len(x if isinstance(x, Tensor) else next(iter(x.values())))
    classes = range(len(space.y)) if isinstance(space.y, Classes) else (None,)
    for label in classes:
        y = None if label is None else torch.full((n,), label)
        with resting(model):
            parts = [_codes(model, _rows(x, at), None if y is None else y[at]) for at in torch.arange(n).split(PART)]
        yield torch.cat(parts).float().cpu()


def _rows(x: Values, at: Tensor) -> Values:
    return x[at] if isinstance(x, Tensor) else {name: part[at] for name, part in x.items()}


def _codes(model: object, x: Values, y: Tensor | None) -> Tensor:
    """(b, size)."""
    if isinstance(model, Composed):
        heard = None if getattr(model.codec, "space").y is None else y  # noqa: B009
        with torch.no_grad():
            codes = model.codec.encode(x, y=heard)
        return _codes(model.inner, codes, y)
    if isinstance(model, Invertible):
        with torch.no_grad():
            return model.to_latent(x, y=y)[0].flatten(1)
    if isinstance(model, Encoder) and not isinstance(model.latent.only, Categorical):
        with torch.no_grad():
            return model.encode(x, y=y).flatten(1)
    if isinstance(model, Denoiser):
        return _flowed(model, x, y)
    if isinstance(model, Decoder) and not isinstance(model.latent.only, Categorical):
        assert isinstance(x, Tensor)
        return _searched(model, x, y)
    can = ", ".join(c.__name__ for c in capabilities(model)) or "nothing we know of"
    raise ValueError(
        "a mark in the latent needs a model whose noise can be told from an example: an Invertible, an Encoder to real"
        f" numbers, a Denoiser or a Decoder; {type(model).__name__} is {can}"
    )


@torch.no_grad()
def _flowed(model: Denoiser, x: Values, y: Values | None) -> Tensor:
    """Along the probability flow from the lowest level to the highest, where noise is nearly all there is."""
    assert isinstance(model, Modelled)
    continuum = Continuum.of(model.space, "a mark in the latent")

    def denoise(u: Tensor, s: Tensor) -> Tensor:
        return continuum.inward(model.denoise(continuum.outward(u), s, y=y))

    levels = karras(LEVELS, LOW, HIGH)[:-1].flip(0)
    return (heun(denoise, continuum.inward(x), levels) / math.hypot(HIGH, 1.0)).flatten(1)


def _searched(model: Decoder, x: Tensor, y: Tensor | None) -> Tensor:
    """The code whose example is nearest in mean square, the best of several searches by Adam from random codes."""
    b, shape = len(x), model.latent.only.shape
    first = Rng(0, ("search",)).normal((STARTS, b * math.prod(shape))).reshape(STARTS * b, *shape).to(x)
    goal, labels = x.repeat(STARTS, *[1] * (x.ndim - 1)), None if y is None else y.repeat(STARTS)
    z = first.requires_grad_()
    optimiser = torch.optim.Adam([z], lr=RATE)
    found = torch.full((STARTS * b,), math.inf)
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1 - step / STEPS)
        drawn = model.decode(z, y=labels)
        assert isinstance(drawn, Tensor)
        found = (drawn - goal).square().flatten(1).mean(1)
        (z.grad,) = torch.autograd.grad(found.sum(), z)
        optimiser.step()
    best = found.detach().reshape(STARTS, b).argmin(0)
    return z.detach().reshape(STARTS, b, -1)[best, torch.arange(b)]
