"""Stacked digits: three pictures of digits as the colours of one, a thousand modes whose number is known.

Metz et al. 2017 ("Unrolled generative adversarial networks", section 3.3.1) and Srivastava et al. 2017 ("VEEGAN",
section 5.2) count the modes that a generator covers on it: which digit is red, green, blue. The pictures are made when
they are asked for, from a grey data set with labels; picture number i is always the same one.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from simulacra.core.batch import Batch, Factor, Stored
from simulacra.core.randomness import Rng
from simulacra.modalities.images import space

COLOURS = ("red", "green", "blue")
COUNT = 128_000  # pictures to learn from: 128 a mode
HELD_OUT = 10_000


class Stacked:
    """Stacked pictures: ``core.batch.Data`` and ``Factored``, made of grey ones with labels.

    parts   the grey pictures, uint8 (n, 1, h, w), with classes; each colour is drawn from all of them alike.
    count   how many stacks there are; which three pictures the i-th is made of is a function of the seed and i.
    """

    def __init__(self, parts: Stored, *, count: int = COUNT, seed: int = 0, name: str = "stacked") -> None:
        shape = parts.space.only.shape
        if len(shape) != 3 or shape[0] != 1 or parts.space.y is None:
            raise ValueError(f"stacks are made of grey pictures with labels; got {shape}, {len(parts)} of them")
        if count < 1:
            raise ValueError(f"there must be at least 1 stack; got count={count}")
        self.parts, self.name, self.kinds = parts, name, len(parts.space.classes)
        self.space = space(len(COLOURS), *shape[1:])
        self.which = Rng(seed)("stacked").integers(len(parts), (count, len(COLOURS)))
        self.fingerprint = hashlib.sha256(f"stacked {count} {seed} {parts.fingerprint}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.which)

    def batch(self, index: Tensor, rng: Rng) -> Batch:
        """The stacks with these numbers, int64 (b,); nothing is random."""
        which = self.which[index.cpu()].flatten()
        grey = self.parts.batch(which.to(index.device), rng).x
        assert isinstance(grey, Tensor)
        return Batch(x=grey.reshape(len(index), len(COLOURS), *grey.shape[2:]))

    @property
    def named_factors(self) -> tuple[Factor, ...]:
        """The digits that are red, green and blue."""
        return tuple(Factor(name=colour, values=self.kinds, ordered=False) for colour in COLOURS)

    def factors(self, index: Int[Tensor, " b"]) -> Int[Tensor, "b 3"]:
        """The classes of the red, the green and the blue picture of the stacks with these numbers."""
        assert isinstance(self.parts.y, Tensor)
        return self.parts.y[self.which[index.cpu()]]

    def weights(self) -> Float[Tensor, " modes"]:
        """The probability of every mode: the product of its three digits' shares of the grey pictures."""
        assert isinstance(self.parts.y, Tensor)
        share = torch.bincount(self.parts.y, minlength=self.kinds).double() / len(self.parts)
        return (share[:, None, None] * share[:, None] * share).flatten()

    def kept(self) -> Stored:
        """All of them in memory, as data to judge by."""
        assert isinstance(self.parts.x, Tensor)
        x = self.parts.x[self.which.flatten()].reshape(len(self), *self.space.only.shape)
        return replace(self.parts, space=self.space, x=x, y=None, name=self.name, fingerprint="")


def mode_of(digits: Int[Tensor, "b 3"], kinds: int = 10) -> Int[Tensor, " b"]:
    """The number of the mode of three classes: with ten of them, red is its hundreds."""
    red, green, blue = digits.unbind(1)
    return (red * kinds + green) * kinds + blue
