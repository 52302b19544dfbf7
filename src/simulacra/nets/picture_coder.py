"""Encoder and decoder between pictures and small grids of normal codes: the first stage of latent diffusion.

Rombach et al. 2022, appendix E. The layers are those of the public layout ``AutoencoderKL``, so that weights can be
read from there (``recipes.autoencoder_kl``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.nets.group_norm import NormSiLU
from simulacra.nets.residual_unet import Level, levels

EPS = 1e-6  # of every norm


@dataclass(frozen=True, kw_only=True)
class PictureCoder:
    """How large the two networks are.

    widths     channels at each resolution, finest first; each next one is half as large.
    channels   of the codes.
    blocks     residual blocks at each resolution of the encoder; one more in the decoder.
    groups     of every norm; must divide the widths.
    attention  whether every place attends to every other at the coarsest resolution.
    moments, vectors  whether a 1x1 convolution follows the encoder, and precedes the decoder.
    """

    widths: tuple[int, ...] = (32, 64)
    channels: int = 4
    blocks: int = 1
    groups: int = 8
    attention: bool = True
    moments: bool = True
    vectors: bool = True

    def __post_init__(self) -> None:
        if not self.widths or self.blocks < 1 or self.channels < 1:
            raise ValueError(
                f"widths, blocks and channels must be at least 1; got {self.widths}, {self.blocks} and {self.channels}"
            )
        if wrong := [w for w in self.widths if w < 1 or w % self.groups]:
            raise ValueError(f"groups must divide every width; got {self.groups} and {wrong[0]}")

    @property
    def unit(self) -> int:
        """Pixels of a side that one place of the code stands for."""
        return 1 << (len(self.widths) - 1)


class Encoder(nn.Module):
    """Pictures (b, c, h, w) -> mean and log variance, (b, 2 channels, h / unit, w / unit); unit must divide sides."""

    def __init__(self, pictures: int, s: PictureCoder) -> None:
        super().__init__()
        level = partial(Level, head=None, groups=s.groups, eps=EPS)
        self.first = nn.Conv2d(pictures, s.widths[0], 3, padding=1)
        down, before = list[Level](), s.widths[0]
        for i, width in enumerate(s.widths):
            halve = None if i + 1 == len(s.widths) else nn.Conv2d(width, width, 3, stride=2)
            down.append(level([(before, width), *[(width, width)] * (s.blocks - 1)], 0, 0, halve))
            before = width
        self.down = nn.ModuleList(down)
        self.middle = level([(before, before)] * 2, 0, int(s.attention), None)
        self.norm, self.last = NormSiLU(s.groups, before, EPS), nn.Conv2d(before, 2 * s.channels, 3, padding=1)
        self.moments = nn.Conv2d(2 * s.channels, 2 * s.channels, 1) if s.moments else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for level in levels(self.down):
            h = _through(level, h)
            h = h if level.then is None else level.then(F.pad(h, (0, 1, 0, 1)))
        return self.moments(self.last(self.norm(_through(self.middle, h))))


class Decoder(nn.Module):
    """Codes (b, channels, h / unit, w / unit) -> pictures (b, c, h, w)."""

    def __init__(self, pictures: int, s: PictureCoder) -> None:
        super().__init__()
        level = partial(Level, head=None, groups=s.groups, eps=EPS)
        widths = s.widths[::-1]
        self.vectors = nn.Conv2d(s.channels, s.channels, 1) if s.vectors else nn.Identity()
        self.first = nn.Conv2d(s.channels, widths[0], 3, padding=1)
        self.middle = level([(widths[0], widths[0])] * 2, 0, int(s.attention), None)
        up, before = list[Level](), widths[0]
        for i, width in enumerate(widths):
            double = None if i + 1 == len(widths) else nn.Conv2d(width, width, 3, padding=1)
            up.append(level([(before, width), *[(width, width)] * s.blocks], 0, 0, double))
            before = width
        self.up = nn.ModuleList(up)
        self.norm, self.last = NormSiLU(s.groups, before, EPS), nn.Conv2d(before, pictures, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = _through(self.middle, self.first(self.vectors(z)))
        for level in levels(self.up):
            h = _through(level, h)
            h = h if level.then is None else level.then(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return self.last(self.norm(h))


def _through(level: Level, h: Tensor) -> Tensor:
    for i in range(len(level.blocks)):
        h = level.step(i, h)
    return h
