"""What flows for pictures share: a bijection's density of the pictures spread over their cells, and what it is for.

With v = x spread over the cell of its levels by q(v | x), u = chart(v) and z = f(u, y),

    log P(x | y) >= E_q [log N(z; 0, I) + log |det dz/dv| - log q(v | x)]

(Ho et al. 2019, Flow++, section 3.1). Pictures without levels are points already, and the right hand side is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from simulacra.core.batch import Batch, Data, Values
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.mathematics.divergences import log_normal
from simulacra.nets.dequantise import Chart, Dequantiser, Reals, Standardised, uniform
from simulacra.nets.embeddings import class_indicator
from simulacra.nets.marginal import LabelMarginal

Dequantise = Callable[[Continuous], Dequantiser]


def uniformly(f: Continuous) -> Dequantiser:
    """Every place of a cell as likely."""
    return uniform


@runtime_checkable
class Bijection(Protocol):
    """Between pictures u and codes z of as many numbers, each way given the class (b, classes) or None."""

    def __call__(self, u: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
        """(b, c, h, w) -> z (b, c h w) and log |det dz/du|, nats (b,)."""
        ...

    def inverse(self, z: Tensor, given: Tensor | None) -> Tensor:
        """(b, c h w) -> (b, c, h, w)."""
        ...


def soft_clip(raw: Tensor, bound: float) -> Tensor:
    """Into (-bound, bound), by bound tanh(raw / bound): raw itself near zero, and never without a gradient."""
    return bound * torch.tanh(raw / bound)


def picture_shape(space: Space, user: str) -> tuple[int, int, int]:
    """(c, h, w) of a space of one picture; ValueError, naming its ``user``, for anything else."""
    if len(space.fields) != 1 or len(space.only.shape) != 3:
        shapes = {name: f.shape for name, f in space.fields.items()}
        raise ValueError(f"{user} needs pictures of shape (channels, height, width); got {shapes}, use flow instead")
    if isinstance(space.only, Categorical):
        raise ValueError(f"{user} needs pictures of real values or levels; these are of categories, use pixelcnn")
    if isinstance(space.y, Space):
        raise ValueError(f"{user} is conditional on classes only; expected a space whose y is Classes or None")
    channels, height, width = space.only.shape
    return channels, height, width


class PictureFlow(nn.Module):
    """The density of pictures under a bijection, conditional on the class where the space has classes.

    bijection   a module; takes and gives what ``Bijection`` says.
    dequantise  (field) -> how pictures are spread over their cells: ``uniformly``, ``Variational`` ...
    chart       (field) -> from its range onto the line: ``Standardised``, ``by_range`` (``nets.dequantise``).

    latent  the space of the codes, N(0, I) a priori, (c h w,).
    """

    def __init__(
        self,
        space: Space,
        bijection: nn.Module,
        *,
        user: str,
        dequantise: Dequantise,
        chart: Callable[[Continuous], Chart],
    ) -> None:
        super().__init__()
        shape = picture_shape(space, user)
        self.space, self.user = space, user
        self.classes: Classes | None = space.y if isinstance(space.y, Classes) else None
        self.reals = Reals(space, user, chart)
        self.bijection: Any = bijection
        self.dequantiser = dequantise(next(iter(self.reals.continuum.fields.values())))
        if hasattr(self.dequantiser, "sigma") and not isinstance(next(iter(self.reals.charts.values())), Standardised):
            raise ValueError("noise leaves the range of a field; give chart=Standardised with it")
        self.labels = LabelMarginal(self.classes)
        self.latent = Space(
            fields={"z": Continuous(low=-math.inf, high=math.inf, shape=(math.prod(shape),))}, measure="latent codes"
        )

    def fit(self, data: Data) -> None:
        """Learn the labels' marginal."""
        self.labels.fit(data)

    def given(self, y: Values | None) -> Tensor | None:
        """Labels as the bijection takes them, one-hot (b, classes); None where there are none to give."""
        return class_indicator(y, self.classes, self.dtype)  # type: ignore[arg-type]

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""
        return next(self.parameters()).dtype

    # -- scoring ----------------------------------------------------------------------------------------------------

    def score(self, x: Values, given: Tensor | None, rng: Rng) -> Tensor:
        """The right hand side above with one draw from q, nats (b,); differentiable."""
        spread, added = self.reals.spread(x, rng("dequantise"), self.dequantiser)
        return self.log_density(spread, given) + added

    def log_density(self, v: Values, given: Tensor | None) -> Tensor:
        """log p(v) of points in the field's own units, nats (b,)."""
        u, slope = self.reals.inward(v)
        z, log_det = self.bijection(u, given)
        return log_normal(z).sum(1) + log_det + slope

    @torch.no_grad()
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
        """log p(x | y), or with y None log p(x) = log sum_y p(y) p(x | y), nats (b,): a bound where there are levels.

        k  draws from q an example; more tighten the bound, as importance weights do (Hoogeboom et al. 2021).
        Raises ValueError for what is no picture of the space, and for pictures of which parts are unknown.
        """
        if known is not None and not all(
            bool(mask.all()) for mask in ([known] if isinstance(known, Tensor) else known.values())
        ):
            raise ValueError(f"{self.user} scores whole pictures; got known with gaps, impute them first")
        if k < 1:
            raise ValueError(f"k must be at least 1; got {k}")
        self.reals.check(x)
        rng, n = Rng.of(rng), len(x)

        def score(y: Tensor | None) -> Tensor:
            given = self.given(y)
            draws = [self.score(x, given, rng if k == 1 else rng("draw", i)) for i in range(k)]
            return torch.logsumexp(torch.stack(draws), 0) - math.log(k)

        nats = self.labels.sum_out(score, n) if self.classes is not None and y is None else score(y)  # type: ignore[arg-type]
        drawn = "1 draw" if k == 1 else f"importance weighted, k = {k}"
        return LogLikelihood(
            nats=nats,
            kind=self.reals.kind,
            measure=self.space.measure,
            count=float(self.space.size),
            method=f"dequantised, {drawn}" if self.reals.levels else "change of variables",
        )

    # -- drawing ----------------------------------------------------------------------------------------------------

    def labelled(self, n: int, y: Tensor | None, rng: Rng) -> Tensor | None:
        """The labels asked for, or n from their marginal; None where there are no classes."""
        return self.labels.draw(n, rng("y")) if y is None else y

    def noise(self, n: int, rng: Rng, temperature: float) -> Tensor:
        """n codes from N(0, temperature^2 I)."""
        weight = next(self.parameters())
        return temperature * rng("z").normal((n, *self.latent.only.shape), dtype=weight.dtype, device=weight.device)

    @torch.no_grad()
    def sample(self, n: int, *, y: Tensor | None, rng: Rng | int, temperature: float) -> Batch:
        """n pictures on their levels; y (n,) classes, None: drawn from their learned marginal."""
        rng = Rng.of(rng)
        y = self.labelled(n, y, rng)
        u = self.bijection.inverse(self.noise(n, rng, temperature), self.given(y))
        return Batch(x=self.reals.decoded(u), y=y)

    # -- codes ------------------------------------------------------------------------------------------------------

    def to_latent(self, x: Values, *, y: Values | None = None) -> tuple[Tensor, Tensor]:
        """Points x (b, c, h, w), on levels or between them -> z (b, c h w) and log |det dz/dx|, nats (b,)."""
        u, slope = self.reals.inward(x)
        z, log_det = self.bijection(u, self.given(y))
        return z, log_det + slope

    def from_latent(self, z: Tensor, *, y: Values | None = None) -> Values:
        """The point each code stands for: the inverse of ``to_latent``, neither rounded nor cut to the range."""
        return self.reals.outward(self.bijection.inverse(z, self.given(y)))

    def encode(self, x: Values, *, y: Values | None = None) -> Tensor:
        """The code of the middle of each picture's cell, (b, c h w)."""
        return self.to_latent(x, y=y)[0]

    def decode(self, z: Tensor, *, y: Values | None = None) -> Values:
        """The picture each code stands for, inside the range but not rounded; differentiable."""
        return self.reals.inside(self.from_latent(z, y=y))

    def posterior(self, x: Values, *, y: Values | None = None) -> Cells:
        """The codes of all that lies in each picture's cell, every point as likely."""
        return Cells(self, x, y)


class Cells(Distribution):
    """What a uniform draw from the cells of pictures is encoded to; without levels, the codes themselves.

    ``log_prob`` is a density where there are levels, and a log probability (0 or -inf) where there are none.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, flow: PictureFlow, x: Values, y: Values | None) -> None:
        self.flow, self.x, self.y = flow, x, y
        self.code, _ = flow.to_latent(x, y=y)
        super().__init__(self.code.shape[:1], self.code.shape[1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The code of the middle, (b, d): not the mean of the codes, which has no closed form."""
        return self.code

    def push(self, place: Tensor) -> Tensor:
        """The codes of places in the cells, (b, c, h, w) in [0, 1) -> (b, d): uniform places give a draw."""
        v, _ = self.flow.reals.spread(self.x, Rng(0), lambda f, index, rng: (place, index.new_zeros(len(index))))
        return self.flow.to_latent(v, y=self.y)[0]

    def log_prob(self, z: Tensor) -> Tensor:
        """Nats (b,); -inf for codes of points outside the cell."""
        levels, f = self.flow.reals.levels, self.flow.space.only
        assert isinstance(f, Continuous)
        if not levels:
            return torch.where((z == self.code).all(1), 0.0, -math.inf).to(z)
        v, x = self.flow.from_latent(z, y=self.y), self.x
        assert isinstance(v, Tensor)
        assert isinstance(x, Tensor)
        inside = ((v - x).abs() <= 0.5 * f.spacing).flatten(1).all(1)
        _, log_det = self.flow.to_latent(v, y=self.y)
        density = -log_det - math.prod(f.shape) * math.log(f.spacing)
        return torch.where(inside, density, -math.inf)
