"""Layers whose weights start as N(0, 1) and are scaled as they are used, so that all learn at one rate.

Karras et al. 2018, "Progressive growing of GANs", section 4.1: dividing by He's constant at run time instead of at the
start leaves Adam, which moves every weight by as much, with steps in proportion to each layer's range.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.core import across
from simulacra.core.randomness import Rng
from simulacra.nets.resample import TAPS, filtered_down, padded_blur

LEAK = 0.2  # slope of the leaky ReLU, Karras et al. 2018, appendix A.1
LOUD = math.sqrt(2)  # Karras et al. 2020, figure 2: what keeps the variance through a leaky ReLU


def leaky(x: Tensor) -> Tensor:
    """The leaky ReLU, times sqrt(2): about as loud as what went in."""
    return F.leaky_relu(x, LEAK) * LOUD


class EqualLinear(nn.Module):
    """x (..., into) -> (..., out): (w gain) x + b rate, gain = rate / sqrt(into).

    rate   how much slower than other layers this one learns (Karras et al. 2019, appendix C: 0.01 for the mapping).
    start  where the bias begins; None: no bias.
    """

    def __init__(self, into: int, out: int, *, rate: float = 1.0, start: float | None = 0.0) -> None:
        super().__init__()
        self.rate, self.gain, self.start = rate, rate / math.sqrt(into), start
        self.weight = nn.Parameter(torch.empty(out, into))
        self.bias = None if start is None else nn.Parameter(torch.empty(out))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Weights N(0, 1 / rate^2), so that they come out as He's."""
        self.weight.copy_(rng("weight").normal(self.weight.shape) / self.rate)
        if self.bias is not None and self.start is not None:
            self.bias.fill_(self.start / self.rate)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.gain, None if self.bias is None else self.bias * self.rate)


class EqualConv(nn.Module):
    """x (b, into, h, w) -> (b, out, h, w): (w gain) * x + b, gain = 1 / sqrt(into kernel^2); an odd kernel."""

    def __init__(self, into: int, out: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__()
        self.kernel, self.gain = kernel, 1 / math.sqrt(into * kernel**2)
        self.weight = nn.Parameter(torch.empty(out, into, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(out)) if bias else None

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Weights N(0, 1), bias zero."""
        self.weight.copy_(rng("weight").normal((len(self.weight), self.weight[0].numel())).reshape(self.weight.shape))
        if self.bias is not None:
            self.bias.zero_()

    def forward(self, x: Float[Tensor, "b into h w"]) -> Float[Tensor, "b out h w"]:
        return F.conv2d(x, self.weight * self.gain, self.bias, padding=self.kernel // 2)


class EqualDown(EqualConv):
    """The same at half the size, rounded up: low-passed, then every second place (Karras et al. 2020, appendix B)."""

    def forward(self, x: Float[Tensor, "b into h w"]) -> Float[Tensor, "b out h2 w2"]:
        if self.kernel == 1:
            return F.conv2d(filtered_down(x), self.weight * self.gain, self.bias)
        around = self.kernel // 2 + (len(TAPS) - 1) // 2
        even = [(2 * ((n + 1) // 2) - n) for n in x.shape[2:]]
        x = padded_blur(x, (around, around + even[0]), (around, around + even[1]))
        return F.conv2d(x, self.weight * self.gain, self.bias, stride=2)


class Deviation(nn.Module):
    """(b, c, ...) -> (b, c + 1, ...): beside x the mean standard deviation within groups of the batch.

    Karras et al. 2018, section 3: a generator that shows the same thing again and again is seen through. Groups are of
    ``group`` examples, or the nearest number above 1 that divides the batch; the variance is over the group, 1e-8 added
    to it, and the deviation's mean over channels and places is one number a group. Groups reach over processes. In
    evaluation mode an example stands alone: it is given what groups had on average.
    """

    typical: Tensor

    def __init__(self, group: int = 4, *, momentum: float = 0.1) -> None:
        super().__init__()
        if group < 2:
            raise ValueError(f"a deviation is taken over groups of at least 2 examples; got {group}")
        self.group, self.momentum, self.held = group, momentum, False
        self.register_buffer("typical", torch.ones(()))

    def initialise(self, rng: Rng) -> None:
        """Nothing is drawn; groups are taken to deviate by 1 until one was seen."""
        self.typical.fill_(1.0)

    def forward(self, x: Float[Tensor, "b c *places"]) -> Float[Tensor, "b c1 *places"]:
        each = self.each(x) if self.training else self.typical.to(x).expand(len(x))
        if self.training and not self.held:
            with torch.no_grad():
                self.typical.lerp_(across.mean(each.detach().mean()).to(self.typical), self.momentum)
        return torch.cat([x, each.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1)).expand(-1, 1, *x.shape[2:])], dim=1)

    def each(self, x: Float[Tensor, "b c *places"]) -> Float[Tensor, " b"]:
        """The deviation of each example's group."""
        whole = across.gather(x if x.dtype == torch.float64 else x.float())
        divisors = [g for g in range(2, len(whole) + 1) if len(whole) % g == 0]
        n = min(divisors, key=lambda g: abs(g - self.group), default=1)
        groups = whole.reshape(-1, n, *whole.shape[1:])
        deviation = (groups.var(1, correction=0) + 1e-8).sqrt().flatten(1).mean(1)
        first = across.rank() * len(x)
        return deviation.repeat_interleave(n)[first : first + len(x)]
