"""Tunes as a person sees them: piano rolls, pitch upwards and time to the right, one tune under another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from simulacra.core.checkpoint import told
from simulacra.modalities.grids import png
from simulacra.modalities.music.tunes import GRID, Tune

STEP, ROW = 2, 3  # pixels of a step, and of a pitch
SHOWN, LONGEST = 12, 16 * 4 * GRID  # tunes of one picture, and steps of each
PAPER, WHITE, BLACK, BAR_LINE = (255, 255, 255), (250, 250, 250), (238, 238, 240), (200, 200, 205)
COLOURS = ((38, 84, 148), (176, 72, 40), (44, 122, 76), (120, 70, 140), (150, 120, 30), (60, 60, 60))
SHARPS = frozenset((1, 3, 6, 8, 10))


def rolls(tunes: Sequence[Tune]) -> Image.Image:
    """The first twelve tunes, the first sixteen bars of four quarters of each; instruments by colour, loud is dark."""
    shown = [tune for tune in tunes[:SHOWN] if tune.notes]
    if not shown:
        raise ValueError("a piano roll shows notes; there are none")
    low = min(n.pitch for t in shown for n in t.notes) - 1
    high = max(n.pitch for t in shown for n in t.notes) + 1
    width = max(min(sum(t.bars), LONGEST) for t in shown)
    instruments = sorted({n.program for t in shown for n in t.notes})
    pictures = [_roll(tune, low, high, width, instruments) for tune in shown]
    gap = np.full((8, width * STEP, 3), 255, np.uint8)
    return Image.fromarray(np.concatenate([part for p in pictures for part in (p, gap)][:-1]))


def write_roll(tunes: Sequence[Tune], path: Path) -> str:
    """Write piano rolls as FILE.png; returns a line that says what was written."""
    picture = rolls(tunes)
    with told(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(picture))
    return f"{path}: piano rolls of {min(len(tunes), SHOWN)} of {len(tunes):,} tunes, {picture.width}x{picture.height}"


def _roll(tune: Tune, low: int, high: int, width: int, instruments: Sequence[int]) -> np.ndarray:
    """One roll, uint8 (h, w, 3), pitch high upwards."""
    out = np.full((high - low + 1, width, 3), 255, np.uint8)
    for pitch in range(low, high + 1):
        out[high - pitch] = BLACK if pitch % 12 in SHARPS else WHITE
    begins = 0
    lines = []
    for length in tune.bars:
        if begins < width:
            lines.append(begins)
        begins += length
    out[:, min(begins, width) :] = PAPER
    big = out.repeat(ROW, 0).repeat(STEP, 1)
    for line in lines:
        big[:, line * STEP] = BAR_LINE
    for n in tune.notes:
        colour = np.array(COLOURS[instruments.index(n.program) % len(COLOURS)])
        shade = 255 - (255 - colour) * (0.35 + 0.65 * n.velocity / 127)
        top, first, last = (high - n.pitch) * ROW, n.start * STEP, min(n.end, width) * STEP
        # a gap before the next note, so that repeated ones are told apart
        big[top : top + ROW, first : max(first + 1, last - 1)] = shade.astype(np.uint8)
    return big
