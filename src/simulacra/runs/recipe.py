"""``recipe.json``: all that rebuilds a run, in one file that is read before anything else.

Format 1 holds what ``Recipe`` lists, and its own number.
Older formats keep loading: ``UPGRADES`` takes a recipe of each past format to the next one.
"""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulacra.core.checkpoint import write_json
from simulacra.core.space import Space
from simulacra.recipes.settings import from_json, to_json
from simulacra.recipes.vocabulary import SETTINGS
from simulacra.training.settings import Training

FORMAT = 1
NAME = "recipe.json"
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}  # past format -> one later


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a run is made of.

    family    a name in ``recipes.families.FAMILIES``, or "" for a stranger's model.
    config    the family's settings, or None.
    data      how the data is opened again and what it was: source, options, fingerprints, counts, licence, consent.
    files     name -> SHA-256 of every file that loading depends on.
    cost      what the training took: steps, examples, seconds, CPU-seconds, parameters.
    ended     "budget", "interrupted" or "stopped"; "" while it has not.
    verdicts  what the monitors said: name, level, text, step.
    lineage   the run it started from, by place and hashes, that run's own ancestors, and what was taken over from it.
    adapter   how its model was changed for being tuned (``nets.lora``); its weights then stand beside the parent's.
    privacy   what a private run has given away: epsilon, delta, clip, noise ...; empty for any other.
    parts     name -> the latent space of a run that this one stands on, in parts/NAME/: "codec" or nothing.
    """

    family: str
    config: Any
    space: Space
    data: Mapping[str, Any]
    training: Training
    versions: Mapping[str, str] = field(default_factory=lambda: versions())
    files: Mapping[str, str] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
    ended: str = ""
    verdicts: tuple[Mapping[str, Any], ...] = ()
    lineage: Mapping[str, Any] = field(default_factory=dict)
    adapter: Any = None
    privacy: Mapping[str, float] = field(default_factory=dict)
    parts: Mapping[str, Space] = field(default_factory=dict)

    @property
    def modelled(self) -> Space:
        """What the family models: the codec's codes where there is one, else the data."""
        return self.parts.get("codec", self.space)

    def write(self, folder: Path) -> None:
        """Put ``recipe.json`` into a run directory, atomically."""
        value = {
            "format": FORMAT,
            "family": self.family,
            "config": to_json(self.config),
            "space": self.space.to_json(),
            "data": {**self.data, "options": to_json(self.data.get("options", {}))},
            "training": to_json(self.training),
            "versions": dict(self.versions),
            "files": dict(self.files),
            "cost": dict(self.cost),
            "ended": self.ended,
            "verdicts": [dict(verdict) for verdict in self.verdicts],
            "lineage": dict(self.lineage),
            "adapter": to_json(self.adapter),
            **({"privacy": dict(self.privacy)} if self.privacy else {}),
            **({"parts": {name: space.to_json() for name, space in self.parts.items()}} if self.parts else {}),
        }
        write_json(folder / NAME, value)


def read(folder: Path) -> Recipe:
    """The recipe of a run directory.

    Raises ValueError for a folder that is no run, a damaged recipe, or one made by a newer version.
    """
    path = Path(folder) / NAME
    if not path.is_file():
        raise ValueError(f"{folder} is not a run: it has no {NAME}; expected a folder that `simulacra fit` wrote")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        number = int(value["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
    if number > FORMAT:
        made_by = value.get("versions", {}).get("simulacra", "a newer version")
        raise ValueError(
            f"{path} has format {number}, written by simulacra {made_by}; this version reads up to {FORMAT}:"
            " upgrade with `pip install -U simulacra`"
        )
    try:
        while number < FORMAT:
            value, number = UPGRADES[number](value), number + 1
        return Recipe(
            family=value["family"],
            config=from_json(value["config"], SETTINGS),
            space=Space.from_json(value["space"]),
            data={**value["data"], "options": from_json(value["data"].get("options", {}), SETTINGS)},
            training=from_json(value["training"], SETTINGS),
            versions=value["versions"],
            files=value["files"],
            cost=value["cost"],
            ended=value["ended"],
            verdicts=tuple(value["verdicts"]),
            # runs of before there were such
            lineage=value.get("lineage", {}),
            adapter=from_json(value.get("adapter"), SETTINGS),
            privacy=value.get("privacy", {}),
            parts={name: Space.from_json(space) for name, space in value.get("parts", {}).items()},
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _damaged(path, error) from error


def versions() -> dict[str, str]:
    """The versions a run was made with."""
    import numpy
    import torch

    from simulacra import __version__

    return {
        "simulacra": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }


def replace(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with some of its parts changed."""
    return dataclasses.replace(recipe, **changes)


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} is damaged ({type(error).__name__}: {' '.join(str(error).split())[:300]});"
        " restore it from a copy, or fit again into another folder"
    )
