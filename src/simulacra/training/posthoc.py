"""Averages of weights stored as a run goes on, and one of any width made of them afterwards.

``FOLDER/averages/step-NNNNNNNNN.safetensors`` holds the power-function averages after that step, "WIDTH/NAME" -> tensor
(``mathematics.power_average``; Karras et al. 2024, section 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simulacra.core.checkpoint import load_tensors, save_tensors, told
from simulacra.core.turns import Player
from simulacra.mathematics.power_average import combination, exponent, keep
from simulacra.training.engine import local
from simulacra.training.settings import PostHoc
from simulacra.training.state import named, whole

FOLDER = "averages"


class PowerAverages:
    """The averages of a run in training, one a width, of its averaged players' weights."""

    def __init__(self, model: Any, players: Mapping[str, Player], settings: PostHoc) -> None:
        """Of a model whose parameters are final: distributed, where they are to be."""
        self.settings = settings
        moving = {id(p) for player in players.values() if player.averaged for p in player.module.parameters()}
        weights = {name: t for name, t in named(model).items() if id(t) in moving}
        self.fast = [local(t) for t in weights.values()]
        self.kept = {w: {name: t.detach().clone() for name, t in weights.items()} for w in settings.widths}
        self.exponents = {w: exponent(w) for w in settings.widths}

    @property
    def slow(self) -> list[Tensor]:
        """Every tensor that moves."""
        return [local(t) for kept in self.kept.values() for t in kept.values()]

    def update(self, step: int) -> None:
        """Take in the weights after so many steps, counted from 1."""
        for width, kept in self.kept.items():
            torch._foreach_lerp_([local(t) for t in kept.values()], self.fast, 1 - keep(self.exponents[width], step))

    def tensors(self) -> dict[str, Tensor]:
        """ "WIDTH/NAME" -> tensor: what a later sitting needs."""
        return {f"{w:g}/{name}": t for w, kept in self.kept.items() for name, t in kept.items()}

    def due(self, before: float, now: float) -> bool:
        """Whether a snapshot is due where so much of the budget was done before the last step, and so much is now."""
        return math.floor(now * self.settings.snapshots) > math.floor(before * self.settings.snapshots)

    def store(self, folder: Path, step: int, *, main: bool) -> None:
        """Write a snapshot; every process calls it, the main one writes."""
        tensors = {name: whole(t) for name, t in self.tensors().items()}
        if main:
            with told(f"make {folder / FOLDER}"):
                (folder / FOLDER).mkdir(exist_ok=True)
            save_tensors(folder / FOLDER / f"step-{step:09d}.safetensors", tensors)


def snapshots(folder: Path) -> dict[int, Path]:
    """The stored averages of a run directory: step -> file, in order."""
    return {int(path.stem[5:]): path for path in sorted((folder / FOLDER).glob("step-*.safetensors"))}


def forget(folder: Path, *, after: int) -> None:
    """Remove what was stored after a step that a run goes on from."""
    for step, path in snapshots(folder).items():
        if step > after:
            path.unlink()


def synthesise(folder: Path, width: float, *, digests: Mapping[str, str]) -> tuple[dict[str, Tensor], float]:
    """The average of a width at the last snapshot: name -> tensor, and what is missed of its profile, as a share.

    digests  "averages/FILE" -> SHA-256 of those files that are known.

    Raises ValueError where a run has no snapshots, for a width no average has, and for damaged files.
    """
    wanted = exponent(width)
    files = snapshots(folder)
    if not files:
        raise ValueError(f"{folder} has stored no averages; fit it with posthoc=PostHoc() (--snapshots 32)")
    widths = sorted({float(name.split("/")[0]) for name in _read(files[max(files)], digests)})
    places = [(step, w) for step in files for w in widths]
    share, missed = combination([step for step, _ in places], [exponent(w) for _, w in places], max(files), wanted)
    shares = dict(zip(places, share.tolist(), strict=True))
    made: dict[str, Tensor] = {}
    kinds: dict[str, torch.dtype] = {}
    for step, path in files.items():
        for name, t in _read(path, digests).items():
            w, _, weight = name.partition("/")
            kinds[weight] = t.dtype
            part = t.double() * shares[step, float(w)]
            made[weight] = made[weight] + part if weight in made else part
    return {name: t.to(kinds[name]) for name, t in made.items()}, missed


def _read(path: Path, digests: Mapping[str, str]) -> dict[str, Tensor]:
    return load_tensors(path, digests.get(f"{FOLDER}/{path.name}"))
