"""Games and penalties against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.mathematics import adversarial as game

GAMES = [
    game.Minimax(),
    game.NonSaturating(),
    game.LeastSquares(),
    game.LeastSquares(fake=-1.0, real=1.0, wanted=0.0),
    game.Hinge(),
    game.Wasserstein(),
    game.Relativistic(),
]
P = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
Q = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)


def expected(loss, score: Tensor) -> Tensor:
    """E over x ~ P, x' ~ Q independent of loss(score(x), score(x')), a scalar."""
    n = len(score)
    real, fake = score.repeat_interleave(n), score.repeat(n)
    return (P.repeat_interleave(n) * Q.repeat(n) * loss(real, fake)).sum()


def best_critic(played: game.Game) -> Tensor:
    """Scores of the critic that minimises its expected loss on four points, by L-BFGS in float64."""
    score = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [score], lr=1, max_iter=500, tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = expected(played.critic, score)
        loss.backward()
        return loss

    optimiser.step(closure)
    return score.detach()


def kl(a: Tensor, b: Tensor) -> Tensor:
    return (a * (a / b).log()).sum()


def test_the_best_critic_is_the_log_density_ratio_and_the_value_is_twice_js_minus_log_4():
    for played in (game.Minimax(), game.NonSaturating()):
        score = best_critic(played)
        # Goodfellow et al. 2014, proposition 1: D = p / (p + q)
        assert torch.allclose(score, (P / Q).log(), atol=1e-6)
        middle = (P + Q) / 2
        js = (kl(P, middle) + kl(Q, middle)) / 2
        assert math.isclose(-expected(played.critic, score), 2 * js - math.log(4), rel_tol=1e-10)


def test_minimax_is_zero_sum_in_what_the_generator_can_change():
    fake = torch.linspace(-3, 3, 7, dtype=torch.float64)
    played, real = game.Minimax(), torch.zeros(7, dtype=torch.float64)
    total = played.critic(real, fake) + played.generator(fake)
    assert torch.allclose(total, torch.full_like(total, math.log(2)), atol=1e-12)  # -log D(x) alone remains


def test_nonsaturating_generator_has_the_full_gradient_where_minimax_has_none():
    fake = torch.tensor([-20.0], dtype=torch.float64, requires_grad=True)
    (strong,) = torch.autograd.grad(game.NonSaturating().generator(fake).sum(), fake)
    (weak,) = torch.autograd.grad(game.Minimax().generator(fake).sum(), fake)
    assert math.isclose(strong, -1, rel_tol=1e-8)
    assert math.isclose(weak, -math.exp(-20), rel_tol=1e-8)


def test_least_squares_at_its_best_critic_is_pearson_chi_square():
    played = game.LeastSquares(fake=-1.0, real=1.0, wanted=0.0)
    score = best_critic(played)
    assert torch.allclose(score, (P - Q) / (P + Q), atol=1e-7)  # (b p + a q) / (p + q), Mao et al. 2017
    # the generator's loss plus the term in p that it cannot change, times two: chi-square(p + q || 2 q)
    value = ((P + Q) * score.square()).sum()
    assert math.isclose(value, ((2 * Q - (P + Q)).square() / (P + Q)).sum(), rel_tol=1e-7)


def test_hinge_at_its_best_critic_is_total_variation():
    # Lim & Ye 2017: the best critic is the sign of p - q and its loss 2 - sum |p - q|
    score = (P - Q).sign()
    assert math.isclose(expected(game.Hinge().critic, score), 2 - (P - Q).abs().sum(), rel_tol=1e-12)
    for other in (0.5 * score, 1.5 * score, torch.zeros(4, dtype=torch.float64)):
        assert expected(game.Hinge().critic, other) >= expected(game.Hinge().critic, score)


def test_wasserstein_of_a_shift_is_the_shift():
    real = torch.linspace(-1, 1, 5, dtype=torch.float64)
    score = lambda x: x  # noqa: E731  # the best 1-Lipschitz critic for a shift to the left
    loss = game.Wasserstein().critic(score(real), score(real - 3))
    assert torch.allclose(loss, torch.full_like(loss, -3))


def test_relativistic_ignores_a_constant_and_is_antisymmetric():
    real, fake = torch.randn(2, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    played = game.Relativistic()
    for c in (0.1, -7.0, 1000.0):
        assert torch.allclose(played.critic(real + c, fake + c), played.critic(real, fake))
        assert torch.allclose(played.generator(fake + c, real + c), played.generator(fake, real))
    assert torch.allclose(played.critic(real, fake), played.generator(real, fake))  # the players change seats
    # softplus(-t) - softplus(t) = -t
    assert torch.allclose(played.critic(real, fake) - played.generator(fake, real), fake - real)
    with pytest.raises(ValueError, match="real"):
        played.generator(fake)


@pytest.mark.parametrize("played", GAMES, ids=repr)
def test_losses_are_per_example_and_push_scores_apart(played: game.Game):
    real, fake = torch.zeros(2, 6, dtype=torch.float64).requires_grad_().unbind()
    loss = played.critic(real, fake)
    assert loss.shape == (6,)
    on_real, on_fake = torch.autograd.grad(loss.sum(), (real, fake))
    if played != game.LeastSquares():  # there 0 is already what generated examples are to get
        assert (on_fake > 0).all()
    assert (on_real < 0).all()
    if getattr(played, "wanted", 1.0) != 0.0:  # a score of 0 is all that this generator wants
        (gain,) = torch.autograd.grad(played.generator(fake, real).sum(), fake)
        assert (gain < 0).all()


def linear(w: Tensor):
    return lambda x: x.flatten(1) @ w


@pytest.mark.parametrize("b", [1, 2, 7, 64])
@pytest.mark.parametrize("event", [(25,), (1, 5, 5), (25, 1, 1)])
def test_gradient_penalty_of_a_linear_critic_with_norm_5_is_16_at_every_batch_size(b: int, event: tuple[int, ...]):
    w = torch.ones(25, dtype=torch.float64)
    real, fake = Rng(0)("x").normal((2 * b, *event), dtype=torch.float64).split(b)
    penalty = game.gradient_penalty(game.slope_of(linear(w)), real, fake, Rng(1))
    assert torch.allclose(penalty, torch.full((b,), 16.0, dtype=torch.float64))


@pytest.mark.parametrize("b", [1, 5])
def test_r1_and_r2_of_a_linear_critic_are_half_its_squared_norm(b: int):
    w = torch.arange(12, dtype=torch.float64)
    real, fake = Rng(0)("x").normal((2 * b, 3, 2, 2), dtype=torch.float64).split(b)
    half = torch.full((b,), float(w.square().sum()) / 2, dtype=torch.float64)
    assert torch.allclose(game.r1(game.slope_of(linear(w)), real, fake, Rng(1)), half)
    assert torch.allclose(game.r2(game.slope_of(linear(w)), real, fake, Rng(1)), half)


def test_penalties_look_where_they_should():
    # D(x) = |x|^2 / 2 has gradient x
    critic = lambda x: 0.5 * x.flatten(1).square().sum(1)  # noqa: E731
    real, fake = Rng(0)("x").normal((16, 4), dtype=torch.float64).split(8)
    half = lambda x: 0.5 * x.square().sum(1)  # noqa: E731
    assert torch.allclose(game.r1(game.slope_of(critic), real, fake, Rng(1)), half(real))
    assert torch.allclose(game.r2(game.slope_of(critic), real, fake, Rng(1)), half(fake))
    t = Rng(1)("t").uniform((8,), dtype=torch.float64)[:, None]
    assert torch.allclose(
        game.gradient_penalty(game.slope_of(critic), real, fake, Rng(1)),
        ((t * real + (1 - t) * fake).norm(dim=1) - 1).square(),
    )


def test_penalties_reach_the_critics_weights():
    # d/dw of |w|^2 / 2 is w
    w = torch.arange(1.0, 5.0, dtype=torch.float64, requires_grad=True)
    x = Rng(0).normal((3, 4), dtype=torch.float64)
    game.r1(game.slope_of(linear(w)), x, x, Rng(1)).mean().backward()
    assert w.grad is not None
    assert torch.allclose(w.grad, w.detach())


def test_path_length_of_a_linear_picture_is_the_norm_of_its_transpose():
    # Karras et al. 2020, eq. 4 and appendix C: for J = c Q, Q of orthonormal columns, E |J^T y| is c times the mean
    # of a chi variable, here over sqrt(h w)
    d, c, h, w = 6, 2, 3, 4
    matrix = Rng(0)("a").normal((c * h * w, d), dtype=torch.float64)
    style = Rng(0)("w").normal((5, 1, d), dtype=torch.float64).requires_grad_()
    noise = Rng(0)("y").normal((5, c, h, w), dtype=torch.float64)

    def length(a: Tensor) -> Tensor:
        return game.path_lengths((style[:, 0] @ a.T).reshape(5, c, h, w), style, noise)

    truth = (noise.flatten(1) @ matrix).norm(dim=1) / math.sqrt(h * w)
    assert torch.allclose(length(matrix), truth)
    q = torch.linalg.qr(matrix)[0]
    many = Rng(1).normal((20_000, c * h * w), dtype=torch.float64)
    chi = math.sqrt(2) * math.exp(math.lgamma((d + 1) / 2) - math.lgamma(d / 2))
    assert math.isclose((many @ (3 * q)).norm(dim=1).mean().item(), 3 * chi, rel_tol=0.01)
    assert torch.allclose(length(3 * q), 3 * length(q))


def test_path_length_is_the_root_mean_square_over_layers_and_can_be_differentiated():
    style = Rng(0)("w").normal((3, 4, 6), dtype=torch.float64).requires_grad_()
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    noise = torch.ones((3, 1, 1, 24), dtype=torch.float64)
    # layer l has slope l + 1 in each of its 6 entries
    layers = torch.arange(1.0, 5.0, dtype=torch.float64)[:, None]
    length = game.path_lengths((scale * layers * style).reshape(3, 1, 1, 24), style, noise)
    truth = math.sqrt((1 + 4 + 9 + 16) * 6 / 4 / 24)
    assert torch.allclose(length, torch.full((3,), truth, dtype=torch.float64))
    (slope,) = torch.autograd.grad(length.sum(), scale)
    assert math.isclose(slope.item(), 3 * truth)
