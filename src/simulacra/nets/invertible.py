"""Layers that can be undone, of which flows for pictures are made: Kingma & Dhariwal 2018, "Glow", table 1.

Pictures are (b, h, w, c), channels last. A layer is (x, given) -> y and log |det dy/dx|, nats (b,), and its ``inverse``
takes y back; given is the class, one-hot (b, classes), or None. Those that take a code out of the picture,
``Split`` and ``Fringe``, are (x, given) -> what is kept, the code (b, d) and the log-determinant.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.core import across
from simulacra.core.randomness import Rng
from simulacra.nets.picture_flow import soft_clip

BOUND = 2.0  # of the log-scales
SMALLEST = 0.01  # deviation that act-norm starts from at least: a channel that never varies is not blown up


class ActNorm(nn.Module):
    """y = (x - shift) / scale for each channel (section 3.1); the identity until it is told otherwise."""

    whole = True  # written in place by what a batch looks like

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """The identity; nothing is drawn."""
        self.shift.zero_()
        self.log_scale.zero_()

    @torch.no_grad()
    def standardise(self, x: Tensor) -> None:
        """Make every channel of x (b, h, w, c), over all processes, come out with mean 0 and deviation 1."""
        values = across.gather(x).flatten(0, 2)
        self.shift.copy_(values.mean(0))
        self.log_scale.copy_(values.std(0, correction=0).clamp_min(SMALLEST).log())

    def forward(self, x: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
        log_det = -self.log_scale.sum() * (x.shape[1] * x.shape[2])
        return (x - self.shift) * torch.exp(-self.log_scale), log_det.expand(len(x))

    def inverse(self, y: Tensor, given: Tensor | None) -> Tensor:
        return y * torch.exp(self.log_scale) + self.shift


class Mixing(nn.Module):
    """y = W x at every pixel: an invertible 1x1 convolution, W = P L (U + diag(s)) (section 3.2, eq. 10).

    P is a permutation and stays as it was drawn, as do the signs of s; L is lower and U upper triangular with a unit
    and a zero diagonal. So log |det| costs a sum, and the inverse two triangular solves.
    """

    whole = True  # its inverse is no forward pass
    order: Tensor
    signs: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lower = nn.Parameter(torch.empty(channels, channels))
        self.upper = nn.Parameter(torch.empty(channels, channels))
        self.log_scale = nn.Parameter(torch.empty(channels))
        self.register_buffer("order", torch.arange(channels))
        self.register_buffer("signs", torch.ones(channels))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """A random rotation."""
        channels = len(self.signs)
        drawn = rng("rotation").normal((channels, channels), dtype=torch.float64)
        permutation, lower, upper = torch.linalg.lu(torch.linalg.qr(drawn).Q)
        self.order.copy_(permutation.argmax(1))
        self.signs.copy_(upper.diagonal().sign())
        self.log_scale.copy_(upper.diagonal().abs().log())
        self.lower.copy_(lower.tril(-1))
        self.upper.copy_(upper.triu(1))

    def factors(self) -> tuple[Tensor, Tensor]:
        """L and U + diag(s)."""
        unit = torch.eye(len(self.signs), dtype=self.lower.dtype, device=self.lower.device)
        return self.lower.tril(-1) + unit, self.upper.triu(1) + torch.diag(self.signs * self.log_scale.exp())

    def forward(self, x: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
        # not under autocast: a bijection in bfloat16 would not be one
        with torch.autocast(x.device.type, enabled=False):
            lower, upper = self.factors()
            y = x @ (lower @ upper)[self.order].T
        return y, (self.log_scale.sum() * (x.shape[1] * x.shape[2])).expand(len(x))

    def inverse(self, y: Tensor, given: Tensor | None) -> Tensor:
        with torch.autocast(y.device.type, enabled=False):
            lower, upper = self.factors()
            unit = torch.eye(len(lower), dtype=y.dtype, device=y.device)
            inner = torch.linalg.solve_triangular(lower, unit, upper=False, unitriangular=True)
            inverse = torch.linalg.solve_triangular(upper, inner, upper=True)
            # W x = (L U x)[order], so undoing it begins with putting the channels back
            return y[..., self.order.argsort()] @ inverse.T


class ZeroConv(nn.Conv2d):
    """A 3x3 convolution that starts at zero: what it decides about starts as the identity (section 3.3)."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__(into, out, 3, padding=1)

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Zero; nothing is drawn."""
        self.weight.zero_()
        if self.bias is not None:
            self.bias.zero_()


class Affine(nn.Module):
    """A network (x (b, h, w, c), given (b, k) or None) -> shift and log-scale, (b, h, w, out) each."""

    def __init__(self, into: int, out: int, width: int, given: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(into, width, 3, padding=1)
        self.labels = nn.Linear(given, width, bias=False) if given else None
        self.second = nn.Conv2d(width, width, 1)
        self.last = ZeroConv(width, 2 * out)

    def forward(self, x: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
        h = self.first(x.permute(0, 3, 1, 2))
        if self.labels is not None:
            h = h + self.labels(given)[:, :, None, None]
        raw = self.last(F.relu(self.second(F.relu(h)))).permute(0, 2, 3, 1)
        shift, log_scale = raw.to(x.dtype).chunk(2, dim=-1)
        return shift, soft_clip(log_scale, BOUND)


class Coupling(nn.Module):
    """Half of the channels scaled and shifted as the other half says (section 3.3)."""

    def __init__(self, channels: int, width: int, given: int) -> None:
        super().__init__()
        self.affine = Affine(channels // 2, channels // 2, width, given)

    def forward(self, x: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
        kept, changed = x.chunk(2, dim=-1)
        shift, log_scale = self.affine(kept, given)
        return torch.cat([kept, (changed - shift) * torch.exp(-log_scale)], dim=-1), -log_scale.flatten(1).sum(1)

    def inverse(self, y: Tensor, given: Tensor | None) -> Tensor:
        kept, changed = y.chunk(2, dim=-1)
        shift, log_scale = self.affine(kept, given)
        return torch.cat([kept, changed * torch.exp(log_scale) + shift], dim=-1)


class Split(nn.Module):
    """Half of the channels become a code, standardised given the other half (Dinh et al. 2017, section 3.6)."""

    def __init__(self, channels: int, given: int, width: int) -> None:
        super().__init__()
        self.affine = Affine(channels // 2, channels // 2, width, given)

    def forward(self, x: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """(b, h, w, c) -> what is kept (b, h, w, c / 2), the code (b, h w c / 2) and the log-determinant (b,)."""
        kept, code = x.chunk(2, dim=-1)
        shift, log_scale = self.affine(kept, given)
        return kept, ((code - shift) * torch.exp(-log_scale)).flatten(1), -log_scale.flatten(1).sum(1)

    def inverse(self, kept: Tensor, code: Tensor, given: Tensor | None) -> Tensor:
        shift, log_scale = self.affine(kept, given)
        return torch.cat([kept, code.view_as(shift) * torch.exp(log_scale) + shift], dim=-1)


class Fringe(nn.Module):
    """The last row or column of an odd size becomes a code, standardised given the rest."""

    place: Tensor

    def __init__(self, size: tuple[int, int], channels: int, given: int, width: int) -> None:
        super().__init__()
        self.size, self.even = size, (size[0] // 2 * 2, size[1] // 2 * 2)
        self.affine = Affine(channels, channels, width, given)
        row, column = torch.arange(size[0])[:, None], torch.arange(size[1])
        outside = (row >= self.even[0]) | (column >= self.even[1])
        self.register_buffer("place", outside.flatten().nonzero().squeeze(1), persistent=False)

    def around(self, kept: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
        """Shift and log-scale of the fringe, (b, pixels, c) each, from the rest with zeros in its place."""
        padded = F.pad(kept, (0, 0, 0, self.size[1] - self.even[1], 0, self.size[0] - self.even[0]))
        shift, log_scale = self.affine(padded, given)
        return shift.flatten(1, 2)[:, self.place], log_scale.flatten(1, 2)[:, self.place]

    def forward(self, x: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """(b, h, w, c) -> what is kept, of even size, the code (b, pixels c) and the log-determinant (b,)."""
        kept, code = x[:, : self.even[0], : self.even[1]], x.flatten(1, 2)[:, self.place]
        shift, log_scale = self.around(kept, given)
        return kept, ((code - shift) * torch.exp(-log_scale)).flatten(1), -log_scale.flatten(1).sum(1)

    def inverse(self, kept: Tensor, code: Tensor, given: Tensor | None) -> Tensor:
        shift, log_scale = self.around(kept, given)
        fringe = code.view_as(shift) * torch.exp(log_scale) + shift
        padded = F.pad(kept, (0, 0, 0, self.size[1] - self.even[1], 0, self.size[0] - self.even[0]))
        return padded.flatten(1, 2).index_copy(1, self.place, fringe).unflatten(1, self.size)


class Squeeze(nn.Module):
    """2 x 2 pixels become one of four times the channels (Dinh et al. 2017, section 3.6)."""

    def forward(self, x: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
        b, h, w, c = x.shape
        y = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(2, 3).reshape(b, h // 2, w // 2, 4 * c)
        return y, x.new_zeros(b)

    def inverse(self, y: Tensor, given: Tensor | None) -> Tensor:
        b, h, w, c = y.shape
        return y.reshape(b, h, w, 2, 2, c // 4).transpose(2, 3).reshape(b, 2 * h, 2 * w, c // 4)
