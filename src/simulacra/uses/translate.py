"""From a condition to examples of it, several for each: a picture from its sketch, the colours of a grey one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Values, each
from simulacra.core.capabilities import ConditionalSampler, Translator, require
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.evaluation.likelihood import resting
from simulacra.uses.checks import check_examples, device_of, space_of


@torch.no_grad()
def translate(
    model: object,
    y: Values,
    *,
    draws: int = 1,
    rng: Rng | int = 0,
    options: Mapping[str, Any] | None = None,
) -> Values:
    """``draws`` examples for each condition y (n, ...): (draws, n, *event), or field name -> that.

    options  what the model's own ``sample_given`` offers beside the protocol, such as steps and guidance.
    Raises ValueError for a model that takes no conditions, and conditions that are not of its space.
    """
    sampler, space = require(model, ConditionalSampler, "translate"), space_of(model, "translate")
    if draws < 1:
        raise ValueError(f"draws must be at least 1; got {draws}")
    assert isinstance(space.y, Space)
    n, device = check_examples(space.y, y), device_of(model)
    many = each(lambda t: t.to(device).repeat(draws, *[1] * (t.ndim - 1)), y)
    with resting(model):
        found = sampler.sample_given(many, rng=Rng.of(rng)("translate"), **(options or {})).x

    def apart(t: Tensor) -> Tensor:
        return t.reshape(draws, n, *t.shape[1:]).cpu()

    return each(apart, found)


@torch.no_grad()
def translate_to(model: object, x: Values, y: Tensor) -> Values:
    """Each example x (n, ...) as one of the class y, int64 (n,).

    Raises ValueError for a model that does not translate between classes, and examples that are not of its space.
    """
    translator, space = require(model, Translator, "translate"), space_of(model, "translate")
    check_examples(space, x)
    device = device_of(model)
    with resting(model):
        found = translator.translate(each(lambda t: t.to(device), x), y=y.to(device))
    return each(lambda t: t.cpu(), found)
