"""Uses over capabilities: what holds for a linear latent model must come out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.uses.denoise import denoise
from simulacra.uses.interpolate import interpolate, interpolate_latents, linear, spherical
from simulacra.uses.reconstruct import error, reconstruct


class Decoding:
    """x = W z, with W of orthonormal columns times 2."""

    def __init__(self, d: int = 6, latent: int = 2) -> None:
        self.W = 2 * torch.linalg.qr(Rng(0)("W").normal((d, latent), dtype=torch.float64))[0]
        unbounded = {"low": -math.inf, "high": math.inf}
        self.latent = Space(fields={"z": Continuous(**unbounded, shape=(latent,))})
        self.space = Space(fields={"x": Continuous(**unbounded, shape=(d,))})

    def decode(self, z: Tensor, *, y=None) -> Tensor:
        return z.to(torch.float64) @ self.W.T


class Coding(Decoding):
    """The same with its pseudo-inverse as encoder."""

    def encode(self, x: Tensor, *, y=None) -> Tensor:
        return x @ self.W / 4

    def posterior(self, x: Tensor, *, y=None) -> Independent:
        return Independent(Normal(self.encode(x), torch.ones(1, dtype=torch.float64)), 1)


def test_what_lies_in_the_range_is_reconstructed_and_what_lies_outside_is_projected():
    model = Coding()
    x = model.decode(Rng(1)("z").normal((5, 2), dtype=torch.float64))
    off = torch.linalg.qr(torch.cat([model.W, torch.eye(6, dtype=torch.float64)], 1))[0][:, 3]
    torch.testing.assert_close(reconstruct(model, x + off), x)
    torch.testing.assert_close(
        error(x + off, reconstruct(model, x + off)), torch.full((5,), 1 / 6, dtype=torch.float64)
    )


def test_reconstruct_names_what_a_model_lacks():
    with pytest.raises(ValueError, match="reconstruct needs a Codec .*encode"):
        reconstruct(Decoding(), torch.zeros(1, 6))


@pytest.mark.parametrize("path", [linear, spherical])
def test_a_walk_begins_and_ends_where_it_should(path):
    model = Coding()
    a, b = (model.decode(Rng(s)("z").normal((3, 2), dtype=torch.float64)) for s in (1, 2))
    walk = interpolate(model, a, b, steps=5, path=path)
    torch.testing.assert_close(walk[:, 0], a)
    torch.testing.assert_close(walk[:, -1], b)


def test_the_great_circle_keeps_the_norm_and_turns_evenly():
    a, b = (Rng(s)("z").normal((4, 50), dtype=torch.float64) for s in (1, 2))
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    walk = spherical(a, b, torch.linspace(0, 1, 9, dtype=torch.float64))
    torch.testing.assert_close(walk.norm(dim=2), torch.ones(4, 9, dtype=torch.float64))
    angles = (walk[:, 1:] * walk[:, :-1]).sum(2).arccos()
    torch.testing.assert_close(angles, angles[:, :1].expand(4, 8))


def test_parallel_ends_fall_back_on_the_straight_line():
    a = torch.ones(1, 3, dtype=torch.float64)
    t = torch.tensor([0.5], dtype=torch.float64)
    torch.testing.assert_close(spherical(a, 3 * a, t), 2 * a[:, None])


def test_walks_between_draws_need_a_decoder_only():
    walk = interpolate_latents(Decoding(), 3, steps=4, rng=0)
    assert walk.shape == (3, 4, 6)
    torch.testing.assert_close(interpolate_latents(Decoding(), 2, steps=4, rng=0), walk[:2])


def test_a_walk_of_one_step_is_refused():
    with pytest.raises(ValueError, match="at least its two ends; got steps=1"):
        interpolate_latents(Decoding(), 1, steps=1)


@pytest.mark.parametrize("kind", [Decoding, Coding])
def test_denoising_is_the_posterior_mean_of_a_linear_model(kind):
    # x = W z, noisy = x + sigma e: the most probable z is (W'W + sigma^2 I)^-1 W' noisy, and W'W = 4 I here
    model, sigma = kind(), 0.5
    z = Rng(3)("z").normal((8, 2), dtype=torch.float64)
    noisy = model.decode(z) + sigma * Rng(3)("e").normal((8, 6), dtype=torch.float64)
    exact = model.decode(noisy @ model.W / (4 + sigma**2))
    clean = denoise(model, noisy, sigma, steps=600)
    torch.testing.assert_close(clean, exact, atol=2e-3, rtol=0)
    assert (clean - model.decode(z)).square().mean() < (noisy - model.decode(z)).square().mean()


def test_denoising_needs_a_positive_sigma():
    with pytest.raises(ValueError, match="must be positive; got 0"):
        denoise(Coding(), torch.zeros(1, 6), 0.0)


def test_a_denoiser_answers_with_the_expected_clean_example():
    class Line:
        """x ~ N(3, 2^2) in its own units; E[x | noisy] is the noisy value pulled towards 3."""

        space = Space(
            fields={"x": Continuous(low=-math.inf, high=math.inf, centre=3.0, scale=2.0, shape=(1,))}, measure="line"
        )

        def denoise(self, x, sigma, *, y=None):
            return 3.0 + (x - 3.0) / (1 + sigma**2)

    noisy = torch.tensor([[5.0], [1.0]])
    torch.testing.assert_close(denoise(Line(), noisy, 2.0), torch.tensor([[4.0], [2.0]]))
