"""Pictures as a raster of cells: blocks of pixels that an autoregressive model decides one after another.

A cell of one pixel holds its channels; one of 2x2 pixels holds four times as many elements. Inside a cell elements
come pixel by pixel in raster order, within a pixel channel by channel: red before green before blue.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from simulacra.core.indices import choices
from simulacra.core.space import Continuous, Space
from simulacra.nets.embeddings import ONE_HOT


class Cells(nn.Module):
    """How a picture of a space is cut into cells.

    size      rows and columns of cells, (h, w).
    elements  of a cell, m; each takes k values.
    order     int64 (elements of a picture,): the place of each in the flattened x, in the order they are decided.
    inputs    numbers that stand for a cell in a network's input.
    centre, scale, low, high  of a field with levels, in standard units: (value - centre) / scale.

    Raises ValueError for a space that is no picture of finitely many values, or that the block does not divide.
    """

    numbers: Tensor
    codes: Tensor

    def __init__(self, space: Space, block: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        if space.layout != "grid" or len(space.fields) != 1:
            shapes = {name: f.shape for name, f in space.fields.items()}
            raise ValueError(f"cells are of a picture (channels, height, width); got fields of shapes {shapes}")
        if space.missing:
            raise ValueError(f"pictures are learned whole; got {list(space.missing)} that may be missing")
        self.field, self.block, self.k = space.only, block, choices(space.only)
        channels, height, width = self.field.shape
        if min(block) < 1 or height % block[0] or width % block[1]:
            raise ValueError(f"a block must divide the picture of {height}x{width}; got {block[0]}x{block[1]}")
        self.size = height // block[0], width // block[1]
        self.elements = channels * block[0] * block[1]
        places = torch.arange(space.size).reshape(1, channels, height, width)
        self.order = self.cut(places)[0].flatten(1).T.flatten()
        self.register_buffer("numbers", _numbers(self.field, self.k), persistent=False)
        self.register_buffer("codes", _codes(self.k), persistent=False)
        self.inputs = self.elements * self.numbers.shape[1]

    @property
    def ordered(self) -> Continuous:
        """The field, where its values are levels; ValueError where they are categories without order."""
        if not isinstance(self.field, Continuous):
            raise ValueError("this output needs levels that have an order; got categories: take a softmax, Levels()")
        return self.field

    def cut(self, x: Tensor) -> Tensor:
        """A picture (b, c, height, width) as cells (b, m, h, w)."""
        (b, c), (rows, wide), (down, along) = x.shape[:2], self.size, self.block
        if self.block == (1, 1):
            return x
        return x.reshape(b, c, rows, down, wide, along).permute(0, 3, 5, 1, 2, 4).reshape(b, -1, rows, wide)

    def index(self, x: Tensor) -> Int[Tensor, "b m h w"]:
        """Values of the space (b, c, height, width), which are taken to lie on their levels, as indices."""
        return self.cut((self.field.index(x) if isinstance(self.field, Continuous) else x).long())

    def network_input(self, index: Int[Tensor, "b m h w"]) -> Float[Tensor, "b e h w"]:
        """What a network sees of cells: standardised values, categories one-hot."""
        if isinstance(self.field, Continuous):
            return self._standard(index)
        return self.numbers[index].movedim(-1, 2).flatten(1, 2)

    def cell_input(self, index: Int[Tensor, "b m"]) -> Float[Tensor, "b e"]:
        """The same of one cell each."""
        return self._standard(index) if isinstance(self.field, Continuous) else self.numbers[index].flatten(1)

    def _standard(self, index: Tensor) -> Tensor:
        # values are a line in the index: cheaper than a table
        first, last = self.numbers[0, 0], self.numbers[-1, 0]
        return index.to(first.dtype) * ((last - first) / (self.k - 1)) + first


def _numbers(f: object, k: int) -> Tensor:
    """What stands for each of k values, (k, e), near zero mean and unit variance."""
    if isinstance(f, Continuous):
        return ((f.value(torch.arange(k, dtype=torch.float64)) - f.centre) / f.scale).to(torch.get_default_dtype())[
            :, None
        ]
    return torch.eye(k)


def _codes(k: int) -> Tensor:
    """What later elements of a cell are told of each of k values, (k, e): one-hot, or waves where there are many."""
    if k <= ONE_HOT:
        return torch.eye(k)
    place = torch.arange(k) / (k - 1)
    waves = [math.pi * 2**octave * place for octave in range(int(math.log2(k)))]
    return torch.stack([2 * place - 1, *[wave for w in waves for wave in (w.cos(), w.sin())]], dim=1)
