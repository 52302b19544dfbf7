"""The README's picture, from a quickstart: python docs/make_pictures.py runs/quickstart (after ``make demo``)."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import Image

import simulacra
from simulacra.core.randomness import Rng
from simulacra.modalities import grids
from simulacra.modalities.images import to_uint8
from simulacra.recipes.quickstart import STEPS

HERE = Path(__file__).parent
CLASSES, EACH = 10, 6
GAP = 32


def main(folder: Path) -> None:
    """Held-out digits, then what each family draws: one column a class, the first six of each, nothing chosen."""
    families = list(STEPS)
    y = torch.arange(CLASSES).repeat(EACH)
    runs = [simulacra.load(folder / family) for family in families]
    held_out = runs[0].data().held_out
    every = held_out.batch(torch.arange(len(held_out)), Rng(0))
    assert isinstance(every.x, torch.Tensor)
    assert isinstance(every.y, torch.Tensor)
    order = [int((every.y == c).nonzero()[i]) for i in range(EACH) for c in range(CLASSES)]
    space = runs[0].recipe.space
    shown = [every.x[order], *(run.sample(len(y), y=y, seed=0).x for run in runs)]
    images = [grids.grid(to_uint8(x, space), columns=CLASSES, gap=14) for x in shown if isinstance(x, torch.Tensor)]
    out = HERE / "pictures" / "quickstart.png"
    out.parent.mkdir(exist_ok=True)
    per_row = (len(images) + 1) // 2
    upper, lower = (grids.beside(images[i : i + per_row]) for i in (0, per_row))
    picture = Image.new(upper.mode, (upper.width, upper.height + GAP + lower.height), grids.PAPER)
    picture.paste(upper, (0, 0))
    picture.paste(lower, ((upper.width - lower.width) // 2, upper.height + GAP))
    picture.resize((picture.width // 2, picture.height // 2), 0).save(out, optimize=True)
    print(f"wrote {out}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
