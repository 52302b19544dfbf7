"""The main job in minutes: which families learn the built-in digits, and how, so that a person sees digits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from simulacra.core.space import Space
from simulacra.recipes.families import FAMILIES
from simulacra.training.settings import Training

DATA = "digits"
# two cores: all of them, judged, within four minutes
STEPS = {"vae": 1_200, "gan": 1_500, "dcgan": 1_200, "pixelcnn": 450, "glow": 600, "diffusion": 600}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One family's part: its name, its settings and its training."""

    family: str
    config: Any
    training: Training


def entries(space: Space, examples: int) -> list[Entry]:
    """What ``simulacra quickstart`` fits, in order."""
    found = []
    for family, steps in STEPS.items():
        config, training = FAMILIES[family].recipe(space, examples)
        found.append(Entry(family=family, config=config, training=replace(training, steps=steps, save_seconds=None)))
    return found
