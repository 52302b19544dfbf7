"""What a critic is shown instead of pictures when there are few: changed ones, real and generated alike.

A critic that sees the same few hundred pictures learns them by heart. Shown each under random changes it cannot, and
as generated pictures pass through the same changes, and gradients back through them, the generator learns what the
pictures were before. That holds as long as the changes can be told from what they hide: each is left out with
probability 1 - p (Karras et al. 2020, "Training generative adversarial networks with limited data", section 2.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from simulacra.core import across
from simulacra.core.randomness import Rng
from simulacra.mathematics.augmentation import (
    Draw,
    Pictures,
    brightness,
    contrast,
    cutout,
    drawn,
    drift,
    hue,
    jitter,
    luma_flip,
    mirror,
    quarter_turn,
    recoloured,
    saturation,
    scale,
    shift,
    stretch,
    translate,
    turn,
    warped,
)

WINDOW = 4  # steps between two changes of p, over which r_t is a mean: Karras et al. 2020, section 3.1


@runtime_checkable
class Augmentation(Protocol):
    """How pictures are changed before a critic sees them, and how often."""

    def start(self) -> float:
        """The probability p of each change at first."""
        ...

    def __call__(self, x: Pictures, p: Tensor, rng: Rng) -> Pictures:
        """Pictures u (b, c, h, w), each changed by draws of its own, with probability p ()."""
        ...

    def moved(self, p: Tensor, signs: Tensor, pictures: Tensor) -> Tensor:
        """The next p, after so many pictures on whose scores r_t was ``signs``."""
        ...


@dataclass(frozen=True, kw_only=True)
class ADA:
    """Adaptive discriminator augmentation, Karras et al. 2020: p follows how far the critic overfits.

    target    where r_t is to stay: above it p rises, below it falls (section 3.1).
    pictures  how many real ones take p from 0 to 1 (ibid.: 500,000, quick enough not to overfit before).
    most      p goes no further: beyond 0.8 changes begin to be learnt as if they were data (section 2.2).
    places, colours  the changes; all moves of places are one matrix and read the picture once (appendix B). ``turn``
              is taken before and after the picture is stretched, so that it is stretched in any direction.
    """

    target: float = 0.6
    pictures: int = 500_000
    most: float = 0.8
    places: tuple[Draw, ...] = (mirror, quarter_turn, shift, scale, turn, stretch, turn, drift)
    colours: tuple[Draw, ...] = (brightness, contrast, luma_flip, hue, saturation)

    def __post_init__(self) -> None:
        if not -1 < self.target < 1:
            raise ValueError(f"target is a mean of signs, between -1 and 1; got {self.target}, use 0.6")
        if self.pictures < 1:
            raise ValueError(f"p rises from 0 to 1 over at least 1 picture; got pictures={self.pictures}")
        if not 0 < self.most <= 1:
            raise ValueError(f"most is the largest probability, above 0 and at most 1; got {self.most}")

    def start(self) -> float:
        """0: nothing is changed before the critic overfits."""
        return 0.0

    def __call__(self, x: Pictures, p: Tensor, rng: Rng) -> Pictures:
        """Places first, then colours."""
        if self.places:
            # from the new picture to the old one: the change that comes first is looked up last
            x = warped(x, reduce(torch.matmul, drawn(self.places, p, x, rng("places"))))
        if self.colours:
            x = recoloured(x, reduce(torch.matmul, reversed(drawn(self.colours, p, x, rng("colours")))))
        return x

    def moved(self, p: Tensor, signs: Tensor, pictures: Tensor) -> Tensor:
        """p + sign(r_t - target) pictures / 500,000, within 0 .. most."""
        return (p + (signs - self.target).sign() * pictures / self.pictures).clamp(0, self.most)


@dataclass(frozen=True, kw_only=True)
class DiffAugment:
    """Every picture changed by each of a few mild transforms, always: Zhao et al. 2020, section 3.

    transforms  (pictures, rng) -> pictures, one after another.
    """

    transforms: tuple[Callable[[Pictures, Rng], Pictures], ...] = (jitter, translate, cutout)

    def start(self) -> float:
        """1: always."""
        return 1.0

    def __call__(self, x: Pictures, p: Tensor, rng: Rng) -> Pictures:
        """All of them, in their order."""
        for i, transform in enumerate(self.transforms):
            x = transform(x, rng(i))
        return x

    def moved(self, p: Tensor, signs: Tensor, pictures: Tensor) -> Tensor:
        """p stays."""
        return p


class Augmenter(nn.Module):
    """An augmentation at work: what it has adapted to is in its buffers, so that a run that goes on has it.

    p     probability of each change.
    r_t   E[sign D(x)] over real pictures x of the last ``WINDOW`` steps, -1 .. 1: near 0 for a critic that cannot tell,
          1 for one that knows every real picture (section 3.1). Games that know differences of scores alone have
          E[sign(D(x) - D(G(z)))] in its place.
    """

    p: Tensor
    r_t: Tensor
    signs: Tensor
    steps: Tensor
    pictures: Tensor

    def __init__(self, augmentation: Augmentation) -> None:
        super().__init__()
        self.augmentation = augmentation
        self.register_buffer("p", torch.tensor(augmentation.start()))
        self.register_buffer("r_t", torch.zeros(()))
        self.register_buffer("signs", torch.zeros(()))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("pictures", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor, rng: Rng) -> Tensor:
        """Pictures u (b, c, h, w) as the critic sees them, in their own type."""
        with torch.autocast(x.device.type, enabled=False):  # places would be rounded to whole pixels
            wide = x if x.dtype == torch.float64 else x.float()
            return self.augmentation(wide, self.p, rng).to(x.dtype)

    def count(self, pictures: int) -> None:
        """So many real pictures have been shown by this process."""
        self.pictures += pictures * across.processes()

    @torch.no_grad()
    def observe(self, signs: Tensor) -> None:
        """Take in the mean sign of one step's scores; p moves at the end of each window."""
        self.signs += signs.to(self.signs)
        self.steps += 1
        due = self.steps == WINDOW
        mean = self.signs / WINDOW
        moved = self.augmentation.moved(self.p, mean, self.pictures)
        self.p.copy_(torch.where(due, moved, self.p))
        self.r_t.copy_(torch.where(due, mean, self.r_t))
        for counter in (self.signs, self.steps, self.pictures):
            counter.mul_(~due)
