"""Convolutions whose input channels are scaled by a style, each example's own: Karras et al. 2020, section 2.2.

Two ways to compute the same: scale the picture, convolve all of a batch with the one filter, scale what comes out; or
give each example a filter of its own and convolve in groups, one an example. Both are functions, handed over.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.core.randomness import Rng
from simulacra.nets.resample import channels_last, padded_blur

EPS = 1e-8  # Karras et al. 2020, eq. 3
Noise = Callable[[int, Tensor], Tensor]  # (number of the layer, x (b, c, h, w)) -> noise (b, 1, h, w)
# x (b, into, h, w), weight (out, into, k, k), style (b, into), demodulated or not, doubling or not -> (b, out, ...)
Modulation = Callable[[Tensor, Tensor, Tensor, bool, bool], Tensor]


def demodulation(weight: Float[Tensor, "out into k k"], style: Float[Tensor, "b into"]) -> Float[Tensor, "b out"]:
    """1 / norm of each example's filters: sqrt of (sum_ik (w_oik s_i)^2 + eps), Karras et al. 2020, eq. 3."""
    return (style.square() @ weight.square().sum((2, 3)).T + EPS).rsqrt()


def scaled(x: Tensor, weight: Tensor, style: Tensor, demodulated: bool, doubling: bool) -> Tensor:
    """Scale, convolve, scale: one filter for the whole batch."""
    x = channels_last(x) * style[:, :, None, None]
    same = weight.shape[-1] // 2
    x = (
        blurred(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        if doubling
        else F.conv2d(x, weight, padding=same)
    )
    return x * demodulation(weight, style)[:, :, None, None] if demodulated else x


def grouped(x: Tensor, weight: Tensor, style: Tensor, demodulated: bool, doubling: bool) -> Tensor:
    """A filter an example, all of them in one convolution of as many groups."""
    own = weight * style[:, None, :, None, None]  # (b, out, into, k, k)
    if demodulated:
        own = own * demodulation(weight, style)[:, :, None, None, None]
    b, out, into, k, _ = own.shape
    x = x.reshape(1, b * into, *x.shape[2:])
    if doubling:
        x = F.conv_transpose2d(x, own.transpose(1, 2).reshape(b * into, out, k, k), stride=2, groups=b)
        return blurred(x.reshape(b, out, *x.shape[2:]))
    x = F.conv2d(x, own.reshape(b * out, into, k, k), padding=k // 2, groups=b)
    return x.reshape(b, out, *x.shape[2:])


def by_device(x: Tensor, weight: Tensor, style: Tensor, demodulated: bool, doubling: bool) -> Tensor:
    """``scaled`` on a CPU, where it is the faster wherever filters are many (measured: bench/notes.md).

    Elsewhere ``grouped`` for up to 16 pictures without gradients, as Karras et al.'s own code draws; that was not
    measured here.
    """
    small = x.device.type != "cpu" and not torch.is_grad_enabled() and len(x) <= 16
    return (grouped if small else scaled)(x, weight, style, demodulated, doubling)


class Modulated(nn.Module):
    """(x (b, into, h, w), style (b, into)) -> (b, out, h, w), or twice the size.

    The filter's weights are N(0, 1) times 1 / sqrt(into k^2) (``nets.equalised``); after demodulation that is lost.
    """

    def __init__(
        self,
        into: int,
        out: int,
        kernel: int,
        *,
        demodulated: bool = True,
        doubling: bool = False,
        compute: Modulation = by_device,
    ) -> None:
        super().__init__()
        self.demodulated, self.doubling, self.compute = demodulated, doubling, compute
        self.gain = 1 / math.sqrt(into * kernel**2)
        self.weight = nn.Parameter(torch.empty(out, into, kernel, kernel))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Weights N(0, 1)."""
        self.weight.copy_(rng("weight").normal((len(self.weight), self.weight[0].numel())).reshape(self.weight.shape))

    def forward(self, x: Float[Tensor, "b into h w"], style: Float[Tensor, "b into"]) -> Float[Tensor, "b out h2 w2"]:
        return self.compute(x, self.weight * self.gain, style, self.demodulated, self.doubling)


class NoiseInput(nn.Module):
    """x plus one picture of noise an example, as loud as learnt: one number a layer, or one a channel; 0 at first."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(channels))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Silence."""
        self.strength.zero_()

    def forward(self, x: Float[Tensor, "b c h w"], noise: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b c h w"]:
        return x + noise * self.strength[:, None, None]


def drawn(rng: Rng) -> Noise:
    """New noise for every example."""

    def noise(layer: int, x: Tensor) -> Tensor:
        return rng("noise", layer).normal((len(x), 1, *x.shape[2:]), dtype=x.dtype, device=x.device)

    return noise


def fixed(layer: int, x: Tensor) -> Tensor:
    """The same noise for all examples, whenever it is asked for."""
    one = Rng(0, ("fixed noise", layer)).normal((1, 1, *x.shape[2:]), dtype=x.dtype)
    return one.to(x.device).expand(x.shape[0], -1, -1, -1)  # not len(x): it would fix the batch of a graph


def blurred(x: Tensor) -> Tensor:
    """2n + 1 places of a doubling convolution, filtered to 2n; four times, for three of four places were zeros."""
    return padded_blur(x, (1, 1), (1, 1), gain=4.0)
