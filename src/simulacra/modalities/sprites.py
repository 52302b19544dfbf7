"""Drawn sprites with known factors, in the manner of dSprites (Matthey et al. 2017): one white shape on black.

The factor grid is that of dSprites: 3 shapes (square, ellipse, heart) x 6 scales x 40 orientations x 32 x 32
positions = 737,280 pictures, numbered with x running fastest. Ours are drawn from formulas when they are asked for,
so they are like its pictures without being the same ones, and come in any size.
"""

from __future__ import annotations

import hashlib
import math

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from simulacra.core.batch import Batch, Factor
from simulacra.core.randomness import Rng
from simulacra.modalities.images import picture_field, space

SHAPES = ("square", "ellipse", "heart")
FACTORS = {"shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32}
COUNT = math.prod(FACTORS.values())
CHUNK = 1024  # pictures drawn at a time: 64 x 64 floats each, a few of them alive


class Sprites:
    """The sprites: ``core.batch.Data`` whose example number i is always the same picture.

    side     height and width of a picture, 16 or more.
    numbers  int64 (n,), which of the 737,280 are the examples, in their order; None: all of them.
    """

    def __init__(self, *, side: int = 64, numbers: Tensor | None = None) -> None:
        if side < 16:
            raise ValueError(f"sprites need a side of at least 16 to be told apart; got {side}")
        self.side, self.name = side, "sprites"
        self.space = space(1, side, side, levels=2)
        self.numbers = numbers
        which = b"" if numbers is None else numbers.numpy().tobytes()
        self.fingerprint = hashlib.sha256(f"sprites {side} {FACTORS}".encode() + which).hexdigest()

    def __len__(self) -> int:
        return COUNT if self.numbers is None else len(self.numbers)

    def batch(self, index: Tensor, rng: Rng) -> Batch:
        """The examples with these numbers, int64 (b,); nothing is random."""
        white = self.draw(index.cpu() if self.numbers is None else self.numbers[index.cpu()]).to(
            index.device, torch.get_default_dtype()
        )
        return Batch(x=picture_field(self.space).value(white))

    @property
    def named_factors(self) -> tuple[Factor, ...]:
        """Shape, scale, orientation, x and y; all but the shape are ordered."""
        return tuple(Factor(name=name, values=k, ordered=name != "shape") for name, k in FACTORS.items())

    def factors(self, index: Int[Tensor, " b"]) -> Int[Tensor, "b 5"]:
        """Which shape, scale, orientation, x and y the examples with these numbers have; each counted from 0."""
        return factors_of(index if self.numbers is None else self.numbers[index])

    def draw(self, index: Int[Tensor, " b"]) -> UInt8[Tensor, "b 1 s s"]:
        """The pictures with these numbers, 1 where the shape is."""
        parts = [self._draw(factors_of(part.cpu())) for part in index.split(CHUNK)]
        return torch.cat(parts) if parts else torch.zeros(0, 1, self.side, self.side, dtype=torch.uint8)

    def _draw(self, factors: Tensor) -> Tensor:
        shape, scale, orientation, across, down = factors.unbind(1)
        # centres of the pixels in [-1, 1], and of the sprites far enough inside that none is cut
        ticks = (torch.arange(self.side) + 0.5) * (2 / self.side) - 1
        centre = lambda i: (i / (FACTORS["x"] - 1) * 2 - 1)[:, None, None] * 0.5  # noqa: E731
        radius = (0.5 + 0.1 * scale)[:, None, None] * 0.45  # scales 0.5, 0.6 ... 1
        u, v = (ticks[None, None, :] - centre(across)) / radius, (ticks[None, :, None] - centre(down)) / radius
        angle = (orientation * (2 * math.pi / FACTORS["orientation"]))[:, None, None]
        c, s = angle.cos(), angle.sin()
        u, v = c * u + s * v, c * v - s * u
        inside = torch.stack([_square(u, v), _ellipse(u, v), _heart(u, v)], 1)
        return inside[torch.arange(len(shape)), shape].to(torch.uint8)[:, None]


def factors_of(number: Int[Tensor, " b"]) -> Int[Tensor, "b 5"]:
    """Shape, scale, orientation, x and y of sprites by their numbers in the whole grid; each counted from 0."""
    if len(number) and not (int(number.min()) >= 0 and int(number.max()) < COUNT):
        raise ValueError(f"a sprite's number lies in 0 .. {COUNT - 1}; got {int(number.min())} to {int(number.max())}")
    out, rest = [], number
    for extent in reversed(FACTORS.values()):
        out.append(rest % extent)
        rest = rest // extent
    return torch.stack(out[::-1], 1)


def _square(u: Float[Tensor, "b s s"], v: Float[Tensor, "b s s"]) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) <= 0.7


def _ellipse(u: Float[Tensor, "b s s"], v: Float[Tensor, "b s s"]) -> Tensor:
    return (u / 0.55) ** 2 + v**2 <= 1


def _heart(u: Float[Tensor, "b s s"], v: Float[Tensor, "b s s"]) -> Tensor:
    # the sextic (x^2 + y^2 - 1)^3 = x^2 y^3, tip down: it lies in the circle of radius 1.25 around (0, 0.25)
    x, y = 1.25 * u, 0.25 - 1.25 * v
    return (x**2 + y**2 - 1) ** 3 <= x**2 * y**3
