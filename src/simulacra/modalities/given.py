"""What a picture may be given with: a caption, or a picture made of it by a rule, so that the way back is learnt.

    caption          what is written of it (``modalities.captions``)
    low_resolution   means of squares of its pixels: super-resolution
    grey             its luminance: colourisation
    sketch           its edges: from sketch to picture
    noisy            the picture with noise

A person names one, with its number where it has one: "grey", "low_resolution:2", "caption:40". The name is kept in the
run's recipe, which is how the run knows what to make of a picture later.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from simulacra.core.batch import Batch, Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.modalities import captions
from simulacra.modalities.images import picture_field


@runtime_checkable
class Given(Protocol):
    """Turns pictures into pictures that are given something."""

    def pair(self, data: Stored, written: Sequence[str] | None) -> tuple[Stored, list[str]]:
        """The data with conditions, and notes for a person; written: the captions, where there are any.

        Raises ValueError for pictures, or captions, of which it cannot be made.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Caption:
    """What is written of each picture, up to ``longest`` bytes; longer ones are cut, and that is said."""

    longest: int = 96

    def pair(self, data: Stored, written: Sequence[str] | None) -> tuple[Stored, list[str]]:
        if written is None:
            raise ValueError(
                f"{data.name}: no captions here; expected a folder or archive with {', '.join(captions.FILES[:-1])}"
            )
        short = [captions.cut(text, self.longest) for text in written]
        y, length = captions.encode(short, self.longest)
        notes = [f"each given its caption, such as {short[0]!r}"]
        if much := sum(len(captions.plain(text).encode()) > self.longest for text in written):
            notes.append(f"{much:,} captions of more than {self.longest} bytes are cut (caption:{2 * self.longest})")
        assert isinstance(data.x, Tensor)
        if equal := len(data) - len(data.x.flatten(1).unique(dim=0)):
            notes.append(f"{equal:,} pictures are equal to others and kept, each with its own caption")
        space = replace(data.space, y=captions.caption_space(self.longest))
        return replace(data, space=space, y=y, y_length=length, fingerprint=""), notes


@dataclass(frozen=True, kw_only=True)
class Derived(ABC):
    """A picture that is made of the picture, anew in every batch."""

    @property
    @abstractmethod
    def what(self) -> str:
        """What is given, in words."""

    @abstractmethod
    def field(self, of: Continuous) -> Continuous:
        """What is made of pictures of a field; ValueError where it cannot be."""

    @abstractmethod
    def __call__(self, x: Tensor, rng: Rng) -> Tensor:
        """Pictures (b, c, h, w) in their field's values -> what is given, (b, *field(...).shape)."""

    def pair(self, data: Stored, written: Sequence[str] | None) -> tuple[Stored, list[str]]:
        field = self.field(picture_field(data.space))
        space = replace(data.space, y=Space(fields={"picture": field}, measure=self.what))
        made = replace(data, space=space, y=None, change=Making(self), fingerprint="")
        c, h, w = field.shape
        return made, [f"each given its {self.what}, {c}x{h}x{w}, made of it batch by batch"]


@dataclass(frozen=True)
class Making:
    """Puts y into a batch of pictures: what ``Derived`` makes of them."""

    given: Derived

    def __call__(self, batch: Batch, rng: Rng) -> Batch:
        assert isinstance(batch.x, Tensor)
        return replace(batch, y=self.given(batch.x, rng("given")))


@dataclass(frozen=True, kw_only=True)
class LowResolution(Derived):
    """Means of factor x factor pixels."""

    factor: int = 4

    @property
    def what(self) -> str:
        return f"low resolution (means of {self.factor}x{self.factor} pixels)"

    def field(self, of: Continuous) -> Continuous:
        c, h, w = of.shape
        if self.factor < 2 or h % self.factor or w % self.factor:
            raise ValueError(
                f"low_resolution needs a factor of 2 or more that divides the sides; got {self.factor} for {h}x{w},"
                " name another (low_resolution:2), or a size"
            )
        return replace(of, levels=None, shape=(c, h // self.factor, w // self.factor))

    def __call__(self, x: Tensor, rng: Rng) -> Tensor:
        return F.avg_pool2d(x, self.factor)


LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, section 2.5.1; what PIL turns colours to grey by


@dataclass(frozen=True, kw_only=True)
class Grey(Derived):
    """The luminance of red, green and blue; transparency says nothing of it."""

    @property
    def what(self) -> str:
        return "grey version"

    def field(self, of: Continuous) -> Continuous:
        if of.shape[0] < 3:
            raise ValueError(f"grey needs pictures in colour; got {of.shape[0]} channels (channels=3 makes them three)")
        return replace(of, levels=None, shape=(1, *of.shape[1:]))

    def __call__(self, x: Tensor, rng: Rng) -> Tensor:
        return luminance(x)


@dataclass(frozen=True, kw_only=True)
class Sketch(Derived):
    """Edges, dark on white: Sobel's operator (3x3) on the luminance, |gradient| / (strong x the largest there can be).

    strong  share of the largest gradient from which on a line is black.
    """

    strong: float = 0.25

    @property
    def what(self) -> str:
        return "sketch (Sobel edges)"

    def field(self, of: Continuous) -> Continuous:
        if not 0 < self.strong <= 1:
            raise ValueError(f"strong is a share in (0, 1]; got {self.strong:g}")
        return replace(of, levels=None, low=0.0, high=1.0, centre=0.5, scale=0.5, shape=(1, *of.shape[1:]))

    def __call__(self, x: Tensor, rng: Rng) -> Tensor:
        grey = F.pad(luminance(x), (1, 1, 1, 1), mode="replicate")
        across = x.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
        slopes = F.conv2d(grey, torch.stack([across, across.T])[:, None])
        # an edge from one end of the range to the other has a slope of 4 ranges; pictures lie in [-1, 1]
        strength = slopes.square().sum(1, keepdim=True).sqrt() / (4 * 2 * self.strong)
        return 1 - strength.clamp(max=1)


@dataclass(frozen=True, kw_only=True)
class Noisy(Derived):
    """The picture and Gaussian noise, drawn anew in every batch; sigma in units of the range -1 .. 1."""

    sigma: float = 0.5

    @property
    def what(self) -> str:
        return f"noisy version (sigma {self.sigma:g})"

    def field(self, of: Continuous) -> Continuous:
        if not self.sigma > 0:
            raise ValueError(f"sigma must be positive; got {self.sigma:g}")
        scale = math.hypot(of.scale, self.sigma)
        return replace(of, levels=None, low=-math.inf, high=math.inf, scale=scale)

    def __call__(self, x: Tensor, rng: Rng) -> Tensor:
        return x + self.sigma * rng("noise").normal(x.shape, dtype=x.dtype, device=x.device)


GIVEN: dict[str, Given] = {
    "caption": Caption(), "low_resolution": LowResolution(), "grey": Grey(), "sketch": Sketch(), "noisy": Noisy(),
}  # fmt: skip


def given_by(text: str) -> Given:
    """What a name stands for, with another number than its own behind a colon; ValueError for no such name."""
    name, colon, number = text.partition(":")
    if name not in GIVEN:
        raise ValueError(f"nothing called {name!r} can be given; expected one of {', '.join(GIVEN)}")
    given = GIVEN[name]
    if not colon:
        return given
    settings = [(f.name, type(getattr(given, f.name))) for f in fields(given)]  # type: ignore[arg-type]
    if not settings:
        raise ValueError(f"{name} has no number to set; got {text!r}")
    (setting, kind), *_ = settings
    try:
        value = kind(number)
    except ValueError:
        raise ValueError(f"{name}:NUMBER sets its {setting}, {kind.__name__}; got {text!r}") from None
    if value <= 0:
        raise ValueError(f"{setting} of {name} must be positive; got {number}")
    return replace(given, **{setting: value})  # type: ignore[type-var]


def luminance(x: Tensor) -> Tensor:
    """Pictures (b, c, h, w) as grey ones (b, 1, h, w): the weighted sum of three colours, else the first channel."""
    if x.shape[1] < 3:
        return x[:, :1]
    return torch.einsum("bchw,c->bhw", x[:, :3], x.new_tensor(LUMA))[:, None]
