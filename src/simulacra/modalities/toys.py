"""Exact worlds of points: Gaussian mixtures with the score at every noise level, pinwheels, checkerboards.

The 8-ring and the 25-grid are those of Lin et al. 2018, "PacGAN: the power of two samples in generative adversarial
networks", section 4.1; the ring of Metz et al. 2017, "Unrolled generative adversarial networks" (radius 2,
sigma 0.02), is the same world in other units.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.modalities.worlds import ExactWorld, points

NOMINAL = 100_000  # training points of Lin et al. 2018, and what len() of a toy says


class GaussianMixture(ExactWorld):
    """sum_k w_k N(mean_k, C_k): log p, score and denoiser in closed form after adding noise of any strength.

    means        (k, d).
    covariances  (k, d, d), symmetric positive definite; ``isotropic`` builds them from one sigma.
    weights      (k,), positive, divided by their sum; equal where None.
    """

    def __init__(
        self,
        means: Tensor,
        covariances: Tensor,
        *,
        weights: Tensor | None = None,
        name: str = "mixture",
        nominal: int = NOMINAL,
    ) -> None:
        means, covariances = means.double(), covariances.double()
        if means.ndim != 2 or covariances.shape != (*means.shape, means.shape[1]):
            raise ValueError(
                f"a mixture needs means (k, d) and covariances (k, d, d);"
                f" got {tuple(means.shape)} and {tuple(covariances.shape)}"
            )
        weights = torch.ones(len(means)).double() if weights is None else weights.double()
        if weights.shape != means.shape[:1] or not bool((weights > 0).all()):
            raise ValueError(f"a mixture needs one positive weight a mode; got {weights.tolist()}")
        self.means, self.covariances, self.weights = means, covariances, weights / weights.sum()
        self.variances, self.axes = torch.linalg.eigh(covariances)
        if not bool((self.variances > 0).all()):
            raise ValueError("a mixture's covariances must be positive definite; got one that is not")
        mean = self.weights @ means
        spread = self.weights @ (covariances.diagonal(dim1=1, dim2=2) + (means - mean) ** 2)
        space = points(means.shape[1], centre=_tidy(mean.mean()), scale=_tidy(spread.mean().sqrt()))
        parameters = f"{means.tolist()}{covariances.tolist()}{self.weights.tolist()}"
        super().__init__(name=name, space=space, nominal=nominal, parameters=parameters)

    @staticmethod
    def isotropic(
        means: Tensor, sigma: float, *, weights: Tensor | None = None, name: str = "mixture", nominal: int = NOMINAL
    ) -> GaussianMixture:
        """The mixture of round modes of standard deviation sigma > 0 around means (k, d)."""
        if not sigma > 0:
            raise ValueError(f"a mode's sigma must be positive; got {sigma}")
        identity = torch.eye(means.shape[-1], dtype=torch.float64)
        return GaussianMixture(
            means, sigma**2 * identity.expand(len(means), -1, -1), weights=weights, name=name, nominal=nominal
        )

    def draw(self, n: int, rng: Rng) -> Float[Tensor, "n d"]:
        """n points: a mode each, then a point of that mode."""
        dtype = torch.get_default_dtype()
        mode = torch.searchsorted(self.weights.cumsum(0), rng("mode").uniform((n,), dtype=torch.float64), right=True)
        mode = mode.clamp(max=len(self.weights) - 1)  # the cumulated weights may end just below 1
        noise = rng("within").normal((n, self.means.shape[1]), dtype=torch.float64)
        factor = self.axes * self.variances.sqrt()[:, None, :]
        return (self.means[mode] + torch.einsum("nij,nj->ni", factor[mode], noise)).to(dtype)

    def log_prob(self, x: Float[Tensor, "b d"], sigma: float | Tensor = 0.0) -> Float[Tensor, " b"]:
        """log of the density at x after N(0, sigma^2 I) was added, nats; sigma >= 0, a number or (b,)."""
        return self._joint(x, sigma)[0].logsumexp(1)

    def score(self, x: Float[Tensor, "b d"], sigma: float | Tensor = 0.0) -> Float[Tensor, "b d"]:
        """The gradient of ``log_prob`` in x: sum_k p(k | x) (C_k + sigma^2 I)^-1 (mean_k - x)."""
        joint, pull = self._joint(x, sigma)
        return torch.einsum("bk,bki->bi", joint.softmax(1), pull)

    def denoise(self, x: Float[Tensor, "b d"], sigma: float | Tensor) -> Float[Tensor, "b d"]:
        """E[clean point | x], by Tweedie's formula x + sigma^2 score(x, sigma)."""
        squared = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).square().reshape(-1, 1)
        return x + squared * self.score(x, sigma)

    def distances(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Mahalanobis distance of each point from each mode: in standard deviations."""
        means, variances, axes = (t.to(x) for t in (self.means, self.variances, self.axes))
        along = torch.einsum("kij,bki->bkj", axes, x[:, None] - means)
        return (along.square() / variances).sum(2).sqrt()

    def _joint(self, x: Tensor, sigma: float | Tensor) -> tuple[Tensor, Tensor]:
        """log p(x, k), (b, k), and each mode's pull (C_k + sigma^2 I)^-1 (mean_k - x), (b, k, d)."""
        means, variances, axes, weights = (t.to(x) for t in (self.means, self.variances, self.axes, self.weights))
        squared = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).square().reshape(-1, 1, 1)
        wide = variances + squared  # (b or 1, k, d): adding noise widens every axis alike
        along = torch.einsum("kij,bki->bkj", axes, means - x[:, None])
        each = -0.5 * (along.square() / wide + wide.log() + math.log(2 * math.pi)).sum(2)
        return weights.log() + each, torch.einsum("kij,bkj->bki", axes, along / wide)


def ring(modes: int = 8, *, radius: float = 1.0, sigma: float = 0.01) -> GaussianMixture:
    """Equal round modes on a circle, the first at angle 0; the defaults are those of Lin et al. 2018."""
    angle = torch.arange(modes, dtype=torch.float64) * (2 * math.pi / modes)
    return GaussianMixture.isotropic(radius * torch.stack([angle.cos(), angle.sin()], 1), sigma, name="ring")


def grid(side: int = 5, *, spacing: float = 2.0, sigma: float = 0.05) -> GaussianMixture:
    """side^2 equal round modes on a square grid around 0: by default {-4, -2, 0, 2, 4}^2 (Lin et al. 2018)."""
    ticks = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2) * spacing
    return GaussianMixture.isotropic(torch.cartesian_prod(ticks, ticks), sigma, name="grid")


class Pinwheel(ExactWorld):
    """Bent arms around a centre: after Johnson et al. 2016, "Composing graphical models with neural networks".

    Each arm is N((1, 0), diag(radial^2, tangential^2)), turned by 2 pi k / arms + rate exp(r) and scaled. There
    the turn grows with the point's first coordinate; here r is its distance from the centre, so that the turn
    preserves area and the density is known exactly.
    """

    def __init__(
        self,
        arms: int = 5,
        *,
        radial: float = 0.3,
        tangential: float = 0.1,
        rate: float = 0.25,
        scale: float = 2.0,
        nominal: int = NOMINAL,
    ) -> None:
        if arms < 1 or not min(radial, tangential, scale) > 0:
            raise ValueError(
                f"a pinwheel needs at least one arm and positive radial, tangential and scale;"
                f" got {arms}, {radial}, {tangential}, {scale}"
            )
        self.arms, self.rate, self.scale = arms, rate, scale
        self.deviation = torch.tensor([radial, tangential], dtype=torch.float64)
        # each arm's points lie at mean square distance 1 + radial^2 + tangential^2, half of it along each axis
        spread = scale * math.sqrt((1 + radial**2 + tangential**2) / 2)
        parameters = f"{arms} {radial} {tangential} {rate} {scale}"
        super().__init__(name="pinwheel", space=points(2, scale=_tidy(spread)), nominal=nominal, parameters=parameters)

    def draw(self, n: int, rng: Rng) -> Float[Tensor, "n d"]:
        """n points: an arm each, then a point of it, turned."""
        arm = rng("arm").integers(self.arms, (n,))
        straight = rng("within").normal((n, 2), dtype=torch.float64) * self.deviation + torch.tensor([1.0, 0.0])
        turn = arm * (2 * math.pi / self.arms) + self.rate * straight.norm(dim=1).exp()
        return (self.scale * _rotated(straight, turn)).to(torch.get_default_dtype())

    def log_prob(self, x: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """log p(x), nats: every arm's share, its turn undone."""
        small = x.double() / self.scale
        arm = torch.arange(self.arms, device=x.device) * (2 * math.pi / self.arms)
        turn = arm + self.rate * small.norm(dim=1, keepdim=True).exp()
        straight = _rotated(small[:, None].expand(-1, self.arms, -1), -turn)
        deviation = self.deviation.to(x.device)
        off = (straight - torch.tensor([1.0, 0.0], dtype=torch.float64, device=x.device)) / deviation
        each = -0.5 * off.square().sum(2) - deviation.log().sum() - math.log(2 * math.pi)
        return (each.logsumexp(1) - math.log(self.arms) - 2 * math.log(self.scale)).to(x.dtype)


class Checkerboard(ExactWorld):
    """Uniform over the squares of one colour of a board of side x side squares around 0; side even, square > 0."""

    def __init__(self, side: int = 4, *, square: float = 2.0, nominal: int = NOMINAL) -> None:
        if side < 2 or side % 2 or not square > 0:
            raise ValueError(f"a checkerboard needs an even side >= 2 and a positive square; got {side} and {square}")
        self.side, self.square = side, square
        space = points(2, scale=_tidy(side * square / math.sqrt(12)))
        super().__init__(name="checkerboard", space=space, nominal=nominal, parameters=f"{side} {square}")

    def draw(self, n: int, rng: Rng) -> Float[Tensor, "n d"]:
        """n points: a column, a square of the colour in it, a point in the square."""
        column = rng("column").integers(self.side, (n,))
        row = 2 * rng("row").integers(self.side // 2, (n,)) + column % 2
        within = rng("within").uniform((n, 2), dtype=torch.float64)
        return ((torch.stack([column, row], 1) + within - self.side / 2) * self.square).to(torch.get_default_dtype())

    def log_prob(self, x: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """-log of the coloured area inside, -inf outside; nats."""
        cell = (x / self.square + self.side / 2).floor()
        inside = ((cell >= 0) & (cell < self.side)).all(1) & (cell.sum(1) % 2 == 0)
        level = -math.log(self.side**2 / 2 * self.square**2)
        return torch.full_like(x[:, 0], -math.inf).masked_fill(inside, level)


def _rotated(x: Tensor, angle: Tensor) -> Tensor:
    """Points (..., 2) turned counter-clockwise about 0 by angles (...), radians."""
    c, s = angle.cos(), angle.sin()
    return torch.stack([c * x[..., 0] - s * x[..., 1], s * x[..., 0] + c * x[..., 1]], -1)


def _tidy(value: Tensor | float) -> float:
    """A typical value to four figures: it only tells a network where to start, and reads better in a file."""
    return float(f"{float(value):.4g}")
