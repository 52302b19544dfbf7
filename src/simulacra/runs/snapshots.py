"""What a model draws as it learns, from the same noise every time."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from simulacra.core.batch import Data
from simulacra.core.capabilities import ConditionalSampler, Sampler
from simulacra.core.checkpoint import write
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes
from simulacra.modalities import grids
from simulacra.modalities.conditions import as_pictures, picture_given
from simulacra.modalities.images import to_uint8
from simulacra.modalities.pairs import sources_of
from simulacra.modalities.samples import is_pictures, show
from simulacra.modalities.text import texts_of, write_texts
from simulacra.modalities.tokens import Encoding
from simulacra.training.hooks import Moment

SHOWN = 36
TEXTS = 20
FRACTIONS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)  # denser at first, where most changes


class Snapshots:
    """A hook that keeps samples at fixed fractions of the budget: grids as samples/step-NNNNNNN.png, texts as .txt.

    seen      what is drawn from, made of the model that learns; the same model unless it learns codes.
    encoding  of text: what puts tokens together.
    """

    every = 1

    def __init__(
        self,
        folder: Path,
        data: Data,
        seen: Callable[[Any], Any] = lambda model: model,
        encoding: Encoding | None = None,
    ) -> None:
        self.folder, self.data, self.seen, self.encoding, self.taken = folder, data, seen, encoding, -1

    def __call__(self, moment: Moment) -> None:
        due = sum(moment.fraction >= f for f in FRACTIONS)
        if due <= self.taken or not isinstance(moment.model, Sampler | ConditionalSampler):
            return
        self.taken = due
        # every process draws, since a sharded model needs them all; the first one writes
        if self.encoding is not None:
            texts = written(self.seen(moment.averaged()), self.data, self.encoding, seed=moment.training.seed)
            if moment.main:
                write_texts(texts, self.folder / f"step-{moment.step:07d}.txt")
            return
        picture = draw(self.seen(moment.averaged()), self.data, seed=moment.training.seed)
        if picture and moment.main:
            self.folder.mkdir(parents=True, exist_ok=True)
            write(self.folder / f"step-{moment.step:07d}.png", grids.png(picture))

    def state(self) -> int:
        """How many were taken."""
        return self.taken

    def restore(self, value: int) -> None:
        """Go on counting there."""
        self.taken = value


def written(model: Any, data: Data, encoding: Encoding, *, seed: int = 0, n: int = TEXTS) -> list[str]:
    """Texts that a model draws; of one that is given sentences the first of the data, and what it makes of each."""
    rng = Rng(seed)("look")
    with torch.no_grad():
        if isinstance(model, Sampler):
            return texts_of(model.sample(n, rng=rng), encoding)
        batch = data.batch(torch.arange(min(n, len(data))), Rng(seed)("look at data"))
        assert batch.y is not None
        found = texts_of(model.sample_given(batch.y, rng=rng), encoding)
    return [f"{source} -> {text}" for source, text in zip(sources_of(batch, encoding), found, strict=True)]


def draw(model: Any, data: Data, *, seed: int = 0, n: int = SHOWN) -> Image.Image | None:
    """Samples as a person looks at them, classes in turn, or given the first conditions of the data; None for examples
    that are neither pictures nor points. A picture that is given stands to the left of what is drawn for it.
    """
    space = data.space
    points = space.layout == "vector" and len(space.fields) == 1 and space.only.shape == (2,)
    if not (is_pictures(space) or points):
        return None
    n = n if not points else 2_000
    if not isinstance(model, Sampler):
        return _drawn_given(model, data, seed=seed, n=n)
    y = torch.arange(n) % len(space.y) if isinstance(space.y, Classes) else None
    with torch.no_grad():
        batch = model.sample(n, y=y, rng=Rng(seed)("look"))
    real = None
    if points:
        x = data.batch(torch.arange(min(n, len(data))), Rng(seed)("look at data")).x
        real = x if isinstance(x, torch.Tensor) else None
    return show(batch, space, real=real)


def _drawn_given(model: ConditionalSampler, data: Data, *, seed: int, n: int) -> Image.Image:
    batch = data.batch(torch.arange(n) % len(data), Rng(seed)("look at data"))
    assert batch.y is not None
    with torch.no_grad():
        drawn = model.sample_given(batch.y, rng=Rng(seed)("look"))
    if picture_given(data.space) is None or not is_pictures(data.space):
        return show(drawn, data.space)
    assert isinstance(batch.y, torch.Tensor)
    assert isinstance(drawn.x, torch.Tensor)
    return grids.pairs(as_pictures(batch.y, data.space), to_uint8(drawn.x, data.space))


def progress(folder: Path) -> list[tuple[int, bytes]]:
    """The snapshots of a run in order: (step, PNG)."""
    return [(int(path.stem.split("-")[1]), path.read_bytes()) for path in sorted(folder.glob("step-*.png"))]


def animate(frames: Sequence[tuple[int, bytes]], path: Path) -> bytes | None:
    """The snapshots as a GIF, written and returned; None for fewer than two, or sizes that differ between sittings."""
    images = [Image.open(io.BytesIO(data)) for _, data in frames]
    if len(images) < 2 or len({image.size for image in images}) > 1:
        return None
    grids.gif(images, path)
    return path.read_bytes()
