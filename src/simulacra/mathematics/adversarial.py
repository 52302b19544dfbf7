"""Adversarial games: what a critic and a generator want, example by example, and what keeps the critic smooth.

Scores are the critic's raw outputs (b,), higher for what looks real: logits in the games that speak of
probabilities, D = sigmoid(score). Every loss is to be minimised, and is given for each example, (b,).
A game is an object of two functions and is handed to a model as such; anyone's own will do as well.

Goodfellow et al. 2014 (minimax, non-saturating), Mao et al. 2017 (least squares), Lim & Ye 2017 and Miyato et al.
2018 (hinge), Arjovsky et al. 2017 (Wasserstein), Jolicoeur-Martineau 2019 and Huang et al. 2024 (relativistic
pairing); penalties: Gulrajani et al. 2017 (gradient penalty), Mescheder et al. 2018 (R1, R2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from simulacra.core.randomness import Rng

Scores = Float[Tensor, " batch"]
# x (b, *event) -> gradient of the critic's score at each x, (b, size of the event), differentiable in its parameters
Slope = Callable[[Tensor], Tensor]


@runtime_checkable
class Game(Protocol):
    """What the two players minimise.

    relative  whether the generator's loss looks at the scores of real examples too.
    """

    relative: ClassVar[bool]

    def critic(self, real: Scores, fake: Scores) -> Scores:
        """The critic's loss; row r judges real example r and generated example r."""
        ...

    def generator(self, fake: Scores, real: Scores | None = None) -> Scores:
        """The generator's loss; ``real`` is given where ``relative`` is true."""
        ...


@dataclass(frozen=True, kw_only=True)
class Minimax:
    """The zero-sum game: the critic's loss is -log D(x) - log(1 - D(G(z))), Goodfellow et al. 2014, eq. 1.

    At the best critic the value, minus its loss, is -log 4 + 2 JS(data || model) (ibid., theorem 1).
    """

    relative: ClassVar[bool] = False

    def critic(self, real: Scores, fake: Scores) -> Scores:
        """-log D(x) - log(1 - D(G(z)))."""
        return F.softplus(-real) + F.softplus(fake)

    def generator(self, fake: Scores, real: Scores | None = None) -> Scores:
        """log(1 - D(G(z))): its gradient vanishes while the critic wins."""
        return -F.softplus(fake)


@dataclass(frozen=True, kw_only=True)
class NonSaturating:
    """The minimax critic against a generator that maximises log D(G(z)), Goodfellow et al. 2014, section 3."""

    relative: ClassVar[bool] = False

    def critic(self, real: Scores, fake: Scores) -> Scores:
        """-log D(x) - log(1 - D(G(z)))."""
        return F.softplus(-real) + F.softplus(fake)

    def generator(self, fake: Scores, real: Scores | None = None) -> Scores:
        """-log D(G(z))."""
        return F.softplus(-fake)


@dataclass(frozen=True, kw_only=True)
class LeastSquares:
    """Squared distances to targets, Mao et al. 2017, eq. 2.

    fake, real  a and b of the paper: the scores the critic aims at for generated and for real examples.
    wanted      c: the score the generator aims at. With b - c = 1 and b - a = 2 the game at the best critic
                minimises Pearson's chi-square between p + q and 2 q (ibid., section 3.2).
    """

    relative: ClassVar[bool] = False
    fake: float = 0.0
    real: float = 1.0
    wanted: float = 1.0

    def critic(self, real: Scores, fake: Scores) -> Scores:
        """((D(x) - b)^2 + (D(G(z)) - a)^2) / 2."""
        return 0.5 * ((real - self.real).square() + (fake - self.fake).square())

    def generator(self, fake: Scores, real: Scores | None = None) -> Scores:
        """(D(G(z)) - c)^2 / 2."""
        return 0.5 * (fake - self.wanted).square()


@dataclass(frozen=True, kw_only=True)
class Hinge:
    """Margins of one for the critic, the bare score for the generator: Lim & Ye 2017; Miyato et al. 2018, eq. 16-17."""

    relative: ClassVar[bool] = False

    def critic(self, real: Scores, fake: Scores) -> Scores:
        """max(0, 1 - D(x)) + max(0, 1 + D(G(z)))."""
        return F.relu(1 - real) + F.relu(1 + fake)

    def generator(self, fake: Scores, real: Scores | None = None) -> Scores:
        """-D(G(z))."""
        return -fake


@dataclass(frozen=True, kw_only=True)
class Wasserstein:
    """The dual of the earth mover's distance, Arjovsky et al. 2017, eq. 2; the critic has to be kept 1-Lipschitz."""

    relative: ClassVar[bool] = False

    def critic(self, real: Scores, fake: Scores) -> Scores:
        """D(G(z)) - D(x)."""
        return fake - real

    def generator(self, fake: Scores, real: Scores | None = None) -> Scores:
        """-D(G(z))."""
        return -fake


@dataclass(frozen=True, kw_only=True)
class Relativistic:
    """Each generated example against one real one: Jolicoeur-Martineau 2019, eq. 7-8; Huang et al. 2024, eq. 2.

    Only differences of scores count, so every mode needs critics' attention of its own and dropping one is never
    free; adding a constant to the critic changes nothing. Needs R1 and R2 to converge (Huang et al., section 2.2).
    """

    relative: ClassVar[bool] = True

    def critic(self, real: Scores, fake: Scores) -> Scores:
        """softplus(-(D(x) - D(G(z))))."""
        return F.softplus(fake - real)

    def generator(self, fake: Scores, real: Scores | None = None) -> Scores:
        """softplus(-(D(G(z)) - D(x))); ValueError without the scores of real examples."""
        if real is None:
            raise ValueError("the relativistic generator needs the scores of real examples; got None, pass real=")
        return F.softplus(real - fake)


def class_entropy(logits: Float[Tensor, "batch classes"], y: Float[Tensor, "batch classes"]) -> Scores:
    """-sum_c y_c log p(c), nats (b,), of what an auxiliary classifier says: Odena et al. 2017, eq. 3."""
    return -(y * logits.log_softmax(1)).sum(1)


def input_gradient(scores: Scores, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch size"]:
    """Gradient of each example's score in that example, flattened, differentiable in the critic's parameters.

    ``scores`` were computed from x, which required a gradient. Their sum is differentiated, so a critic that mixes the
    examples of a batch (batch norm) has its gradients mixed as well.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    return gradient.flatten(1)


def slope_of(critic: Callable[[Tensor], Tensor]) -> Slope:
    """The function x -> gradient of the critic's scores at x."""

    def slope(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        return input_gradient(critic(x), x)

    return slope


def r1(slope: Slope, real: Tensor, fake: Tensor, rng: Rng) -> Scores:
    """|grad D(x)|^2 / 2 at real examples, (b,), to be multiplied by gamma: Mescheder et al. 2018, eq. 9."""
    return 0.5 * slope(real).square().sum(1)


def r2(slope: Slope, real: Tensor, fake: Tensor, rng: Rng) -> Scores:
    """|grad D(G(z))|^2 / 2 at generated examples, (b,), to be multiplied by gamma: Mescheder et al. 2018, eq. 10."""
    return 0.5 * slope(fake).square().sum(1)


def gradient_penalty(slope: Slope, real: Tensor, fake: Tensor, rng: Rng) -> Scores:
    """(|grad D(x')| - 1)^2 at x' = t x + (1 - t) G(z), t uniform per example, (b,): Gulrajani et al. 2017, eq. 3.

    The norm is each example's own, over all its event dimensions; to be multiplied by lambda (theirs: 10).
    """
    t = rng("t").uniform((len(real),), dtype=real.dtype, device=real.device).reshape(-1, *[1] * (real.ndim - 1))
    gradient = slope(fake + t * (real - fake))
    # a norm's gradient at 0 is 0, a square root's infinite
    norm = cast(Tensor, torch.linalg.vector_norm(gradient, dim=1))  # pyright: ignore[reportUnknownMemberType]
    return (norm - 1).square()


def path_lengths(picture: Tensor, style: Float[Tensor, "batch layers width"], noise: Tensor) -> Scores:
    """|J^T y| of each example, (b,), J the derivative of its picture in its style: Karras et al. 2020, eq. 4.

    ``picture`` (b, c, h, w) was computed from ``style``, ``noise`` y ~ N(0, 1) has its shape and is divided by
    sqrt(h w). The square is the mean over the layers of a style; differentiable in what made the picture.
    """
    shown = (picture * noise).sum() / (picture.shape[-2] * picture.shape[-1]) ** 0.5
    (gradient,) = torch.autograd.grad(shown, style, create_graph=True)
    return (gradient.square().sum(2).mean(1) + 1e-20).sqrt()
