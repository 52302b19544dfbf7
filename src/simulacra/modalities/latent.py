"""A world with a latent variable and everything in closed form: the linear-Gaussian model."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import MultivariateNormal

from simulacra.core.randomness import Rng
from simulacra.modalities.toys import NOMINAL
from simulacra.modalities.worlds import ExactWorld, points


class LinearGaussian(ExactWorld):
    """x = W z + b + sigma e with z ~ N(0, I_q) and e ~ N(0, I_d): evidence and posterior are known exactly.

    It is probabilistic PCA (Tipping & Bishop 1999, "Probabilistic principal component analysis"), and what a VAE
    with linear encoder and decoder can learn to the last digit: there its bound is tight.

    weight  (d, q).
    sigma   standard deviation of the noise, positive.
    bias    (d,); 0 where None.
    """

    def __init__(
        self,
        weight: Tensor,
        sigma: float,
        *,
        bias: Tensor | None = None,
        name: str = "linear-gaussian",
        nominal: int = NOMINAL,
    ) -> None:
        if weight.ndim != 2 or not sigma > 0:
            raise ValueError(f"needs a weight (d, q) and a positive sigma; got {tuple(weight.shape)} and {sigma}")
        self.weight, self.sigma = weight.double(), sigma
        d, q = self.weight.shape
        self.bias = torch.zeros(d, dtype=torch.float64) if bias is None else bias.double()
        if self.bias.shape != (d,):
            raise ValueError(f"the bias needs one number a coordinate, {d}; got {tuple(self.bias.shape)}")
        identity = torch.eye(d, dtype=torch.float64)
        self.covariance = self.weight @ self.weight.T + sigma**2 * identity
        # M = I + W^T W / sigma^2 is the precision of z given x, whatever x (Tipping & Bishop 1999, eq. 9)
        self.precision = torch.eye(q, dtype=torch.float64) + self.weight.T @ self.weight / sigma**2
        spread = float(self.covariance.diagonal().mean().sqrt())
        super().__init__(
            name=name,
            space=points(d, centre=float(self.bias.mean()), scale=spread),
            nominal=nominal,
            parameters=f"{self.weight.tolist()} {sigma} {self.bias.tolist()}",
        )

    def draw(self, n: int, rng: Rng) -> Float[Tensor, "n d"]:
        """n points, by drawing z and then x."""
        d, q = self.weight.shape
        z = rng("z").normal((n, q), dtype=torch.float64)
        noise = rng("noise").normal((n, d), dtype=torch.float64)
        return (z @ self.weight.T + self.bias + self.sigma * noise).to(torch.get_default_dtype())

    def log_prob(self, x: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """The evidence log N(x; b, W W^T + sigma^2 I), nats."""
        marginal = MultivariateNormal(self.bias.to(x.device), covariance_matrix=self.covariance.to(x.device))
        return marginal.log_prob(x.double()).to(x.dtype)

    def posterior(self, x: Float[Tensor, "b d"]) -> MultivariateNormal:
        """p(z | x) = N(M^-1 W^T (x - b) / sigma^2, M^-1), float64, one a row."""
        weight, bias, precision = (t.to(x.device) for t in (self.weight, self.bias, self.precision))
        mean = torch.linalg.solve(precision, weight.T @ (x.double() - bias).T / self.sigma**2).T
        return MultivariateNormal(mean, precision_matrix=precision)

    def log_joint(self, x: Float[Tensor, "b d"], z: Float[Tensor, "b q"]) -> Float[Tensor, " b"]:
        """log p(x, z) = log p(z) + log p(x | z), nats, float64."""
        weight, bias = self.weight.to(x.device), self.bias.to(x.device)
        miss = (x.double() - z.double() @ weight.T - bias) / self.sigma
        d, q = self.weight.shape
        squares = miss.square().sum(1) + z.double().square().sum(1)
        return -0.5 * (squares + (d + q) * math.log(2 * math.pi)) - d * math.log(self.sigma)
