"""From latents to pictures by way of styles: what both style-based generators have in common, and what they differ in.

A mapping turns z into w; each layer of the synthesis hears a w of its own. The syntheses, settings that build networks,
are those of 2019 (adaptive instance norm) and 2020 (modulated, demodulated filters, pictures added up over the sizes).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.nets.equalised import EqualConv, EqualLinear, leaky
from simulacra.nets.modulated import Modulated, Modulation, Noise, NoiseInput, by_device
from simulacra.nets.resample import doubled, doublings

Sizes = list[tuple[int, int]]


class Mapping(nn.Module):
    """(z (b, latent), y (b, classes) or None) -> w (b, width): Karras et al. 2019, section 2, at a hundredth's rate.

    z and what the label becomes each have mean square 1 before the first layer.
    """

    def __init__(self, latent: int, width: int, layers: int, classes: int, *, rate: float = 0.01) -> None:
        super().__init__()
        self.width = width
        self.label = EqualLinear(classes, latent, start=None) if classes else None
        into = [2 * latent if classes else latent, *[width] * (layers - 1)]
        self.layers = nn.ModuleList([EqualLinear(n, width, rate=rate) for n in into])

    def label_gain(self, classes: int) -> float:
        """What one-hot labels are multiplied by: their entries get unit mean square."""
        return math.sqrt(classes)

    def forward(self, z: Float[Tensor, "b latent"], y: Tensor | None = None) -> Float[Tensor, "b width"]:
        x = normalised(z)
        if self.label is not None and y is not None:
            x = torch.cat([x, normalised(self.label(y * self.label_gain(y.shape[1])))], dim=1)
        for layer in self.layers:
            x = leaky(layer(x))
        return x


def normalised(x: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
    """x over the root of its mean square (Karras et al. 2018, section 4.2, there over channels)."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Network(nn.Module, ABC):
    """Styles (b, layers, width) and noise -> pictures (b, c, h, w), free; ``layers`` styles are heard."""

    layers: int

    @abstractmethod
    def forward(self, w: Float[Tensor, "b layers width"], noise: Noise) -> Float[Tensor, "b c h w"]:
        """The pictures."""

    @abstractmethod
    def heard_by(self) -> list[Tensor]:
        """For every style the weights that hear it, (rows, width) each: what is heard of w is their product with it."""


@runtime_checkable
class Synthesis(Protocol):
    """A network from styles to pictures as settings."""

    def build(self, style: int, sizes: Sizes, widths: list[int], channels: int) -> Network:
        """A ``Network`` for styles of so many entries; sizes and the widths at them go from the picture's down."""
        ...


class Start(nn.Module):
    """A learned picture of the coarsest size, the same for every example."""

    def __init__(self, width: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.picture = nn.Parameter(torch.empty(width, *size))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """N(0, 1)."""
        flat = rng.normal((len(self.picture), self.picture[0].numel()))
        self.picture.copy_(flat.reshape(self.picture.shape))

    def forward(self, n: int | torch.SymInt) -> Float[Tensor, "n c h w"]:
        return self.picture.expand(n, -1, -1, -1)


@dataclass(frozen=True, kw_only=True)
class Demodulated:
    """Karras et al. 2020, figure 2d and figure 7b: demodulated filters, pictures of every size added up.

    compute  how modulated filters are applied (``nets.modulated``).
    """

    compute: Modulation = by_device

    def build(self, style: int, sizes: Sizes, widths: list[int], channels: int) -> Network:
        """The network."""
        return Skip(style, sizes, widths, channels, self.compute)


class StyledLayer(nn.Module):
    """Modulated filters 3x3, noise, bias, leaky ReLU; cut to ``size`` where doubling made it larger."""

    def __init__(self, style: int, into: int, out: int, size: tuple[int, int], doubling: bool, compute: Modulation):
        super().__init__()
        self.size = size
        self.affine = EqualLinear(style, into, start=1.0)
        self.convolve = Modulated(into, out, 3, doubling=doubling, compute=compute)
        self.noise = NoiseInput()
        self.bias = Bias(out)

    def forward(self, x: Tensor, w: Tensor, noise: Noise, number: int) -> Tensor:
        x = self.convolve(x, self.affine(w))[:, :, : self.size[0], : self.size[1]]
        return leaky(self.bias(self.noise(x, noise(number, x))))


class Bias(nn.Module):
    """One number a channel, added; 0 at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Zero."""
        self.bias.zero_()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return x + self.bias[:, None, None]


class ToPicture(nn.Module):
    """Modulated filters 1x1 that are not demodulated, and a bias."""

    def __init__(self, style: int, into: int, channels: int, compute: Modulation) -> None:
        super().__init__()
        self.affine = EqualLinear(style, into, start=1.0)
        self.convolve = Modulated(into, channels, 1, demodulated=False, compute=compute)
        self.bias = Bias(channels)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return self.bias(self.convolve(x, self.affine(w)))


class Skip(Network):
    """A layer at the coarsest size, two at every other; what each size shows is doubled and added to the next."""

    def __init__(self, style: int, sizes: Sizes, widths: list[int], channels: int, compute: Modulation) -> None:
        super().__init__()
        self.start = Start(widths[-1], sizes[-1])
        self.convolutions = nn.ModuleList([StyledLayer(style, widths[-1], widths[-1], sizes[-1], False, compute)])
        self.shows = nn.ModuleList([ToPicture(style, widths[-1], channels, compute)])
        for (_, size), wide, narrow in zip(doublings(sizes), reversed(widths[1:]), reversed(widths[:-1]), strict=True):
            self.convolutions.append(StyledLayer(style, wide, narrow, size, True, compute))
            self.convolutions.append(StyledLayer(style, narrow, narrow, size, False, compute))
            self.shows.append(ToPicture(style, narrow, channels, compute))
        # each size's picture shares its style with the layer after it (Karras et al.'s code); the last has its own
        self.layers = len(self.convolutions) + 1
        self.sizes = list(reversed(sizes))

    def forward(self, w: Float[Tensor, "b layers width"], noise: Noise) -> Float[Tensor, "b c h w"]:
        x = self.convolutions[0](self.start(w.shape[0]), w[:, 0], noise, 0)
        shown = self.shows[0](x, w[:, 1])
        for i in range(1, len(self.shows)):
            x = self.convolutions[2 * i - 1](x, w[:, 2 * i - 1], noise, 2 * i - 1)
            x = self.convolutions[2 * i](x, w[:, 2 * i], noise, 2 * i)
            height, width = self.sizes[i]
            shown = doubled(shown)[:, :, :height, :width] + self.shows[i](x, w[:, 2 * i + 1])
        return shown

    def heard_by(self) -> list[Tensor]:
        """Each layer's weights, and those of the picture that shares its style."""
        layers: Any = self.convolutions
        shows: Any = self.shows
        found: list[list[Tensor]] = [*([layer.affine.weight] for layer in layers), []]
        for i, show in enumerate(shows):
            found[2 * i + 1].append(show.affine.weight)
        return [torch.cat(rows) for rows in found]


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """Karras et al. 2019, figure 1b: adaptive instance norm after every convolution, all of it at once (not grown)."""

    def build(self, style: int, sizes: Sizes, widths: list[int], channels: int) -> Network:
        """The network."""
        return Normed(style, sizes, widths, channels)


class AdaptiveNorm(nn.Module):
    """y_s (x - mean) / deviation + y_b, over each example's channels: Karras et al. 2019, eq. 1."""

    def __init__(self, style: int, channels: int) -> None:
        super().__init__()
        self.affine = EqualLinear(style, 2 * channels)

    def forward(self, x: Float[Tensor, "b c h w"], w: Float[Tensor, "b width"]) -> Float[Tensor, "b c h w"]:
        scale, shift = self.affine(w)[:, :, None, None].chunk(2, dim=1)
        x = x - x.mean((2, 3), keepdim=True)
        x = x * (x.square().mean((2, 3), keepdim=True) + 1e-8).rsqrt()
        return x * (scale + 1) + shift  # appendix C: scales start at 1


class Normed(Network):
    """Two styles a size: after the doubled (or learned) picture's layer, and after one more."""

    def __init__(self, style: int, sizes: Sizes, widths: list[int], channels: int) -> None:
        super().__init__()
        self.start = Start(widths[-1], sizes[-1])
        self.sizes = list(reversed(sizes))
        wide = [widths[-1], *reversed(widths)]
        # the coarsest size starts from what was learnt instead of a convolution
        self.convolutions = nn.ModuleList([nn.Identity(), EqualConv(wide[1], wide[1], 3, bias=False)])
        for into, out in pairwise(wide[1:]):
            self.convolutions.extend([EqualConv(into, out, 3, bias=False), EqualConv(out, out, 3, bias=False)])
        each = [n for n in wide[1:] for _ in range(2)]
        self.noises = nn.ModuleList([NoiseInput(n) for n in each])
        self.biases = nn.ModuleList([Bias(n) for n in each])
        self.norms = nn.ModuleList([AdaptiveNorm(style, n) for n in each])
        self.show = EqualConv(wide[-1], channels, 1)
        self.layers = len(self.norms)

    def forward(self, w: Float[Tensor, "b layers width"], noise: Noise) -> Float[Tensor, "b c h w"]:
        x = self.start(w.shape[0])
        for i, (convolve, add, bias, norm) in enumerate(
            zip(self.convolutions, self.noises, self.biases, self.norms, strict=True)
        ):
            if i % 2 == 0 and i > 0:
                height, width = self.sizes[i // 2]
                x = doubled(x)[:, :, :height, :width]
            x = norm(leaky(bias(add(convolve(x), noise(i, x)))), w[:, i])
        return self.show(x)

    def heard_by(self) -> list[Tensor]:
        """Each layer's weights."""
        norms: Any = self.norms
        return [norm.affine.weight for norm in norms]
