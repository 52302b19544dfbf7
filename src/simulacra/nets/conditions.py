"""What a network is told of y, whatever it is: a picture laid beside x, a vector that conditions every block, nothing.

    space.y                     what is told
    None                        nothing
    Classes                     the class, one-hot
    a picture, where x is one   its channels beside x, at x's size, and one more of ones
    a sequence, such as text    a vector of an encoder that learns along (``nets.text_encoder``)
    anything else               its entries as a vector, and a 1 among them

Vectors have norm 1, or a mean square norm of 1. Where nothing is told, as classifier-free guidance wants it for some
of the examples in training (Ho & Salimans 2022, section 3.2), all of this is zero: the ones tell a condition of zeros
from none. Families build a ``Condition`` and know no more of y.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.core.batch import Values, each, rows
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Space
from simulacra.mathematics.guidance import guided
from simulacra.mathematics.solvers import Denoise
from simulacra.nets.embeddings import Embed, class_indicator
from simulacra.nets.endings import used
from simulacra.nets.text_encoder import TextEncoder


class Told(NamedTuple):
    """What a network is told: a picture (b, c, h, w) and a vector (b, d), either or both of which may be None."""

    beside: Tensor | None = None
    given: Tensor | None = None

    def where(self, told: Tensor) -> Told:
        """Nothing for the examples where ``told``, bool (b,), is False."""
        return Told(*(None if t is None else t * told.reshape(-1, *[1] * (t.ndim - 1)) for t in self))

    def untold(self) -> Told:
        """Nothing, for as many examples."""
        return Told(*(None if t is None else torch.zeros_like(t) for t in self))

    def left_out(self, share: float, rng: Rng) -> Told:
        """Nothing for a share of the examples, each by chance: how a network learns to do without."""
        first = next((t for t in self if t is not None), None)
        if first is None or share == 0:
            return self
        return self.where(rng.uniform((len(first),), device=first.device) >= share)


class Condition(nn.Module, ABC):
    """From y to what a network is told of it.

    beside, given  channels of the picture and entries of the vector that are told; 0 where there is none.
    """

    like: Tensor

    def __init__(self, *, beside: int = 0, given: int = 0, size: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.beside, self.given, self.size = beside, given, size
        self.register_buffer("like", torch.empty(0), persistent=False)

    @abstractmethod
    def forward(self, y: Values | None, length: Tensor | None = None) -> Told:
        """What is told of y; lengths (b,) where they vary, None: each goes up to its last entry that is not 0.

        Raises ValueError where y is missing, or not of its space.
        """

    @abstractmethod
    def alike(self, y: Values | None) -> Tensor | None:
        """A number for each condition, int64 (b,), equal where conditions are; None where there are none."""

    def check_guidance(self, weight: float, left_out: float) -> None:
        """ValueError for a weight other than 1 where there is nothing to leave out, or training left nothing out."""
        if weight != 1.0 and not ((self.beside or self.given) and left_out):
            raise ValueError(
                f"guidance needs a condition, and unlabelled > 0 in training; got guidance {weight:g}, leave it out"
            )

    def nothing(self, n: int) -> Told:
        """What is told of n examples of which nothing is."""
        beside = self.like.new_zeros(n, self.beside, *self.size) if self.beside else None
        return Told(beside, self.like.new_zeros(n, self.given) if self.given else None)


def condition(y: Classes | Space | None, event: tuple[int, ...], text: TextEncoder) -> Condition:
    """The condition for examples whose network input has the shape ``event``."""
    if y is None or isinstance(y, Classes):
        return Label(y)
    if y.layout == "sequence":
        return Encoded(y, text)
    return Beside(y, event[1:]) if y.layout == "grid" and len(event) == 3 else Entries(y)


class Label(Condition):
    """One of finitely many classes, or nothing where there are none."""

    def __init__(self, classes: Classes | None) -> None:
        super().__init__(given=0 if classes is None else len(classes))
        self.classes = classes

    def forward(self, y: Values | None, length: Tensor | None = None) -> Told:
        return Told(None, class_indicator(y, self.classes, self.like.dtype))  # type: ignore[arg-type]

    def alike(self, y: Values | None) -> Tensor | None:
        return y if isinstance(y, Tensor) and self.classes is not None else None


class Spacious(Condition):
    """A condition that is an example of another space."""

    def __init__(
        self, space: Space, embed: Embed, *, beside: int = 0, given: int = 0, size: tuple[int, ...] = ()
    ) -> None:
        super().__init__(beside=beside, given=given, size=size)
        self.space, self.embed = space, embed

    def checked(self, y: Values | None) -> Values:
        """The conditions; ValueError where they are missing or of another shape."""
        if y is None:
            raise ValueError(f"this model is conditional on {_described(self.space)}; give y=, one for each example")
        for name, f in self.space.fields.items():
            found = y.get(name) if isinstance(y, Mapping) else y if len(self.space.fields) == 1 else None
            if found is None or tuple(found.shape[1:]) != f.shape:
                got = "none" if found is None else str(tuple(found.shape))
                raise ValueError(f"y must hold {name} of shape (b, {', '.join(map(str, f.shape))}); got {got}")
        return y

    def alike(self, y: Values | None) -> Tensor | None:
        y = self.checked(y)
        parts = [y] if isinstance(y, Tensor) else [y[name] for name in self.space.fields]
        flat = torch.cat([p.reshape(len(p), -1).double() for p in parts], dim=1)
        return flat.unique(dim=0, return_inverse=True)[1]


class Beside(Spacious):
    """A picture beside x, brought to x's size (bilinearly, antialiased) where its own is another."""

    def __init__(self, space: Space, size: tuple[int, ...]) -> None:
        embed = Embed(space)
        super().__init__(space, embed, beside=embed.channels + 1, size=size)

    def forward(self, y: Values | None, length: Tensor | None = None) -> Told:
        h = self.embed(self.checked(y)).to(self.like.dtype)
        if tuple(h.shape[2:]) != self.size:
            h = F.interpolate(h, self.size, mode="bilinear", antialias=True)
        return Told(F.pad(h, (0, 0, 0, 0, 0, 1), value=1.0), None)


class Encoded(Spacious):
    """A sequence as the vector that an encoder makes of it."""

    def __init__(self, space: Space, text: TextEncoder) -> None:
        super().__init__(space, Embed(space), given=text.width)
        self.encoder = text.encoder(self.embed.channels)

    def forward(self, y: Values | None, length: Tensor | None = None) -> Told:
        y = self.checked(y)
        values = y if isinstance(y, Tensor) else next(iter(y.values()))
        if length is None and self.space.only.varying:
            length = used(values)
        entries = self.embed(y, None, length)
        return Told(None, self.encoder(entries.to(self.like.dtype), entries[..., -1] > 0))


class Entries(Spacious):
    """Whatever else, its entries one after another."""

    def __init__(self, space: Space) -> None:
        embed = Embed(space)
        super().__init__(space, embed, given=math.prod(embed.shape) + 1)

    def forward(self, y: Values | None, length: Tensor | None = None) -> Told:
        entries = self.embed(self.checked(y), None, length).flatten(1).to(self.like.dtype)
        return Told(None, F.pad(entries, (0, 1), value=1.0) / math.sqrt(self.given))


def steered(
    look: Callable[[Tensor, Tensor, Told], Tensor],
    told: Told,
    weight: float,
    interval: tuple[float, float] = (0.0, math.inf),
) -> Denoise:
    """A network's answer to (x, level) when told of y, pushed away from its answer when told nothing.

    look      (x, level, told) -> answer.
    weight    1 leaves it as it is, 0 tells nothing (``mathematics.guidance``); the push is at levels in ``interval``.
    """
    strong = lambda x, s: look(x, s, told)  # noqa: E731
    if weight == 1.0 or all(t is None for t in told):
        return strong
    nothing = told.untold()
    return guided(strong, lambda x, s: look(x, s, nothing), weight, low=interval[0], high=interval[1])


def in_parts(
    n: int, most: int, y: Values | None, length: Tensor | None, rng: Rng, device: torch.device
) -> Iterator[tuple[int, Values | None, Tensor | None, Rng]]:
    """A draw of n examples in parts of at most ``most``: how many, their conditions and lengths, their rng."""
    if y is not None and rows(y) != n:
        raise ValueError(f"y must hold a condition for each of {n} examples; got {rows(y)}")
    for first in range(0, max(n, 1), most):
        part = slice(first, first + most)
        here = each(lambda t, part=part: t[part].to(device), y)
        yield min(most, n - first), here, each(lambda t, part=part: t[part].to(device), length), rng.rows(first)


def _described(space: Space) -> str:
    shapes = [f"{name} ({' x '.join(map(str, f.shape)) or 'a number'})" for name, f in space.fields.items()]
    return " and ".join(shapes)
