"""The U-Net that released diffusion models are kept in: residual blocks whose time embedding is added, not a scale.

Its blocks are those of the public layout ``UNet2DModel``, so that weights go from one to the other
(``recipes.unet2d``); the architecture is that of Ho et al. 2020, appendix B. Where nothing has to be exchanged,
``nets.denoisers.Convolutional`` learns as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.mathematics.noise_chain import unchanged
from simulacra.nets.group_norm import NormSiLU
from simulacra.nets.unet import Quiet

Clock = Callable[[Tensor], Tensor]  # c_noise (b,) -> the time that the network is shown, (b,)
REGISTER = 16  # float32 numbers in a vector register of AVX-512
LONGEST = 10_000.0  # ratio of the sinusoids' longest to their shortest period: Vaswani et al. 2017, section 3.5


@dataclass(frozen=True, kw_only=True)
class ResidualUNet:
    """A U-Net of a public layout, for pictures.

    widths     channels at each resolution, finest first; each next one is half as large.
    attention  at which of them every block is followed by attention.
    middle     whether there is attention between the way down and the way up.
    blocks     residual blocks at each resolution on the way down; one more on the way up.
    groups     of every norm; must divide the widths.
    head       channels a head of attention; None: one head.
    eps        of the norms.
    padding    1: halving convolutions see a zero before and after each row; 0: one after it.
    clock      from c_noise to the time whose sinusoids the network sees: ``unchanged``, or a ``NoiseChain()``.
    cosines    whether their cosines come before their sines.
    shift      the longest period is 10,000^(half / (half - shift)) of the shortest's, half as many as sinusoids.
    """

    widths: tuple[int, ...] = (32, 64, 64)
    attention: tuple[bool, ...] = (False, True, True)
    middle: bool = True
    blocks: int = 2
    groups: int = 32
    head: int | None = 8
    eps: float = 1e-5
    padding: int = 1
    clock: Clock = unchanged
    cosines: bool = True
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not self.widths or len(self.attention) != len(self.widths):
            raise ValueError(f"attention needs an entry a width; got {self.attention} for {self.widths}")
        if self.blocks < 1 or self.padding not in (0, 1):
            raise ValueError(f"blocks is at least 1 and padding 0 or 1; got {self.blocks} and {self.padding}")
        if wrong := [w for w in self.widths if w < 1 or w % self.groups]:
            raise ValueError(f"groups must divide every width; got {self.groups} and {wrong[0]}")
        attends = [w for w, a in zip(self.widths, self.attention, strict=True) if a]
        attends += self.widths[-1:] if self.middle else ()
        if self.head is not None and (wrong := [w for w in attends if w % self.head]):
            raise ValueError(f"head must divide the widths that attend; got {self.head} and {wrong[0]}")

    def build(self, event: tuple[int, ...], beside: int, given: int) -> nn.Module:
        if len(event) != 3:
            raise ValueError(f"a U-Net needs pictures of shape (channels, height, width); got {event}")
        return ResidualDenoiser(event[0] + beside, event[0], given, self)


class Time(nn.Module):
    """Times (b,) and a vector that is given -> what every block adds, (b, 4 x width)."""

    rates: Tensor

    def __init__(self, width: int, given: int, s: ResidualUNet) -> None:
        super().__init__()
        if width % 2:
            raise ValueError(f"the first width must be even, half sines and half cosines; got {width}")
        half = width // 2
        # in float32 whatever the network's type: at time 999 the last bit of a rate moves the fifth digit of a wave
        rates = torch.exp(-math.log(LONGEST) * torch.arange(half, dtype=torch.float32) / (half - s.shift))
        self.register_buffer("rates", rates.to(torch.get_default_dtype()), persistent=False)
        self.clock, self.cosines = s.clock, s.cosines
        self.given = nn.Linear(given, 4 * width, bias=False) if given else None
        self.gain = self.label_gain(given)
        self.dense1, self.dense2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, 4 * width)

    def label_gain(self, classes: int) -> float:
        """What a one-hot label is multiplied by: its entries get unit mean square."""
        return math.sqrt(max(classes, 1))

    def forward(self, noise: Tensor, given: Tensor | None) -> Tensor:
        angles = self.clock(noise)[:, None] * self.rates
        waves = [angles.cos(), angles.sin()] if self.cosines else [angles.sin(), angles.cos()]
        c = self.dense2(F.silu(self.dense1(torch.cat(waves, dim=1))))
        return c if self.given is None or given is None else c + self.given(given.to(c.dtype) * self.gain)


class Block(nn.Module):
    """skip(x) + conv(act(norm(conv(act(norm x)) + time))), (b, into, h, w) -> (b, out, h, w).

    time  entries of the time's embedding; 0: the block knows no time.
    """

    def __init__(self, into: int, out: int, time: int, *, groups: int, eps: float) -> None:
        super().__init__()
        self.norm1, self.conv1 = NormSiLU(groups, into, eps), nn.Conv2d(into, out, 3, padding=1)
        self.time = nn.Linear(time, out) if time else None
        self.norm2, self.conv2 = NormSiLU(groups, out, eps), Quiet(out, out, 3, padding=1)
        self.skip = nn.Identity() if into == out else nn.Conv2d(into, out, 1)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """c (b, time): the time's embedding behind its activation."""
        h = self.conv1(self.norm1(x))
        h = h if self.time is None else h + self.time(c)[:, :, None, None]
        return self.skip(x) + self.conv2(self.norm2(h))


class SelfAttention(nn.Module):
    """x + attention of every place to every other, (b, c, h, w) -> the same; head: channels of each, None: one head."""

    def __init__(self, channels: int, *, head: int | None, groups: int, eps: float) -> None:
        super().__init__()
        self.heads = channels // (head or channels)
        self.norm = nn.GroupNorm(groups, channels, eps)
        self.inward, self.outward = nn.Linear(channels, 3 * channels), QuietLinear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(b, h * w, c)
        q, k, v = self.inward(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        out = attended(q, k, v).transpose(1, 2).flatten(2)
        return x + self.outward(out).reshape(b, h, w, c).permute(0, 3, 1, 2)


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of (b, heads, t, size), heads narrower than a vector register filled up with zeros.

    They add nothing to any product; on a CPU, heads of 8 take 1.6 times as long without them.
    """
    size = q.shape[-1]
    if size >= REGISTER or q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v)
    q, k, v = (F.pad(part, (0, REGISTER - size)) for part in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, scale=size**-0.5)[..., :size]


class QuietLinear(nn.Linear):
    """A linear layer that starts at zero, so that its attention starts as the identity."""

    @torch.no_grad()
    def initialise(self, rng: object) -> None:
        """All zero; nothing is drawn."""
        self.weight.zero_()
        self.bias.zero_()


class Level(nn.Module):
    """The blocks at one resolution, attention after the first ``attends`` of them, and a convolution to the next."""

    def __init__(self, sizes: Sequence[tuple[int, int]], time: int, attends: int, then: nn.Module | None, *,
                 head: int | None, groups: int, eps: float) -> None:  # fmt: skip
        super().__init__()
        self.blocks = nn.ModuleList(Block(into, out, time, groups=groups, eps=eps) for into, out in sizes)
        self.attentions = nn.ModuleList(
            SelfAttention(out, head=head, groups=groups, eps=eps) for _, out in sizes[:attends]
        )
        self.then = then

    def step(self, i: int, h: Tensor, c: Tensor | None = None) -> Tensor:
        """The i-th block, and the attention that follows it."""
        h = self.blocks[i](h, c)
        return self.attentions[i](h) if i < len(self.attentions) else h


class ResidualDenoiser(nn.Module):
    """(x (b, event), noise (b,), beside, given) -> (b, event): see ``ResidualUNet``.

    Sides that the halvings do not divide are padded with zeros and cut again.
    """

    def __init__(self, into: int, out: int, given: int, s: ResidualUNet) -> None:
        super().__init__()
        widths, time, level = s.widths, 4 * s.widths[0], partial(Level, head=s.head, groups=s.groups, eps=s.eps)
        self.settings, self.unit = s, 1 << (len(widths) - 1)
        self.level = Time(widths[0], given, s)
        self.first = nn.Conv2d(into, widths[0], 3, padding=1)
        skips, channels, down, up = [widths[0]], widths[0], list[Level](), list[Level]()
        for i, width in enumerate(widths):
            sizes = [(channels, width), *[(width, width)] * (s.blocks - 1)]
            last = i + 1 == len(widths)
            halve = None if last else nn.Conv2d(width, width, 3, stride=2, padding=s.padding)
            down.append(level(sizes, time, s.blocks * s.attention[i], halve))
            skips += [width] * (s.blocks + (not last))
            channels = width
        self.middle = level([(channels, channels)] * 2, time, int(s.middle), None)
        for i, width in reversed(list(enumerate(widths))):
            sizes = []
            for _ in range(s.blocks + 1):
                sizes.append((channels + skips.pop(), width))
                channels = width
            double = nn.Conv2d(width, width, 3, padding=1) if i else None
            up.append(level(sizes, time, (s.blocks + 1) * s.attention[i], double))
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        self.norm = NormSiLU(s.groups, channels, s.eps)
        self.last = Quiet(channels, out, 3, padding=1)

    def forward(self, x: Tensor, noise: Tensor, beside: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        x = x if beside is None else torch.cat([x, beside.to(x.dtype)], dim=1)
        height, width = x.shape[2:]
        if height % self.unit or width % self.unit:
            x = F.pad(x, (0, -width % self.unit, 0, -height % self.unit))
        c = F.silu(self.level(noise, given))
        h = self.first(x)
        seen = [h]
        for level in levels(self.down):
            for i in range(len(level.blocks)):
                h = level.step(i, h, c)
                seen.append(h)
            if level.then is not None:
                h = level.then(h if self.settings.padding else F.pad(h, (0, 1, 0, 1)))
                seen.append(h)
        h = self.middle.step(1, self.middle.step(0, h, c), c)
        for level in levels(self.up):
            for i in range(len(level.blocks)):
                h = level.step(i, torch.cat([h, seen.pop()], dim=1), c)
            h = h if level.then is None else level.then(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return self.last(self.norm(h))[:, :, :height, :width]


def levels(modules: nn.ModuleList) -> list[Level]:
    """A list of modules, known to be levels."""
    return [module for module in modules if isinstance(module, Level)]
