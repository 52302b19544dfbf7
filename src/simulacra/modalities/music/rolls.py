"""Frames of 88 keys as piano rolls: at each step, key by key from the highest down, whether it sounds.

The other way of writing what ``modalities.music.frames`` writes key after key. A likelihood is counted in frames here
too, for the 88 keys of one are worth one; what ends a tune is paid for once a tune. Keys come from the highest down, so
that a model which decides them one after another is given a melody before what lies under it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Space

KEYS, HIGHEST = 88, 108  # keys of a piano, and the MIDI number of the highest
MEASURE = "88-key frames"


def roll_space(longest: int) -> Space:
    """Rolls of up to so many frames."""
    share = 1 / KEYS
    field = Categorical(k=2, shape=(longest, KEYS), varying=True, names=("silent", "sounds"), sizes=(share, share))
    return Space(fields={"roll": field}, measure=MEASURE)


def rolled(tune: Sequence[Sequence[int]]) -> np.ndarray:
    """A roll int64 (t, 88) of frames of MIDI numbers; ValueError for a pitch that no piano has."""
    roll = np.zeros((len(tune), KEYS), np.int64)
    for t, frame in enumerate(tune):
        for pitch in map(int, frame):
            if not 0 <= HIGHEST - pitch < KEYS:
                raise ValueError(
                    f"a piano's keys are MIDI numbers 21 .. 108; got {sorted(frame)}: leave that frame out"
                )
            roll[t, HIGHEST - pitch] = 1
    return roll


def unrolled(roll: Tensor) -> list[list[int]]:
    """The frames of a roll (t, 88), MIDI numbers from low to high."""
    return [[HIGHEST - i for i in reversed(range(KEYS)) if row[i]] for row in roll.tolist()]


@dataclass(frozen=True)
class TransposedRolls:
    """Each roll of a batch as many semitones up or down as is drawn for it, up to ``most``, where all keys exist."""

    most: int = 6

    def __call__(self, batch: Batch, rng: Rng) -> Batch:
        """Rolls with their keys moved."""
        assert isinstance(batch.x, Tensor)
        sounds = batch.x.amax(1) > 0
        place = torch.arange(KEYS)
        top = torch.where(sounds, place, KEYS).amin(1).clamp(max=self.most)
        room = (KEYS - 1 - torch.where(sounds, place, -1).amax(1)).clamp(max=self.most)
        down = ((rng("shift").uniform((len(top),)) * (top + room + 1)).long() - top)[:, None]
        moved = (place - down).clamp(0, KEYS - 1)
        # what would come from beyond the keyboard is silent: moved no further than the edge, there is nothing there
        there = (place - down >= 0) & (place - down < KEYS)
        x = batch.x.gather(2, moved[:, None].expand_as(batch.x)) * there[:, None]
        return Batch(x=x, y=batch.y, known=batch.known, length=batch.length)
