"""Music from what a person says, ready to learn from: a MIDI file, a folder of them, a known name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simulacra.core.batch import Batch, Stored
from simulacra.core.space import Categorical, Space
from simulacra.modalities import recognise
from simulacra.modalities.loaded import Loaded
from simulacra.modalities.music.events import Events
from simulacra.modalities.music.frames import is_frames
from simulacra.modalities.music.midi import SUFFIXES, Read, read_midi
from simulacra.modalities.music.tunes import Tune, pieces
from simulacra.modalities.names import KNOWN
from simulacra.modalities.reading import named
from simulacra.modalities.split import enough
from simulacra.modalities.text import split_texts

BLOCK = 512  # events of a piece that is learnt from, at most, unless somebody says
LEAST_BLOCK = 8  # a bar with one note is six events


def is_music(path: Path) -> bool:
    """Whether a path is one of music: a MIDI file, or a folder most files of which are."""
    if not path.is_dir():
        return path.suffix.lower() in SUFFIXES
    kinds = Counter(p.suffix.lower() for p in path.iterdir() if p.is_file())
    return sum(kinds[s] for s in SUFFIXES) * 2 > sum(kinds.values()) > 0


def music_path(name: str, modality: str | None) -> Path | None:
    """Where music lies that a name means, known or by its path; None for anything else."""
    known = KNOWN.get(name)
    if known is not None:
        return recognise.find(name, known) if known.modality == "music" and modality in (None, "music") else None
    try:
        found = recognise.find(name, None)
    except ValueError:
        if modality == "music":
            raise
        return None
    if modality == "music" and found is None:
        raise ValueError(f"{name}: music is read from files; expected the path of a .mid or of a folder of them")
    return found if found is not None and (modality == "music" or (modality is None and is_music(found))) else None


def frames_path(name: str, modality: str | None) -> Path | None:
    """The file of frames of keys that a name means, known or by its path; None for anything else."""
    known = KNOWN.get(name)
    if known is not None:
        found = recognise.find(name, known) if known.modality == "frames" and modality in (None, "frames") else None
        path = None if found is None else found / known.files[0]
        if path is not None and not path.is_file():
            raise ValueError(f"{name}: {path.name} is not in {found}; {known.by_hand}")
        return path
    path = Path(name).expanduser()
    if modality == "frames" and not path.is_file():
        raise ValueError(f"{name}: frames are read from a file; expected the path of a .json")
    return path if modality == "frames" or (modality is None and is_frames(path)) else None


def music(name: str, path: Path, choices: Mapping[str, Any], held_out: float | None, skip: float) -> Loaded:
    """Tunes of a file, a folder or a known name, split tune by tune, cut into pieces of whole bars, and described.

    choices  block: the most events of a piece.
    """
    label = name if name in KNOWN else path.name
    block = choices.get("block") or BLOCK
    if block < LEAST_BLOCK:
        raise ValueError(f"a piece has room for a bar with a note, {LEAST_BLOCK} events; got block={block}")
    read, said = _read_all(path, skip)
    tunes = {_key(r.tune): r.tune for r in read}
    if len(tunes) < 2:
        raise ValueError(
            f"{label}: one tune cannot be split into a part to learn and one to judge; give a folder of them"
        )
    share = enough(len(tunes)) if held_out is None else held_out
    parts = [[tunes[key] for key in part] for part in split_texts(list(tunes), share, label)]
    events = Events.fitted(parts[0])
    rows = [[_encoded(t, events, block, said) for t in part] for part in parts]
    flat = [[row for several in part for row in several] for part in rows]
    if not all(flat):
        raise ValueError(f"{label}: no bar of at most {block} events on one side of the split; give a larger block")
    said = _summed(said)
    space = Space(
        fields={"events": Categorical(k=len(events.tokens), shape=(block,), varying=True, names=events.names)},
        measure="events of music",
    )
    train, held = (_stored(p, space, n) for p, n in zip(flat, (label, f"{label} (held out)"), strict=True))
    first = (
        f"{len(tunes):,} tunes in {len(train) + len(held):,} pieces of up to {block} of {len(events.tokens)} events;"
        f" {len(held):,} pieces of {len(parts[1]):,} tunes held out by content hash"
    )
    return Loaded(train=train, held_out=held, modality="music", notes=(first, *said), options={"held_out": share},
                  music=events)  # fmt: skip


def tunes_of(batch: Batch, events: Events) -> list[Tune]:
    """The tunes of a batch of events; ValueError for a row that is none."""
    assert isinstance(batch.x, Tensor)
    assert batch.length is not None
    return [events.decode(row[:m]) for row, m in zip(batch.x.tolist(), batch.length.tolist(), strict=True)]


def read_tunes(path: Path) -> list[Tune]:
    """The tunes of a MIDI file or of a folder of them, in the order of their names."""
    return [r.tune for r in _read_all(path, 0.05)[0]]


def _read_all(path: Path, skip: float) -> tuple[list[Read], Counter[str]]:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"{path}: no music among its files; expected {', '.join(SUFFIXES)}")
    found, faults = list[Read](), list[str]()
    for file in files:
        try:
            found.append(read_midi(file))
        except ValueError as error:
            if path.is_file():
                raise
            faults.append(f"{file.relative_to(path).as_posix()} ({str(error).partition(': ')[2]})")
    if len(faults) > skip * len(files):
        raise ValueError(
            f"{path}: {len(faults)} of {len(files)} files cannot be read, the first {faults[0]}; at most {skip:.0%}"
            " are skipped: mend or remove them, or allow more with skip="
        )
    said = Counter[str]()
    if faults:
        said[f"files skipped that cannot be read: {named(faults)}"] += len(faults)
    for r in found:
        said["notes moved to the grid of twelve steps a quarter"] += r.moved
        said["notes cut that went on too long, or into the same pitch"] += r.cut
        said["notes of no length that now last a step"] += r.stretched
        said["notes dropped that began where their pitch did already"] += r.dropped
    return found, said


def _encoded(tune: Tune, events: Events, block: int, said: Counter[str]) -> list[np.ndarray]:
    """A tune's pieces as events; those with events that none to learn from has are dropped and counted."""
    found: list[np.ndarray] = []
    parts = pieces(tune, events.costs(tune), block)
    said[f"notes dropped in bars of more than {block} events"] += len(tune.notes) - sum(len(p.notes) for p in parts)
    for part in parts:
        if unknown := events.unknown(part):
            said[f"held-out notes dropped with events that none to learn from has, as {unknown[0]}"] += len(part.notes)
        else:
            found.append(events.encode(part))
    return found


def _summed(said: Counter[str]) -> list[str]:
    return [f"{n:,} {what}" for what, n in said.items() if n]


def _key(tune: Tune) -> str:
    """A text that tells a tune from any other."""
    notes = ";".join(f"{n.start},{n.program},{n.pitch},{n.duration},{n.velocity}" for n in tune.notes)
    return f"{tune.bars}|{notes}"


def _stored(rows: Sequence[np.ndarray], space: Space, name: str) -> Stored:
    x = torch.zeros(len(rows), *space.only.shape, dtype=torch.int64)
    for i, row in enumerate(rows):
        x[i, : len(row)] = torch.from_numpy(row)
    return Stored(space=space, x=x, length=torch.tensor([len(row) for row in rows]), name=name)
