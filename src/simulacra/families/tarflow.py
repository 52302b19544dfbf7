"""TarFlow: a transformer flow over the patches of a picture, Zhai et al. 2024 ("Normalizing Flows are Capable
Generative Models").

Patches are tokens x_1 .. x_T. A block shifts and scales each by what a causal transformer makes of those before it,

    z_t = (x_t - mu(x_<t)) exp(-alpha(x_<t))

and the next block goes through them the other way round, so that every patch comes to depend on every other. The
whole is a bijection with a triangular Jacobian, log |det| = - sum of the alphas: trained in one pass, undone patch by
patch, with the keys and values of the patches so far kept in a cache. With classes, some labels are left out in
training, and sampling can be guided: mu + w (mu - mu without the label), and alpha likewise.

What differs from the paper: a learnt first token stands before the first patch, so that it too is transformed; log-
scales lie softly in (-3, 3); pictures lie on a chart of their range (``nets.dequantise``), by default the logit.

With ``dequantise=Noisy(...)`` it learns pictures with Gaussian noise, as the paper does for what it shows, and
``sample`` takes the noise out by one step along the model's own score.

What it cannot do: score pictures of which parts are unknown. Sampling takes blocks x patches small steps in a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Loss, Values
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.core.turns import Player, Turn
from simulacra.nets.dequantise import Chart, by_range
from simulacra.nets.initialise import initialise
from simulacra.nets.picture_flow import Cells, Dequantise, PictureFlow, picture_shape, soft_clip, uniformly
from simulacra.nets.transformer import Cache, Positions, Transformer, learned

BOUND = 3.0  # of the log-scales


@dataclass(frozen=True, kw_only=True)
class TarFlowConfig:
    """A transformer flow.

    patch       side of the square patches; must divide the picture's. Smaller ones fit better and cost more.
    blocks      autoregressive transformations, alternating in direction.
    depth       layers of attention in each.
    width       of the tokens; heads of 64 dimensions, or one where it is smaller.
    unlabelled  share of the labels that training leaves out, so that ``sample`` can be guided; 0 where it never is.
    positions   ``learned`` or ``rotary`` (``nets.transformer``).
    dequantise  how pictures are spread over their cells: ``uniformly``, ``Variational`` or ``Noisy``.
    chart       from the field's range onto the line (``nets.dequantise``).
    """

    patch: int = 2
    blocks: int = 4
    depth: int = 2
    width: int = 128
    unlabelled: float = 0.1
    positions: Positions = learned
    dequantise: Dequantise = uniformly
    chart: Callable[[Continuous], Chart] = by_range
    optimiser: Optimiser = field(
        default_factory=lambda: AdamW(lr=1e-3, betas=(0.9, 0.95), schedule=Warmup(steps=100, decay=0.7))
    )

    def __post_init__(self) -> None:
        if min(self.patch, self.blocks, self.depth, self.width) < 1:
            sizes = (self.patch, self.blocks, self.depth, self.width)
            raise ValueError(f"patch, blocks, depth and width must be at least 1; got {sizes}")
        if not 0 <= self.unlabelled < 1:
            raise ValueError(f"unlabelled is a share of the labels, in [0, 1); got {self.unlabelled}")


class ZeroLinear(nn.Linear):
    """A linear layer that starts at zero, so that the transformation it decides about starts as the identity."""

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Zero; nothing is drawn."""
        self.weight.zero_()
        self.bias.zero_()


class Autoregression(nn.Module):
    """One block: tokens (b, t, d) to as many, each given those before it."""

    def __init__(self, tokens: int, size: int, given: int, config: TarFlowConfig) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.empty(config.width))
        self.inward = nn.Linear(size, config.width)
        self.labels = nn.Linear(given, config.width, bias=False) if given else None
        heads = max(1, config.width // 64)
        self.transformer = Transformer(
            config.width, config.depth, heads, tokens, causal=True, positions=config.positions
        )
        self.outward = ZeroLinear(config.width, 2 * size)

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """The first token is as large as the others."""
        self.first.copy_(rng("first").normal((len(self.first),)))

    def affine(
        self, before: Tensor | None, given: Tensor | None, rows: int, cache: Cache | None = None
    ) -> tuple[Tensor, Tensor]:
        """mu and alpha of the tokens that follow on the first one and those given, (b, t, d) each.

        before  tokens (b, t - 1, d) after the first; with a cache that has seen some, the next ones only (b, t, d).
        """
        parts = [] if cache is not None and cache.seen else [self.first.expand(rows, 1, -1)]
        if before is not None:
            parts.append(self.inward(before))
        h = torch.cat(parts, dim=1)
        if self.labels is not None:
            h = h + self.labels(given)[:, None]
        raw = self.outward(self.transformer(h, cache))
        mu, alpha = (raw if before is None else raw.to(before.dtype)).chunk(2, dim=-1)
        return mu, soft_clip(alpha, BOUND)

    def forward(self, x: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
        """z (b, t, d), and log |det dz/dx| (b,)."""
        mu, alpha = self.affine(x[:, :-1], given, len(x))
        return (x - mu) * torch.exp(-alpha), -alpha.flatten(1).sum(1)

    def inverse(self, z: Tensor, given: Tensor | None, guidance: float = 0.0) -> Tensor:
        """x (b, t, d), token by token; with guidance, as if the label had told that much more than it does."""
        guided = guidance != 0.0 and given is not None
        rows = len(z)
        if guided:
            assert given is not None
            given, rows = torch.cat([given, torch.zeros_like(given)]), 2 * rows
        cache, tokens = Cache(), list[Tensor]()
        for t in range(z.shape[1]):
            before = None if t == 0 else torch.cat([tokens[-1]] * 2) if guided else tokens[-1]
            mu, alpha = self.affine(before, given, rows, cache)
            if guided:
                (mu, free_mu), (alpha, free_alpha) = mu.chunk(2), alpha.chunk(2)
                mu, alpha = mu + guidance * (mu - free_mu), alpha + guidance * (alpha - free_alpha)
            tokens.append(z[:, t : t + 1] * torch.exp(alpha) + mu)
        return torch.cat(tokens, dim=1)


class Chain(nn.Module):
    """The bijection: pictures (b, c, h, w) to codes (b, c h w), by blocks that go to and fro over the patches.

    Raises ValueError where patches do not tile the picture, or one of them is all of it.
    """

    def __init__(self, shape: tuple[int, int, int], given: int, config: TarFlowConfig) -> None:
        super().__init__()
        c, h, w = shape
        p = config.patch
        if h % p or w % p or h * w <= p * p:
            raise ValueError(f"patch must divide both sides of the picture and be smaller; got {p} for {h} x {w}")
        self.shape, self.patch, self.tokens = shape, p, (h // p) * (w // p)
        self.blocks = nn.ModuleList(Autoregression(self.tokens, c * p * p, given, config) for _ in range(config.blocks))

    def patches(self, u: Tensor) -> Tensor:
        """(b, c, h, w) -> tokens (b, t, c p p), row by row."""
        c, h, w = self.shape
        p = self.patch
        return u.reshape(-1, c, h // p, p, w // p, p).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    def picture(self, tokens: Tensor) -> Tensor:
        """Tokens -> (b, c, h, w)."""
        c, h, w = self.shape
        p = self.patch
        return tokens.reshape(-1, h // p, w // p, c, p, p).permute(0, 3, 1, 4, 2, 5).reshape(-1, c, h, w)

    def forward(self, u: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
        """u (b, c, h, w) -> z (b, c h w), log |det dz/du| (b,)."""
        x, log_det = self.patches(u), u.new_zeros(len(u))
        for block in self.blocks:
            z, part = block(x, given)
            x, log_det = z.flip(1), log_det + part
        return x.flatten(1), log_det

    def inverse(self, z: Tensor, given: Tensor | None, guidance: float = 0.0) -> Tensor:
        """z (b, c h w) -> u (b, c, h, w)."""
        x = z.unflatten(1, (self.tokens, -1))
        for block in reversed(self.blocks):
            undo: Any = block.inverse
            x = undo(x.flip(1), given, guidance)
        return self.picture(x)


class TarFlow(nn.Module):
    """p(x | y), a flow of transformers; p(y) is counted."""

    def __init__(self, config: TarFlowConfig, space: Space, rng: Rng | int = 0) -> None:
        super().__init__()
        self.config, self.space = config, space
        classes = len(space.y) if isinstance(space.y, Classes) else 0
        chain = Chain(picture_shape(space, "a TarFlow"), classes, config)
        self.flow = PictureFlow(space, chain, user="a TarFlow", dequantise=config.dequantise, chart=config.chart)
        self.latent = self.flow.latent
        initialise(self, Rng.of(rng)("weights"))

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, data: Data) -> None:
        """Learn the labels' marginal."""
        self.flow.fit(data)

    def players(self) -> Mapping[str, Player]:
        return {"tarflow": Player(module=self, optimiser=self.config.optimiser)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="tarflow", player="tarflow", loss=self.loss)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """Minus the log-likelihood of each picture, some without their label, nats; terms: bits per dim."""
        given = self.flow.given(batch.y if self.flow.classes is not None else None)
        if given is not None and self.config.unlabelled:
            kept = rng("unlabelled").uniform((len(batch), 1), dtype=given.dtype, device=given.device)
            given = given * (kept >= self.config.unlabelled)
        nats = self.flow.score(batch.x, given, rng)
        return Loss.of(-nats, bits_per_dim=-nats / (self.space.size * math.log(2)))

    # -- drawing and scoring ----------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        y: Tensor | None = None,
        rng: Rng | int,
        temperature: float = 1.0,
        guidance: float = 0.0,
        denoise: float = 1.0,
    ) -> Batch:
        """n pictures; y (n,) classes, None: drawn from their learned marginal.

        temperature  standard deviation of the codes; below 1 more typical, less varied.
        guidance     how much more than it does the label is to tell, w above; 0 draws from p(x | y).
        denoise      how much of the noise it was trained with is taken out: 1 all of it, where there was any.

        Raises ValueError for guidance where there are no labels, or none were left out in training.
        """
        if guidance and (self.flow.classes is None or not self.config.unlabelled):
            raise ValueError(f"guidance needs classes, and unlabelled > 0 in training; got guidance {guidance}")
        rng = Rng.of(rng)
        y = self.flow.labelled(n, y, rng)
        given = self.flow.given(y)
        u = self.flow.bijection.inverse(self.flow.noise(n, rng, temperature), given, guidance)
        v = self.flow.reals.outward(u)
        if sigma := getattr(self.flow.dequantiser, "sigma", 0.0):
            v = self._denoised(v, given, denoise * sigma**2)
        return Batch(x=self.flow.reals.settled(v), y=y)

    def _denoised(self, v: Values, given: Tensor | None, variance: float) -> Tensor:
        """E[x | v] = v + variance d log p(v) / dv (Tweedie's formula; Efron 2011)."""
        assert isinstance(v, Tensor)
        with torch.enable_grad():
            v = v.detach().requires_grad_()
            (score,) = torch.autograd.grad(self.flow.log_density(v, given).sum(), [v])
        return v.detach() + variance * score

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
