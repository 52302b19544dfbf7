"""Frames of 88 keys: at each beat the set of keys that sound, written key by key so that every set has a probability.

As in the JSB chorales benchmark (Boulanger-Lewandowski et al. 2012). A frame is its keys from low to high and then a
token that ends it, which alone has a size: likelihoods are counted in frames. Every sequence of sets has one sequence
of tokens; what a model gives to sequences that are none (a key twice, or downwards) is lost to it, so its nats a frame
never flatter. What ends a tune is paid for too, once a tune.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simulacra.core.batch import Batch, Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Space
from simulacra.modalities.loaded import Loaded
from simulacra.modalities.music import rolls, tunes
from simulacra.modalities.music.tunes import GRID

KEYS, LOWEST = 88, 21  # keys of a piano, and the MIDI number of the lowest
FRAME = KEYS  # the token that ends a frame
MEASURE = "88-key frames"
COMMON, VELOCITY = 4 * GRID, 92  # steps of a bar, and how loud notes are where frames are written as a tune
PARTS = ("train", "valid", "test")

Tune = Sequence[Sequence[int]]  # frames of MIDI numbers
Change = Callable[[Batch, Rng], Batch]


@dataclass(frozen=True)
class Transposed:
    """Each tune of a batch as many semitones up or down as is drawn for it, up to ``most``, where all keys exist."""

    most: int = 6

    def __call__(self, batch: Batch, rng: Rng) -> Batch:
        """Tokens with their keys moved."""
        assert isinstance(batch.x, Tensor)
        assert batch.length is not None
        x, there = batch.x, torch.arange(batch.x.shape[1]) < batch.length[:, None]
        key = there & (x != FRAME)
        low = torch.where(key, x, KEYS).amin(1)
        high = torch.where(key, x, -1).amax(1)
        down, up = low.clamp(max=self.most), (KEYS - 1 - high).clamp(min=0, max=self.most)
        shift = (rng("shift").uniform((len(x),)) * (down + up + 1)).long() - down
        return Batch(x=torch.where(key, x + shift[:, None], x), y=batch.y, known=batch.known, length=batch.length)


def encoded(tune: Tune) -> np.ndarray:
    """Tokens int64 (t,) of a tune's frames; ValueError for a pitch that no piano has."""
    found: list[int] = []
    for frame in tune:
        keys = sorted({int(pitch) - LOWEST for pitch in frame})
        if keys and not (keys[0] >= 0 and keys[-1] < KEYS):
            raise ValueError(f"a piano's keys are MIDI numbers 21 .. 108; got {sorted(frame)}: leave that frame out")
        found += [*keys, FRAME]
    return np.array(found, np.int64)


def decoded(tokens: Sequence[int]) -> list[list[int]]:
    """The frames of some tokens, MIDI numbers from low to high; ValueError for tokens that are no frames."""
    found: list[list[int]] = []
    keys: list[int] = []
    for place, token in enumerate(tokens):
        if token == FRAME:
            found.append([key + LOWEST for key in keys])
            keys = []
        elif keys and token <= keys[-1]:
            raise ValueError(f"token {place}, key {token}, does not lie above the key before it in its frame")
        else:
            keys.append(token)
    if keys:
        raise ValueError(f"{len(tokens)} tokens end within a frame; expected whole ones")
    return found


@dataclass(frozen=True, kw_only=True)
class Upwards:
    """Which token may come next, so that what is drawn are frames (``mathematics.decoding.Legal``): a higher key of the
    frame while there is room to end it, the end of the frame, and after that the end of the tune.
    """

    room: int

    def __call__(self, seen: Tensor) -> Tensor:
        """Tokens so far int64 (n, t), -1 for none -> bool (n, 90), the tune's end last."""
        count = (seen >= 0).sum(1)
        at = (count - 1).clamp(min=0)[:, None]
        last = seen.gather(1, at)[:, 0] if seen.shape[1] else seen.new_full((len(seen),), -1)
        last = torch.where(count > 0, last, FRAME)
        begins = last == FRAME
        keys = torch.arange(KEYS, device=seen.device)
        higher = (begins[:, None] | (keys > last[:, None])) & (self.room - count > 1)[:, None]
        frame = torch.ones_like(begins)
        return torch.cat([higher, frame[:, None], (begins & (count > 0))[:, None]], dim=1)


def is_frames(path: Path) -> bool:
    """Whether a path is a file of frames: .json with parts called train and test."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    try:
        with path.open(encoding="utf-8") as file:
            head = file.read(1 << 12)
    except (OSError, UnicodeDecodeError):
        return False
    return any(f'"{part}"' in head for part in PARTS) and "[[" in head.replace(" ", "")


def read_frames(path: Path) -> dict[str, list[Tune]]:
    """Parts of a file -> tunes -> frames -> MIDI numbers; ValueError, in a line, for anything else."""
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: no JSON that can be read ({' '.join(str(error).split())})") from error
    if not isinstance(found, dict) or not {"train", "test"} <= set(found):
        raise ValueError(f"{path}: expected parts called train and test, each a list of tunes of frames")
    for part, several in found.items():
        for number, tune in enumerate(several):
            if not isinstance(tune, list) or not all(isinstance(frame, list) for frame in tune):
                raise ValueError(f"{path}: tune {number} of {part} is no list of frames, each a list of MIDI numbers")
    return found


@dataclass(frozen=True, kw_only=True)
class Writing:
    """A way of writing frames: a tune as an array whose first extent varies, in what space, and what moves it.

    back  the frames of one example's array.
    """

    write: Callable[[Tune], np.ndarray]
    back: Callable[[Tensor], list[list[int]]]
    space: Callable[[int], Space]
    moved: Callable[[int], Change]
    extent: str


def key_space(longest: int) -> Space:
    """Keys one after another, up to so many tokens."""
    names = (*(f"key {LOWEST + i}" for i in range(KEYS)), "frame")
    field = Categorical(k=KEYS + 1, shape=(longest,), varying=True, names=names, sizes=(0,) * KEYS + (1,))
    return Space(fields={"keys": field}, measure=MEASURE)


WRITINGS: Mapping[str, Writing] = {
    "keys": Writing(write=encoded, back=lambda x: decoded(x.tolist()), space=key_space, moved=Transposed,
                    extent="tokens"),
    "roll": Writing(write=rolls.rolled, back=rolls.unrolled, space=rolls.roll_space, moved=rolls.TransposedRolls,
                    extent="frames"),
}  # fmt: skip


def writing(space: Space) -> Writing:
    """How examples of a space of frames are written."""
    return WRITINGS[next(iter(space.fields))]


def frames(name: str, path: Path, *, transpose: int = 0, tokens: str = "keys", judge: str = "test") -> Loaded:
    """Frames ready to learn from: the part called train, judged by that called test; valid is left aside.

    transpose  semitones up and down that tunes are moved by, drawn afresh every time one is learnt from; 0: as written.
    tokens     "keys", a frame's keys one after another, or "roll", all 88 at once (``modalities.music.rolls``).
    judge      the part that is held out: to choose a setting, "valid".
    """
    if tokens not in WRITINGS:
        raise ValueError(f"{name}: frames are written as {' or '.join(WRITINGS)}; got tokens={tokens!r}")
    read, how = read_frames(path), WRITINGS[tokens]
    if judge not in read or judge == "train":
        raise ValueError(f"{path}: no part called {judge!r} to judge by; expected test, or valid where there is one")
    rows = {part: [how.write(tune) for tune in several] for part, several in read.items() if part in PARTS}
    longest = max(len(row) for part in {"train", "test", judge} for row in rows[part])
    space = how.space(longest)
    train = _stored(rows["train"], space, name, how.moved(transpose) if transpose else None)
    held = _stored(rows[judge], space, f"{name} ({judge})", None)
    counts = {part: sum(map(len, read[part])) for part in ("train", judge)}
    first = (
        f"{len(train) + len(held)} tunes in {sum(counts.values()):,} frames of 88 keys, up to {longest} {how.extent} a"
        f" tune; {len(held)} held out, the official {judge} split of {counts[judge]:,} frames"
    )
    options = {} if tokens == "keys" else {"tokens": tokens}
    unused = "valid" in read and judge == "test"
    aside = (f"the part valid, {len(read['valid'])} tunes, is left aside",) if unused else ()
    return Loaded(train=train, held_out=held, modality="frames", notes=(first, *aside), options=options)


def as_tune(frames: Tune, *, steps: int = GRID) -> tunes.Tune:
    """Frames as notes: a key that sounds in neighbouring frames is one note, for frames do not tell when it is struck.

    steps  of a frame: a quarter note unless said. No frame at all is a bar of silence.
    """
    notes: list[tunes.Note] = []
    sounding: dict[int, int] = {}
    for at, frame in enumerate([*frames, []]):
        for pitch in [p for p in sounding if p not in frame]:
            start = sounding.pop(pitch)
            notes.append(tunes.Note(start=start * steps, program=0, pitch=pitch, duration=(at - start) * steps,
                                    velocity=VELOCITY))  # fmt: skip
        for pitch in frame:
            sounding.setdefault(pitch, at)
    bars = max(1, -(-len(frames) * steps // COMMON))
    return tunes.Tune(notes=tuple(sorted(notes)), bars=(COMMON,) * bars)


def frames_of(tune: tunes.Tune, *, steps: int = GRID) -> list[list[int]]:
    """The MIDI numbers that sound as each frame begins, from low to high, up to the last frame in which any does.

    steps  of a frame: a quarter note unless said. What is shorter than a frame and begins within it is not there.
    """
    last = max((n.end for n in tune.notes), default=0)
    found: list[set[int]] = [set() for _ in range(-(-last // steps))]
    for note in tune.notes:
        for at in range(-(-note.start // steps), -(-note.end // steps)):
            found[at].add(note.pitch)
    while found and not found[-1]:
        found.pop()
    return [sorted(frame) for frame in found]


def tunes_of(batch: Batch) -> list[tunes.Tune]:
    """The tunes of a batch of frames, keys or rolls; ValueError for a row that is none."""
    assert isinstance(batch.x, Tensor)
    assert batch.length is not None
    back = WRITINGS["keys" if batch.x.ndim == 2 else "roll"].back
    return [as_tune(back(row[:m])) for row, m in zip(batch.x, batch.length.tolist(), strict=True)]


def _stored(rows: Sequence[np.ndarray], space: Space, name: str, change: Change | None) -> Stored:
    x = torch.zeros(len(rows), *space.only.shape, dtype=torch.int64)
    for i, row in enumerate(rows):
        x[i, : len(row)] = torch.from_numpy(row)
    return Stored(space=space, x=x, length=torch.tensor([len(row) for row in rows]), name=name, change=change)
