"""Glow: Generative flow with invertible 1x1 convolutions, Kingma & Dhariwal 2018.

A picture is squeezed (2 x 2 pixels become one of four times the channels), goes through steps of act-norm, an
invertible 1x1 convolution and an affine coupling, half of the channels are split off as a code, and so on at the next
coarser level (figure 2). The whole is a bijection z = f(u), and log p(u) = log N(z; 0, I) + log |det df/du|, in which
every log-determinant is a sum. It is trained on, and scores, pictures spread over the cells of their levels: its
bits per dim are those of the discrete data, an upper bound. It samples in one pass.

What differs from the paper: split-off codes are standardised given what is kept, so that all codes are N(0, I) a
priori; log-scales lie softly in (-2, 2), so that no picture makes them overflow; the class enters every coupling; a
side that is odd loses its last row or column to the codes before it is squeezed, so that every size from 2 x 2 will do.

What it cannot do: score pictures of which parts are unknown. Global structure is learnt late: couplings are local.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from simulacra.core import across
from simulacra.core.batch import Batch, Data, Loss, Values
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.core.turns import Player, Turn
from simulacra.nets.dequantise import Chart, by_range
from simulacra.nets.initialise import he_normal, initialise
from simulacra.nets.invertible import ActNorm, Coupling, Fringe, Mixing, Split, Squeeze
from simulacra.nets.picture_flow import Cells, Dequantise, PictureFlow, picture_shape, uniformly


@dataclass(frozen=True, kw_only=True)
class GlowConfig:
    """A Glow.

    levels      resolutions, L in the paper; fewer where a picture cannot be halved as often.
    steps       of act-norm, 1x1 convolution and coupling at each of them, K in the paper.
    width       channels of the couplings' networks.
    dequantise  how pictures are spread over their cells: ``uniformly``, ``Variational`` ...
    chart       from the field's range onto the line (``nets.dequantise``).
    """

    levels: int = 3
    steps: int = 8
    width: int = 64
    dequantise: Dequantise = uniformly
    chart: Callable[[Continuous], Chart] = by_range
    optimiser: Optimiser = field(default_factory=lambda: AdamW(lr=1e-3, schedule=Warmup(steps=100, decay=0.5)))

    def __post_init__(self) -> None:
        if min(self.levels, self.steps, self.width) < 1:
            raise ValueError(
                f"levels, steps and width must be at least 1; got {self.levels}, {self.steps} and {self.width}"
            )


class Pyramid(nn.Module):
    """The bijection: pictures (b, c, h, w) to codes (b, c h w), finest first. Inside, channels come last.

    Raises ValueError for pictures less than 2 pixels high or wide.
    """

    def __init__(self, shape: tuple[int, int, int], given: int, config: GlowConfig) -> None:
        super().__init__()
        c, h, w = shape
        if min(h, w) < 2:
            raise ValueError(f"a Glow needs pictures of at least 2 x 2 pixels; got {h} x {w}")
        layers: list[nn.Module] = []
        self.sizes: list[int] = []  # of the codes, in the order they are split off
        levels = min(config.levels, int(math.log2(min(h, w))))
        for level in range(levels):
            if h % 2 or w % 2:
                layers.append(Fringe((h, w), c, given, config.width))
                self.sizes.append((h * w - h // 2 * 2 * (w // 2 * 2)) * c)
            layers.append(Squeeze())
            c, h, w = 4 * c, h // 2, w // 2
            for _ in range(config.steps):
                layers += [ActNorm(c), Mixing(c), Coupling(c, config.width, given)]
            if level < levels - 1:
                layers.append(Split(c, given, config.width))
                c //= 2
                self.sizes.append(c * h * w)
        self.layers = nn.ModuleList(layers)
        self.coarsest = (h, w, c)
        self.sizes.append(c * h * w)

    def forward(self, u: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
        """u (b, c, h, w) -> z (b, c h w), log |det dz/du| (b,)."""
        x, codes, log_det = u.permute(0, 2, 3, 1), list[Tensor](), u.new_zeros(len(u))
        for layer in self.layers:
            if isinstance(layer, (Split, Fringe)):
                x, code, part = layer(x, given)
                codes.append(code)
            else:
                x, part = layer(x, given)
            log_det = log_det + part
        return torch.cat([*codes, x.flatten(1)], dim=1), log_det

    def inverse(self, z: Tensor, given: Tensor | None) -> Tensor:
        """z (b, c h w) -> u (b, c, h, w)."""
        *codes, last = z.split(self.sizes, dim=1)
        x = last.unflatten(1, self.coarsest)
        for layer in reversed(self.layers):
            undo: Any = layer.inverse
            x = undo(x, codes.pop(), given) if isinstance(layer, (Split, Fringe)) else undo(x, given)
        return x.permute(0, 3, 1, 2)

    @torch.no_grad()
    def standardise(self, u: Tensor, given: Tensor | None) -> None:
        """Let every act-norm start from what a batch looks like where it stands (section 3.1)."""
        hooks = [layer.register_forward_pre_hook(_start) for layer in self.layers if isinstance(layer, ActNorm)]
        self(u, given)
        for hook in hooks:
            hook.remove()


def _start(norm: ActNorm, seen: tuple[Any, ...]) -> None:
    norm.standardise(seen[0])


class Glow(nn.Module):
    """p(x | y), a multi-scale flow; p(y) is counted."""

    prepared: Tensor

    def __init__(self, config: GlowConfig, space: Space, rng: Rng | int = 0) -> None:
        super().__init__()
        self.config, self.space = config, space
        classes = len(space.y) if isinstance(space.y, Classes) else 0
        pyramid = Pyramid(picture_shape(space, "a Glow"), classes, config)
        self.flow = PictureFlow(space, pyramid, user="a Glow", dequantise=config.dequantise, chart=config.chart)
        self.latent = self.flow.latent
        # how many examples act-norm has started from: 0 until the first batch
        self.register_buffer("prepared", torch.zeros((), dtype=torch.int64))
        self._seen_prepared = False
        initialise(self, Rng.of(rng)("weights"), linear=he_normal(0.0))

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, data: Data) -> None:
        """Learn the labels' marginal."""
        self.flow.fit(data)

    def players(self) -> Mapping[str, Player]:
        return {"glow": Player(module=self, optimiser=self.config.optimiser)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="glow", player="glow", loss=self.loss)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """Minus the log-likelihood of each picture, nats; terms: bits per dim. The first batch starts act-norm."""
        given = self.flow.given(batch.y if self.flow.classes is not None else None)
        if not self._is_prepared():
            self._prepare(batch, given, rng)
        nats = self.flow.score(batch.x, given, rng)
        return Loss.of(-nats, bits_per_dim=-nats / (self.space.size * math.log(2)))

    def _is_prepared(self) -> bool:
        # the buffer is looked at until it says yes and never again: looking makes a device wait
        self._seen_prepared = self._seen_prepared or bool(self.prepared)
        return self._seen_prepared

    @torch.no_grad()
    def _prepare(self, batch: Batch, given: Tensor | None, rng: Rng) -> None:
        v, _ = self.flow.reals.spread(batch.x, rng("dequantise"), self.flow.dequantiser)
        self.flow.bijection.standardise(self.flow.reals.inward(v)[0], given)
        self.prepared.fill_(len(batch) * across.processes())

    # -- drawing and scoring ----------------------------------------------------------------------------------------

    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int, temperature: float = 1.0) -> Batch:
        """n pictures; y (n,) classes, None: drawn from their learned marginal.

        temperature  standard deviation of the codes; the paper draws its pictures at 0.7, more typical, less varied.
        """
        return self.flow.sample(n, y=y, rng=rng, temperature=temperature)

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,)."""
        return self.flow.labels.log_prob()

    def log_likelihood(
        self,
        x: Values,
        *,
        y: Values | None = None,
        known: Values | None = None,
        length: Tensor | None = None,
        rng: Rng | int | None = None,
        k: int = 1,
    ) -> LogLikelihood:
        """log p(x | y), without y log p(x), nats (b,); a bound that k draws from the cells tighten."""
        return self.flow.log_likelihood(x, y=y, known=known, length=length, rng=rng, k=k)

    # -- codes ------------------------------------------------------------------------------------------------------

    def to_latent(self, x: Values, *, y: Values | None = None) -> tuple[Tensor, Tensor]:
        """Points (b, c, h, w) -> codes (b, c h w) and log |det dz/dx|, nats (b,)."""
        return self.flow.to_latent(x, y=y)

    def from_latent(self, z: Tensor, *, y: Values | None = None) -> Values:
        """Codes -> points, neither rounded nor cut to the range."""
        return self.flow.from_latent(z, y=y)

    def encode(self, x: Values, *, y: Values | None = None) -> Tensor:
        """The code of the middle of each picture's cell, (b, c h w)."""
        return self.flow.encode(x, y=y)

    def decode(self, z: Tensor, *, y: Values | None = None) -> Values:
        """The picture each code stands for, inside the range, not rounded; differentiable."""
        return self.flow.decode(z, y=y)

    def posterior(self, x: Values, *, y: Values | None = None) -> Cells:
        """The codes of all that lies in each picture's cell."""
        return self.flow.posterior(x, y=y)
