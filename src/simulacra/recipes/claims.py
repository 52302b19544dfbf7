"""What a published figure is, beside the setting that is to reach it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulacra.core.batch import Data
from simulacra.core.figure import Figure
from simulacra.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published figure, and a setting that is to reach it.

    what       what was measured, in words.
    published  source -> its figure, in words with the unit.
    target     the value this setting is to reach, and in which direction its figure is better ("lower", "higher").
    family, data, options, config, training  what to fit, on what: ``open_data(data, **options)``.
    score      (model, held-out data) -> the figure.
    cost       what it takes, in words.
    """

    what: str
    published: Mapping[str, str]
    target: tuple[float, str]
    family: str
    data: str
    config: Any
    training: Training
    score: Callable[[Any, Data], Figure]
    options: Mapping[str, Any] = field(default_factory=dict)
    cost: str = ""
