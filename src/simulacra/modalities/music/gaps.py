"""What of a roll of keys is kept while the rest is drawn anew: a melody, all voices but one, all bars but some.

A voice is a place among the keys that sound in a frame, counted from the highest: the first is the melody. A mask says
what is kept: bool (t, 88), keys from the highest down as in a roll.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

FRAMES = 4  # of a bar: quarter notes
Kept = Callable[[Tensor], Tensor]


def melody(roll: Tensor) -> Tensor:
    """The highest key of each frame, and that nothing sounds above it: what is under it is to be drawn.

    Where nothing sounds, nothing will.
    """
    return (_above(roll) == 0) | (roll.sum(1, keepdim=True) == 0)


def all_but_voice(number: int) -> Kept:
    """Every voice but one, 1 the highest: it is to be found between its neighbours, where it was there before."""
    if number < 1:
        raise ValueError(f"voices are counted from 1, the highest; got {number}")

    def kept(roll: Tensor) -> Tensor:
        above, there = _above(roll), roll.sum(1, keepdim=True) >= number
        between = (above == number - 1) | ((above == number) & (roll == 0))
        return ~(between & there)

    return kept


def all_but_bars(first: int, last: int) -> Kept:
    """Every bar of four quarters but those from one to another, counted from 1."""
    if not 1 <= first <= last:
        raise ValueError(f"bars are counted from 1, the first before the last; got {first}-{last}")

    def kept(roll: Tensor) -> Tensor:
        bar = torch.arange(len(roll)) // FRAMES + 1
        if last > int(bar[-1]):
            raise ValueError(f"bars {first}-{last} are to be filled in, and the tune has {int(bar[-1])}")
        return ((bar < first) | (bar > last))[:, None].expand(roll.shape)

    return kept


def gap(text: str) -> Kept:
    """What is kept where "harmony", "voice:N" or "bars:A-B" is to be filled in; ValueError for anything else."""
    kind, _, which = text.partition(":")
    numbers = which.split("-")
    if text == "harmony":
        return melody
    if kind == "voice" and which.isdecimal():
        return all_but_voice(int(which))
    if kind == "bars" and len(numbers) in (1, 2) and all(n.isdecimal() for n in numbers):
        return all_but_bars(int(numbers[0]), int(numbers[-1]))
    raise ValueError(f"nothing is filled in by {text!r}; expected harmony, voice:N or bars:A-B")


def _above(roll: Tensor) -> Tensor:
    """How many keys sound above each, (t, 88)."""
    return roll.cumsum(1) - roll
