"""The networks of a ladder of latent groups over grids: convolutions upwards, and groups on the way down.

A flat vector is a grid of one place. Resolutions are numbered from the finest, which has half the sides of the grid
itself: at full size blocks would cost the most and tell the least.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.mathematics.divergences import log_normal
from simulacra.nets.backbones import Activation
from simulacra.nets.initialise import fan_in_uniform

REACH = 5.0  # log scales lie within it: exp(5) and its inverse are more than any latent needs


@dataclass(frozen=True)
class Stage:
    """One resolution: its channels and sides."""

    channels: int
    height: int
    width: int

    @property
    def kernel(self) -> int:
        """Of its convolutions: a grid of one place has no neighbours to look at."""
        return 1 if self.height == self.width == 1 else 3


def stages(height: int, width: int, channels: Sequence[int]) -> list[Stage]:
    """The resolutions of a grid, finest first: sides halved each time, odd ones rounded up."""
    found: list[Stage] = []
    for c in channels:
        height, width = (height + 1) // 2, (width + 1) // 2
        found.append(Stage(c, height, width))
    return found


class Quiet(nn.Conv2d):
    """A convolution over channels, its first weights times a factor: 0 for a branch that begins silent."""

    def __init__(self, into: int, out: int, factor: float) -> None:
        super().__init__(into, out, 1)
        self.factor = factor

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Weights as everywhere, times the factor; biases zero."""
        self.weight.copy_(self.factor * fan_in_uniform(self.weight, rng("weight")))
        assert self.bias is not None
        self.bias.zero_()


class Block(nn.Module):
    """A convolution over neighbours and one over channels, each of an activation: (b, into, h, w) -> (b, out, h, w)."""

    def __init__(self, into: int, out: int, stage: Stage, activation: Activation, *, factor: float = 1.0) -> None:
        super().__init__()
        k = stage.kernel
        self.act, self.second_act = activation(), activation()
        self.first = nn.Conv2d(into, stage.channels, k, padding=k // 2)
        self.second = Quiet(stage.channels, out, factor)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.second_act(self.first(self.act(x))))


class Upwards(nn.Module):
    """The encoder: (b, c, h, w) and what is given -> its features at every resolution, finest first."""

    def __init__(
        self, shape: Sequence[int], given: int, levels: Sequence[Stage], blocks: int, activation: Activation
    ) -> None:
        super().__init__()
        channels, height, width = shape
        self.down, self.blocks = nn.ModuleList(), nn.ModuleList()
        for stage in levels:
            k = 1 if height == width == 1 else 3
            self.down.append(nn.Conv2d(channels, stage.channels, k, stride=1 if k == 1 else 2, padding=k // 2))
            self.blocks.append(nn.ModuleList(Block(stage.channels, stage.channels, stage, activation)
                                             for _ in range(blocks)))  # fmt: skip
            channels, height, width = stage.channels, stage.height, stage.width
        self.given = nn.Linear(given, levels[0].channels, bias=False) if given else None

    def forward(self, x: Tensor, given: Tensor | None) -> list[Tensor]:
        found: list[Tensor] = []
        for down, blocks in zip(self.down, self.blocks, strict=True):
            x = down(x)
            if not found and self.given is not None:
                x = x + self.given(given)[:, :, None, None]
            for block in blocks:  # pyright: ignore[reportGeneralTypeIssues]
                x = x + block(x)
            found.append(x)
        return found


class Group(nn.Module):
    """One latent group: its prior given the state h, its posterior given h and the data, and how h takes z in.

    h' = h + features(h) + W z, then a residual block (the top-down block of Child 2021, figure 3).
    Before training the prior is N(0, I).
    """

    def __init__(self, stage: Stage, latent: int, activation: Activation, factor: float) -> None:
        super().__init__()
        c, k = stage.channels, stage.kernel
        self.latent = latent
        self.prior = Block(c, 2 * latent + c, stage, activation, factor=0.0)
        # the first convolution of (h, data), its halves apart: the data's is computed once for many draws
        self.act, self.data_act = activation(), activation()
        self.from_state = nn.Conv2d(c, c, k, padding=k // 2)
        self.from_data = nn.Conv2d(c, c, 1, bias=False)
        self.posterior = nn.Sequential(activation(), Quiet(c, 2 * latent, 0.1))
        self.into = nn.Conv2d(latent, c, 1)
        self.after = Block(c, c, stage, activation, factor=factor)

    def data(self, features: Tensor) -> Tensor:
        """The data's share in the posterior, from the encoder's features of this resolution."""
        return self.from_data(self.data_act(features))

    def p(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and log scale of p(z | h), and the features that h gains."""
        mean, raw, features = self.prior(h).split([self.latent, self.latent, h.shape[1]], dim=1)
        return wide(mean), bounded(wide(raw)), features

    def q(self, h: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log scale of q(z | h, x); rows of h are those of the data, again and again for several draws."""
        both = (self.from_state(self.act(h)).unflatten(0, (-1, len(data))) + data).flatten(0, 1)
        mean, raw = self.posterior(both).chunk(2, dim=1)
        return wide(mean), bounded(wide(raw))

    def take(self, h: Tensor, features: Tensor, z: Tensor) -> Tensor:
        """The state after z is decided."""
        h = h + features + self.into(z)
        return h + self.after(h)


class Start(nn.Module):
    """The state above the first group, or what a finer resolution adds: a learned picture, and what is given."""

    def __init__(self, stage: Stage, given: int = 0) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(1, stage.channels, stage.height, stage.width))
        self.given = nn.Linear(given, stage.channels, bias=False) if given else None

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Zero."""
        self.bias.zero_()

    def forward(self, n: int, given: Tensor | None) -> Tensor:
        h = self.bias.expand(n, -1, -1, -1)
        return h if self.given is None else h + self.given(given)[:, :, None, None]


class Finer(nn.Module):
    """From one resolution to the next finer one: channels mixed, sides doubled, an odd one cut, a picture added."""

    def __init__(self, coarse: Stage, fine: Stage) -> None:
        super().__init__()
        self.mix = nn.Conv2d(coarse.channels, fine.channels, 1)
        self.same = (coarse.height, coarse.width) == (fine.height, fine.width)
        self.start = Start(fine)
        self.fine = fine

    def forward(self, h: Tensor) -> Tensor:
        h = self.mix(h)
        if not self.same:
            h = F.interpolate(h, scale_factor=2.0, mode="nearest")[:, :, : self.fine.height, : self.fine.width]
        return h + self.start(h.shape[0], None)


class Finish(nn.Module):
    """From the finest state to raw outputs at the grid's own size, each place putting out four (Shi et al. 2016)."""

    def __init__(self, stage: Stage, shape: Sequence[int], activation: Activation) -> None:
        super().__init__()
        outputs, self.height, self.width = shape
        k = stage.kernel
        self.whole = self.height == self.width == 1
        self.act = activation()
        self.out = nn.Conv2d(stage.channels, outputs if self.whole else 4 * outputs, k, padding=k // 2)

    def forward(self, h: Tensor) -> Tensor:
        raw = self.out(self.act(h))
        return raw if self.whole else F.pixel_shuffle(raw, 2)[:, :, : self.height, : self.width]


# (number of the group, mean and log scale of its prior, state) -> its z
Choose = Callable[[int, Tensor, Tensor, Tensor], Tensor]
# (number of the group, mean and log scale of its posterior in standardised units) -> its standardised z
Pick = Callable[[int, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Walked:
    """A way down beside data: raw outputs (n, c, h, w), standardised codes (n, size), log q(code | x), nats (n,)."""

    raw: Tensor
    code: Tensor
    log_q: Tensor


class Downwards(nn.Module):
    """The decoder: latent groups from the coarsest resolution to the finest, then raw outputs.

    levels  resolutions, finest first; groups, the number of groups at each; latent, the channels of each.
    outputs (c, h, w) of what is put out; given, the size of what is given beside the code.

    shapes  of the groups' latents, (channels, h, w) each; size, their elements together.
    """

    def __init__(
        self,
        outputs: Sequence[int],
        given: int,
        levels: Sequence[Stage],
        groups: Sequence[int],
        latent: int,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.start = Start(levels[-1], given)
        self.groups, self.finer = nn.ModuleList(), nn.ModuleDict()
        self.levels = [i for i in reversed(range(len(levels))) for _ in range(groups[i])]
        for i in self.levels:
            # Child 2021, section 3.1: residual branches begin at 1 / sqrt(their number)
            self.groups.append(Group(levels[i], latent, activation, 1 / math.sqrt(sum(groups))))
        for i in reversed(range(1, len(levels))):
            self.finer[str(i - 1)] = Finer(levels[i], levels[i - 1])
        self.coarsest = len(levels) - 1
        self.out = Finish(levels[0], outputs, activation)
        self.shapes = [(latent, levels[i].height, levels[i].width) for i in self.levels]
        self.size = sum(map(math.prod, self.shapes))

    def group(self, j: int) -> Group:
        """Group j, counted from the coarsest."""
        return self.groups[j]  # type: ignore[return-value]

    def data(self, features: Sequence[Tensor]) -> list[Tensor]:
        """What the data says to each group's posterior, from the encoder's features at every resolution."""
        return [self.group(j).data(features[level]) for j, level in enumerate(self.levels)]

    def descend(self, n: int, given: Tensor | None, choose: Choose) -> Tensor:
        """Raw outputs of n codes whose groups are chosen one after another."""
        h, level = self.start(n, given), self.coarsest
        for j, here in enumerate([*self.levels, 0]):
            while level > here:
                level -= 1
                h = self.finer[str(level)](h)
            if j < len(self.groups):
                mean, log_scale, features = self.group(j).p(h)
                h = self.group(j).take(h, features, choose(j, mean, log_scale, h))
        return self.out(h)

    def decode(self, code: Tensor, given: Tensor | None) -> Tensor:
        """Raw outputs of standardised codes (n, size): z = mean + scale * code in every group."""
        parts = self.parts(code)
        return self.descend(code.shape[0], given, lambda j, mean, log_scale, h: mean + log_scale.exp() * parts[j])

    def through(self, data: Sequence[Tensor], given: Tensor | None, pick: Pick, draws: int = 1) -> Walked:
        """The way down beside data, several draws of each example (rows: all examples, and again), picked from q.

        In standardised units q(z_l | z_<l, x) is N(m, s^2) with m = (mean_q - mean_p) / scale_p, s = scale_q / scale_p.
        """
        n = draws * len(data[0])
        codes, log_q = list[Tensor](), list[Tensor]()

        def choose(j: int, mean: Tensor, log_scale: Tensor, h: Tensor) -> Tensor:
            q_mean, q_log_scale = self.group(j).q(h, data[j])
            m, s = (q_mean - mean) * torch.exp(-log_scale), q_log_scale - log_scale
            e = pick(j, m, s)
            codes.append(e.reshape(n, -1))
            log_q.append(log_normal(e, m, s).flatten(1).sum(1))
            return mean + log_scale.exp() * e

        raw = self.descend(n, None if given is None else given.repeat(draws, 1), choose)
        return Walked(raw, torch.cat(codes, 1), torch.stack(log_q).sum(0))

    def noise(self, j: int, b: int, rng: Rng, like: Tensor, draws: int = 1) -> Tensor:
        """Standard normal numbers for group j of several codes of each of b examples, (draws b, *shape).

        Rows of the random numbers are examples, so that none depends on how many are scored beside it. They lie
        channels last in memory, as the convolutions' outputs do.
        """
        channels, height, width = self.shapes[j]
        drawn = rng("z", j).normal((b, draws, height, width, channels), dtype=like.dtype, device=like.device)
        return drawn.transpose(0, 1).flatten(0, 1).permute(0, 3, 1, 2)

    def parts(self, code: Tensor) -> list[Tensor]:
        """Flat codes (n, size) as the groups' grids."""
        parts = code.split([math.prod(shape) for shape in self.shapes], dim=1)
        return [part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes, strict=True)]


def bounded(raw: Tensor) -> Tensor:
    """Log scales within (-5, 5), raw ones near zero as they are (a soft clamp, as in Vahdat & Kautz 2020's release)."""
    return REACH * torch.tanh(raw / REACH)


def wide(t: Tensor) -> Tensor:
    """At least float32: under autocast a network's outputs may be bfloat16."""
    return t.float() if t.dtype in (torch.bfloat16, torch.float16) else t


def as_grid(shape: Sequence[int]) -> tuple[int, int, int]:
    """The shape of a network's input or output as that of a grid; a vector is one of a single place.

    Raises ValueError for a sequence.
    """
    if len(shape) == 2:
        raise ValueError(
            "a ladder of latents works on grids and on flat vectors; this data is a sequence, use vae or transformer"
        )
    channels, height, width = (*shape, 1, 1)[:3]
    return channels, height, width
