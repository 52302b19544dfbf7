"""Layers that keep the magnitude of what passes through them, and the U-Net made of them.

Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models" (EDM2, configuration G): weights
are normalised before they are used and after every step (``settle``), so that a learning rate means the same change in
every layer at all times; sums, concatenations and activations are divided by what they would multiply the magnitude by;
there are no norms that look across an image. Magnitude: the root mean square over channels, 1 everywhere at the start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.core.randomness import Rng

SILU = 0.596  # root mean square of SiLU under N(0, 1): section 2.4
TINY = 1e-4  # added to norms: appendix B.2
RESIDUAL, ATTENDED, LABELLED, JOINED = 0.3, 0.3, 0.5, 0.5  # shares of what is added: table 6
LARGEST = 256.0  # activations are clipped at this: appendix B


def normalised(x: Tensor, dims: Sequence[int]) -> Tensor:
    """x with a root mean square of 1 over these dimensions (eq. 66); a learning network's zeros stay zeros."""
    precise = x.dtype if x.dtype == torch.float64 else torch.float32
    norm = torch.linalg.vector_norm(x, dim=list(dims), keepdim=True, dtype=precise)
    return x / (TINY + norm * math.sqrt(norm.numel() / x.numel())).to(x.dtype)


def pixel_norm(x: Tensor) -> Tensor:
    """Every place's channels, (b, c, ...), with a root mean square of 1."""
    return normalised(x, (1,))


def mp_silu(x: Tensor) -> Tensor:
    """SiLU, divided by its root mean square under N(0, 1) (eq. 81)."""
    return F.silu(x) / SILU


def mp_sum(a: Tensor, b: Tensor, share: float) -> Tensor:
    """(1 - t) a + t b, divided by what that makes of unit magnitudes that are not correlated (eq. 88)."""
    return torch.lerp(a, b, share) / math.hypot(1 - share, share)


def mp_cat(a: Tensor, b: Tensor, share: float = JOINED) -> Tensor:
    """a and b beside one another along channels, b counting as ``share`` of both whatever their sizes (eq. 103)."""
    n, m = a.shape[1], b.shape[1]
    size = math.sqrt((n + m) / ((1 - share) ** 2 + share**2))
    return torch.cat([a * (size * (1 - share) / math.sqrt(n)), b * (size * share / math.sqrt(m))], dim=1)


class Normalised(nn.Module):
    """A linear layer (``kernel`` 0), or a convolution of this kernel, without bias, whose weights are normalised.

    ``weight`` (out, into, ...) has a root mean square of 1 over each row; what is used is that over sqrt(fan in), times
    ``gain``, so that uncorrelated inputs of unit magnitude give outputs of unit magnitude (eq. 47, 66).
    """

    def __init__(self, into: int, out: int, kernel: int = 0) -> None:
        super().__init__()
        shape = (out, into, kernel, kernel) if kernel else (out, into)
        self.weight = nn.Parameter(torch.empty(shape))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """N(0, 1), normalised."""
        self.weight.copy_(rng("weight").normal((len(self.weight), self.weight[0].numel())).reshape(self.weight.shape))
        self.settle()

    @torch.no_grad()
    def settle(self) -> None:
        """Forced weight normalisation after each step (section 2.3): long weights learn slowly."""
        self.weight.copy_(normalised(self.weight, range(1, self.weight.ndim)))

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        # normalised here as well: the gradient then has no part along the weights, which would only lengthen them
        weight = normalised(self.weight, range(1, self.weight.ndim))
        weight = (weight * (gain / math.sqrt(weight[0].numel()))).to(x.dtype)
        return F.linear(x, weight) if weight.ndim == 2 else F.conv2d(x, weight, padding=weight.shape[-1] // 2)


class Gain(nn.Module):
    """One learned number, 0 at first: what it multiplies is not there at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """0; nothing is drawn."""
        self.value.zero_()


class NoiseWaves(nn.Module):
    """c_noise (b,) -> sqrt(2) cos(2 pi (f c + p)), (b, width): fixed f ~ N(0, 1), p uniform: magnitude 1 (eq. 75)."""

    frequencies: Tensor
    phases: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.empty(width))
        self.register_buffer("phases", torch.empty(width))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Draw the frequencies and phases; they are not learned."""
        self.frequencies.copy_(2 * math.pi * rng("frequencies").normal((1, len(self.frequencies)))[0])
        self.phases.copy_(2 * math.pi * rng("phases").uniform((1, len(self.phases)))[0])

    def forward(self, noise: Tensor) -> Tensor:
        return math.sqrt(2) * (noise[:, None] * self.frequencies + self.phases).cos()


class Embedding(nn.Module):
    """c_noise (b,) and a vector that is given -> what conditions every block, (b, width), of unit magnitude."""

    def __init__(self, waves: int, width: int, given: int) -> None:
        super().__init__()
        self.waves, self.noise = NoiseWaves(waves), Normalised(waves, width)
        self.given = Normalised(given, width) if given else None
        self.scale = math.sqrt(max(given, 1))  # one-hot entries raised to unit mean square

    def forward(self, noise: Tensor, given: Tensor | None) -> Tensor:
        c = self.noise(self.waves(noise))
        if self.given is not None and given is not None:
            c = mp_sum(c, self.given(given.to(c.dtype) * self.scale), LABELLED)
        return mp_silu(c)


class Block(nn.Module):
    """(x (b, into, h, w), c (b, condition)) -> (b, out, h, w): figure 21; ``down`` blocks norm their input's places."""

    def __init__(self, into: int, out: int, condition: int, *, down: bool, attends: bool, size: int = 32) -> None:
        super().__init__()
        self.down = down
        first = out if down else into
        self.skip = Normalised(into, out, 1) if into != out else None
        self.conv1, self.conv2 = Normalised(first, out, 3), Normalised(out, out, 3)
        self.condition, self.gain = Normalised(condition, out), Gain()
        self.heads = max(1, out // size)
        while out % self.heads:
            self.heads -= 1
        self.inward = Normalised(out, 3 * out, 1) if attends else None
        self.outward = Normalised(out, out, 1) if attends else None

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        if self.down:
            x = pixel_norm(x if self.skip is None else self.skip(x))
        h = self.conv1(mp_silu(x))
        scale = 1 + self.condition(c, self.gain.value)[:, :, None, None]
        h = self.conv2(mp_silu(h * scale))
        if not self.down and self.skip is not None:
            x = self.skip(x)
        x = mp_sum(x, h, RESIDUAL)
        if self.inward is not None and self.outward is not None:
            x = mp_sum(x, self.outward(self._attention(self.inward(x))), ATTENDED)
        return x.clamp(-LARGEST, LARGEST)

    def _attention(self, qkv: Tensor) -> Tensor:
        """Attention of queries, keys and values of unit magnitude, (b, 3 c, h, w) -> (b, c, h, w): section 2.2."""
        b, c, h, w = qkv.shape
        parts = qkv.reshape(b, 3, self.heads, c // 3 // self.heads, h * w).transpose(3, 4)
        q, k, v = normalised(parts, (4,)).unbind(1)
        return F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(b, c // 3, h, w)


@dataclass(frozen=True, kw_only=True)
class MagnitudePreserving:
    """A U-Net of magnitude-preserving layers, for grids of any size. It bears learning rates about 0.01.

    width      channels at the finest resolution.
    multiples  of the width at each resolution; None: (1, 2, 2) down to about 7 a side.
    blocks     blocks at each resolution.
    attention  at how many of the coarsest resolutions there is attention.
    """

    width: int = 32
    multiples: tuple[int, ...] | None = None
    blocks: int = 2
    attention: int = 1

    def build(self, event: tuple[int, ...], beside: int, given: int) -> nn.Module:
        if len(event) != 3:
            raise ValueError(f"a U-Net needs pictures of shape (channels, height, width); got {event}")
        multiples = self.multiples or (1, *[2] * max(1, round(math.log2(max(1.0, min(event[1:]) / 7)))))
        return MagnitudePreservingUNet(
            event[0] + beside, event[0], given, [self.width * m for m in multiples], self.blocks, self.attention
        )


class MagnitudePreservingUNet(nn.Module):
    """(x (b, into - beside, h, w), noise (b,), beside, given) -> (b, out, h, w); sides are padded to whole halvings."""

    def __init__(self, into: int, out: int, given: int, widths: Sequence[int], blocks: int, attention: int) -> None:
        super().__init__()
        self.levels, condition = len(widths), 4 * widths[0]
        self.embedding = Embedding(widths[0], condition, given)
        self.first = Normalised(into + 1, widths[0], 3)  # one channel more, of ones, in the place of biases
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        skips, channels = [widths[0]], widths[0]
        for level, width in enumerate(widths):
            attends = level >= self.levels - attention
            if level:
                self.encoder.append(Halve(channels, condition))
                skips.append(channels)
            for _ in range(blocks):
                self.encoder.append(Block(channels, width, condition, down=True, attends=attends))
                channels = width
                skips.append(channels)
        self.middle = nn.ModuleList(
            Block(channels, channels, condition, down=False, attends=a) for a in (attention > 0, False)
        )
        for level, width in reversed(list(enumerate(widths))):
            attends = level >= self.levels - attention
            for _ in range(blocks + 1):
                self.decoder.append(Block(channels + skips.pop(), width, condition, down=False, attends=attends))
                channels = width
            if level:
                self.decoder.append(Double(channels, condition))
        self.last, self.gain = Normalised(channels, out, 3), Gain()

    def forward(self, x: Tensor, noise: Tensor, beside: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        x = x if beside is None else torch.cat([x, beside.to(x.dtype)], dim=1)
        c = self.embedding(noise, given)
        height, width = x.shape[2:]
        unit = 1 << (self.levels - 1)
        x = F.pad(x, (0, -width % unit, 0, -height % unit)) if height % unit or width % unit else x
        h = self.first(torch.cat([x, torch.ones_like(x[:, :1])], dim=1))
        seen = [h]
        for block in self.encoder:
            h = block(h, c)
            seen.append(h)
        for block in self.middle:
            h = block(h, c)
        for block in self.decoder:
            h = block(h if isinstance(block, Double) else mp_cat(h, seen.pop()), c)
        return self.last(h, self.gain.value)[:, :, :height, :width]


class Halve(nn.Module):
    """A block after averaging two by two places; its norm makes up for what the average takes."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.block = Block(channels, channels, condition, down=True, attends=False)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.block(F.avg_pool2d(x, 2), c)


class Double(nn.Module):
    """A block after doubling the sides."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.block = Block(channels, channels, condition, down=False, attends=False)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.block(F.interpolate(x, scale_factor=2.0, mode="nearest"), c)


def settle(module: nn.Module) -> None:
    """Normalise the weights of every such layer, in place: after each step of the optimiser (``Turn.after``)."""
    for layer in module.modules():
        if isinstance(layer, Normalised):
            layer.settle()
