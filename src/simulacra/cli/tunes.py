"""Tunes that a verb goes on with, or fills in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simulacra.cli.inputs import HELD_OUT
from simulacra.cli.words import warn
from simulacra.core.batch import Batch
from simulacra.core.capabilities import Completer, Prompted, require
from simulacra.core.prompts import Prompt
from simulacra.core.randomness import Rng
from simulacra.mathematics.decoding import chosen as decoding
from simulacra.modalities.music import frames as of_frames
from simulacra.modalities.music.events import BAR, DURATION, Events
from simulacra.modalities.music.frames import FRAME, as_tune, encoded, frames_of, tunes_of
from simulacra.modalities.music.gaps import gap
from simulacra.modalities.music.midi import read_midi
from simulacra.modalities.music.rolls import rolled, unrolled
from simulacra.modalities.music.tunes import Tune, cut, joined
from simulacra.runs import Run
from simulacra.uses.impute import Imputed, impute

KEYS = ("temperature", "top_k", "top_p", "min_p", "repetition")


def continued(
    run: Run, path: Path, n: int, tokens: int, *, own: Mapping[str, Any], y: Tensor | None, seed: int
) -> list[Tune]:
    """A tune and what follows it, n times over: at most so many events, keys or frames, and at least one.

    Raises ValueError for a tune with what the run knows nothing of, and one that leaves no room.
    """
    tune = read_midi(path).tune
    if run.music is not None:
        return _events(run, run.music, tune, n, tokens, own, y, seed)
    if of_frames.writing(run.recipe.space).extent == "tokens":
        return _keys(run, frames_of(tune), n, tokens, own, y, seed)
    return _frames(run, frames_of(tune), n, tokens, own, y, seed)


def _events(
    run: Run, events: Events, tune: Tune, n: int, tokens: int, own: Mapping[str, Any], y: Tensor | None, seed: int
) -> list[Tune]:
    room, costs, bars = run.recipe.space.only.shape[0], events.costs(tune), 0
    while bars < len(costs) and sum(costs[-bars - 1 :]) <= room // 2:
        bars += 1
    if not bars:
        raise ValueError(f"the last bar alone has {costs[-1]} events, and this model goes on from {room // 2} at most")
    if bars < len(costs):
        warn(f"only the last {bars} of {len(costs)} bars are heeded: this model knows pieces of {room} events")
    before, heeded = cut(tune, bars)
    found = _drawn(run, events.encode(heeded), n, tokens, own, y, seed)
    # what stands after the last whole note, where there were no more tokens, is no tune
    kinds = np.array([kind for kind, _ in events.tokens])
    whole = [row[: int(np.flatnonzero(np.isin(kinds[row], (BAR, DURATION)))[-1]) + 1] for row in found]
    after = [events.decode(row.tolist()) for row in whole]
    return after if before is None else [joined(before, a) for a in after]


def _keys(
    run: Run, frames: list[list[int]], n: int, tokens: int, own: Mapping[str, Any], y: Tensor | None, seed: int
) -> list[Tune]:
    row, room = encoded(frames), run.recipe.space.only.shape[0]
    if len(row) + 1 >= room:
        raise ValueError(
            f"the tune has {len(row)} keys and frames, and this model knows {room} at most: give less of it"
        )
    found = _drawn(run, row, n, tokens, own, y, seed)
    return [as_tune(of_frames.decoded(r[: int(np.flatnonzero(r == FRAME)[-1]) + 1].tolist())) for r in found]


def _drawn(
    run: Run, row: np.ndarray, n: int, tokens: int, own: Mapping[str, Any], y: Tensor | None, seed: int
) -> list[np.ndarray]:
    """Tokens and those that follow, under the run's grammar; a tune does not end where it is to go on."""
    model, legal = (
        require(run.model, Prompted, "a prompt"),
        run.grammar(min(run.recipe.space.only.shape[0], len(row) + tokens)),
    )
    assert legal is not None

    def goes_on(seen: Tensor) -> Tensor:
        may = legal(seen)
        first = (seen >= 0).sum(1) == len(row)
        may[:, -1] &= ~(first & may[:, :-1].any(1))
        return may

    prompt = Prompt(tokens=torch.from_numpy(row)[None].expand(n, -1))
    changes = decoding(**{k: v for k, v in own.items() if k in KEYS})
    found = model.continue_from(prompt, tokens, y=y, rng=Rng(seed)("sample"), changes=changes, legal=goes_on)  # type: ignore[call-arg]
    return [
        np.concatenate([row, part[:m].numpy()]) for part, m in zip(found.tokens, found.length.tolist(), strict=True)
    ]


def _frames(
    run: Run, frames: list[list[int]], n: int, tokens: int, own: Mapping[str, Any], y: Tensor | None, seed: int
) -> list[Tune]:
    model, longest = require(run.model, Completer, "a prompt"), run.recipe.space.only.shape[0]
    if len(frames) >= longest:
        raise ValueError(f"the tune has {len(frames)} frames, and this model knows {longest} at most: give less of it")
    if own.get("temperature", 1.0) != 1.0:
        raise ValueError("frames go on at temperature 1; leave --temperature out")
    x, known = _given(frames, longest)
    known[len(frames) :] = False
    many = [t[None].expand(n, -1, -1) for t in (x, known)]
    done = model.complete(*many, y=y, rng=Rng(seed)("sample"))
    assert done.length is not None
    length = done.length.clamp(max=len(frames) + tokens)
    return tunes_of(replace(done, length=length))


def _given(frames: Sequence[Sequence[int]], longest: int) -> tuple[Tensor, Tensor]:
    """Frames as a roll (longest, 88), and that all of it is known."""
    roll = torch.from_numpy(rolled(frames))
    x = torch.zeros(longest, roll.shape[1], dtype=torch.int64)
    x[: len(roll)] = roll
    return x, torch.ones_like(x, dtype=torch.bool)


def filled(
    run: Run, source: str, *, fill: str, draws: int, y: Tensor | None, seed: int
) -> tuple[Tune, Imputed, list[Tune]]:
    """A tune, what was done, and the tune with what ``fill`` names drawn anew (``modalities.music.gaps``), draws of it.

    source  a MIDI file, or "held-out", the first held-out tune, or "held-out:3".
    """
    require(run.model, Completer, "impute of a tune")
    kept, longest = gap(fill), run.recipe.space.only.shape[0]
    frames = _source(run, source)
    if not 0 < len(frames) <= longest:
        raise ValueError(f"this model knows tunes of 1 to {longest} frames, quarter notes; got {len(frames)}")
    x, known = _given(frames, longest)
    known[: len(frames)] = kept(x[: len(frames)])
    if bool(known.all()):
        raise ValueError(f"{fill}: nothing of the tune is left to be drawn; expected a voice or bars that it has")
    done = impute(run.model, x[None], known[None], draws=draws, y=y, length=torch.tensor([len(frames)]), rng=seed)
    assert isinstance(done.draws, Tensor)
    length = torch.full((draws,), len(frames))
    return as_tune(frames), done, tunes_of(Batch(x=done.draws[:, 0], length=length))


def _source(run: Run, source: str) -> list[list[int]]:
    name, _, number = source.partition(":")
    if name != HELD_OUT:
        return frames_of(read_midi(Path(source)).tune)
    held = run.data().held_out
    if not (number or "1").isdecimal() or not 1 <= int(number or 1) <= len(held):
        raise ValueError(f"{source}: expected held-out, or held-out:1 to held-out:{len(held)}")
    batch = held.batch(torch.tensor([int(number or 1) - 1]), Rng(0))
    assert isinstance(batch.x, Tensor)
    assert batch.length is not None
    return unrolled(batch.x[0, : int(batch.length[0])])
