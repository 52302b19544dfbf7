"""The exact worlds are what they say: densities integrate to 1, scores are gradients, samples follow the density."""

import math

import pytest
import torch

from simulacra.core.batch import Data
from simulacra.core.capabilities import Likelihood, Sampler
from simulacra.core.randomness import Rng
from simulacra.modalities.latent import LinearGaussian
from simulacra.modalities.toys import Checkerboard, GaussianMixture, Pinwheel, grid, ring

D = torch.float64


def skewed() -> GaussianMixture:
    """Three modes, tilted and of unequal weight."""
    factor = torch.tensor([[[0.7, 0.0], [0.4, 0.3]], [[0.5, 0.0], [-0.2, 0.6]], [[0.3, 0.0], [0.0, 0.9]]], dtype=D)
    means = torch.tensor([[-1.5, 0.0], [1.0, 1.0], [0.5, -1.5]], dtype=D)
    return GaussianMixture(means, factor @ factor.mT, weights=torch.tensor([1.0, 2.0, 3.0]))


WORLDS = {
    "ring": ring,
    "grid": grid,
    "skewed": skewed,
    "pinwheel": Pinwheel,
    "wide pinwheel": lambda: Pinwheel(3, radial=0.5, tangential=0.4, rate=0.6, scale=1.5),
    "checkerboard": Checkerboard,
    "linear-gaussian": lambda: LinearGaussian(torch.tensor([[1.0], [-0.5]]), 0.4, bias=torch.tensor([0.3, -1.0])),
}
EXACT = pytest.mark.parametrize("make", WORLDS.values(), ids=WORLDS)


def plane(reach: float, n: int) -> tuple[torch.Tensor, float]:
    """Midpoints of n x n cells on [-reach, reach]^2, and the area of a cell."""
    ticks = (torch.arange(n, dtype=D) + 0.5) * (2 * reach / n) - reach
    return torch.cartesian_prod(ticks, ticks), (2 * reach / n) ** 2


@EXACT
def test_is_data_a_sampler_and_a_likelihood(make):
    world = make()
    assert isinstance(world, Data)
    assert isinstance(world, Sampler)
    assert isinstance(world, Likelihood)


@pytest.mark.parametrize("name", ["skewed", "pinwheel", "checkerboard", "linear-gaussian"])
def test_density_integrates_to_one(name):
    # the midpoint rule is exact for the checkerboard, whose edges lie between cells, and exponentially good for
    # smooth densities; the pinwheel's swirl at the rim costs it a little
    x, area = plane(9.0, 720)
    total = float(WORLDS[name]().log_prob(x).exp().sum() * area)
    assert total == pytest.approx(1, abs=1e-6)


# the moments of "skewed", whose modes overlap, have a test of their own
@pytest.mark.parametrize("make", [WORLDS[n] for n in WORLDS if n != "skewed"], ids=[n for n in WORLDS if n != "skewed"])
def test_samples_follow_the_density(make):
    """Pearson's chi-square of 20,000 samples over cells of the plane, expectations from the density."""
    torch.set_default_dtype(D)
    world = make()
    x = world.sample(20_000, rng=5).x
    if isinstance(world, GaussianMixture):  # narrow modes: cells are modes, and rings within them
        distance, nearest = world.distances(x).min(1)
        ring_number = (1 - (-(distance**2) / 2).exp()).mul(4).long().clamp(max=3)
        counts = torch.bincount(nearest * 4 + ring_number, minlength=4 * len(world.means)).double()
        expected = (world.weights / 4).repeat_interleave(4) * len(x)
    else:
        fine, area = plane(8.0, 800)
        mass = (world.log_prob(fine).exp() * area).reshape(20, 40, 20, 40).sum((1, 3)).flatten()
        cell = ((x + 8) / 0.8).long().clamp(0, 19)
        counts = torch.bincount(cell[:, 0] * 20 + cell[:, 1], minlength=400).double()
        keep = mass * len(x) > 5
        counts = torch.cat([counts[keep], counts[~keep].sum()[None]])
        expected = torch.cat([mass[keep], mass[~keep].sum()[None]]) * len(x)
        counts, expected = counts[expected > 1], expected[expected > 1]
    statistic, freedom = float(((counts - expected) ** 2 / expected).sum()), len(counts) - 1
    assert abs(statistic - freedom) < 5 * math.sqrt(2 * freedom)


def test_mixture_moments():
    torch.set_default_dtype(D)
    world, n = skewed(), 200_000
    x = world.sample(n, rng=1).x
    mean = world.weights @ world.means
    second = (world.weights[:, None, None] * world.covariances).sum(0) + torch.einsum(
        "k,ki,kj->ij", world.weights, world.means - mean, world.means - mean
    )
    assert torch.allclose(x.mean(0), mean, atol=5 * float(second.diagonal().max().sqrt()) / math.sqrt(n))
    assert torch.allclose(x.T.cov(), second, atol=5 * 2 * float(second.max()) / math.sqrt(n))


@pytest.mark.parametrize("sigma", [0.0, 0.03, 1.0, 30.0])
@pytest.mark.parametrize("make", [ring, grid, skewed], ids=["ring", "grid", "skewed"])
def test_score_is_the_gradient_of_log_prob(make, sigma):
    world = make()
    x = torch.tensor([[0.9, 0.1], [-3.9, 2.1], [0.0, 0.0], [1.0, 1.1]], dtype=D, requires_grad=True)
    (gradient,) = torch.autograd.grad(world.log_prob(x, sigma).sum(), x)
    assert torch.allclose(world.score(x, sigma), gradient, rtol=1e-9, atol=1e-9)


def test_noise_of_each_row_is_its_own():
    world, x = skewed(), torch.randn(3, 2, dtype=D, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.0, 0.5, 4.0], dtype=D)
    each = torch.cat([world.score(x[i : i + 1], float(sigma[i])) for i in range(3)])
    assert torch.allclose(world.score(x, sigma), each)


@pytest.mark.parametrize("sigma", [0.2, 1.0])
def test_noised_density_and_denoiser_by_quadrature(sigma):
    """p_sigma(x) and E[clean | x] as integrals over the clean point, which no formula of the mixture enters."""
    world, x = skewed(), torch.tensor([[0.3, 0.2], [2.0, -1.0]], dtype=D)
    clean, area = plane(7.0, 350)
    for point in x:
        noise = (-((point - clean) ** 2).sum(1) / (2 * sigma**2)).exp() / (2 * math.pi * sigma**2)
        mass = world.log_prob(clean).exp() * noise * area
        assert float(world.log_prob(point[None], sigma)) == pytest.approx(math.log(float(mass.sum())), abs=1e-8)
        expected = (mass[:, None] * clean).sum(0) / mass.sum()
        assert torch.allclose(world.denoise(point[None], sigma)[0], expected, atol=1e-8)


def test_ring_and_grid_are_the_published_ones():
    assert torch.allclose(ring().means.norm(dim=1), torch.ones(8, dtype=D))
    assert torch.allclose(ring().covariances, 1e-4 * torch.eye(2, dtype=D).expand(8, 2, 2))
    wanted = {(a, b) for a in (-4.0, -2.0, 0.0, 2.0, 4.0) for b in (-4.0, -2.0, 0.0, 2.0, 4.0)}
    assert {(float(a), float(b)) for a, b in grid().means} == wanted
    assert torch.allclose(grid().covariances, 0.0025 * torch.eye(2, dtype=D).expand(25, 2, 2))


@EXACT
def test_a_draw_begins_with_the_smaller_draw(make):
    world = make()
    assert torch.equal(world.sample(64, rng=7).x[:8], world.sample(8, rng=7).x)
    assert not torch.equal(world.sample(8, rng=7).x, world.sample(8, rng=8).x)


def test_batches_are_fresh_and_belong_to_their_rng():
    world, index = ring(), torch.arange(16)
    assert torch.equal(world.batch(index, Rng(1)("step", 3)).x, world.batch(index + 5, Rng(1)("step", 3)).x)
    assert not torch.equal(world.batch(index, Rng(1)("step", 3)).x, world.batch(index, Rng(1)("step", 4)).x)
    halves = [world.batch(index[:8], Rng(1).rows(first)).x for first in (0, 8)]
    assert torch.equal(torch.cat(halves), world.batch(index, Rng(1)).x)


@EXACT
def test_centre_and_scale_are_those_of_the_points(make):
    world = make()
    x = world.sample(20_000, rng=2).x
    field = world.space.only
    rms = float((x - x.mean(0)).square().mean().sqrt())
    assert field.scale == pytest.approx(rms, rel=0.03)
    assert field.centre == pytest.approx(float(x.mean()), abs=0.03 * field.scale + 0.01)


def test_evidence_is_joint_over_posterior():
    """log p(x) = log p(x, z) - log p(z | x) at every z."""
    weight = torch.tensor([[1.0, 0.2], [-0.5, 0.4], [0.0, 2.0]], dtype=D)
    world = LinearGaussian(weight, 0.3, bias=torch.tensor([1.0, 0.0, -2.0]))
    torch.set_default_dtype(D)
    x = world.sample(5, rng=3).x
    z = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(world.log_joint(x, z) - world.posterior(x).log_prob(z), world.log_prob(x))


def test_likelihood_is_exact_and_of_whole_points():
    world = ring()
    x = world.sample(4, rng=0).x
    value = world.log_likelihood(x)
    assert (value.kind, value.measure, value.count) == ("exact", "plane", 2)
    with pytest.raises(ValueError, match="whole points"):
        world.log_likelihood(x, known=torch.zeros(4, 2, dtype=torch.bool))


def test_worlds_are_known_by_their_parameters():
    assert ring().fingerprint == ring().fingerprint
    assert len({ring().fingerprint, ring(sigma=0.02).fingerprint, grid().fingerprint, Pinwheel().fingerprint}) == 4


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ring(sigma=0.0), "sigma must be positive"),
        (lambda: GaussianMixture(torch.zeros(2, 2), torch.zeros(2, 3, 3)), r"means \(k, d\)"),
        (lambda: GaussianMixture(torch.zeros(1, 2), torch.zeros(1, 2, 2)), "positive definite"),
        (
            lambda: GaussianMixture(torch.zeros(1, 2), torch.eye(2)[None], weights=torch.tensor([-1.0])),
            "positive weight",
        ),
        (lambda: Checkerboard(3), "even side"),
        (lambda: Pinwheel(0), "at least one arm"),
        (lambda: LinearGaussian(torch.zeros(2, 1), -1.0), "positive sigma"),
        (lambda: ring().sample(3, y=torch.zeros(3), rng=0), "no classes"),
    ],
)
def test_refusals(make, said):
    with pytest.raises(ValueError, match=said):
        make()
