"""What is true of diffusion models alone: what they learn, how they are guided, and what their likelihoods bound."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from simulacra.core.batch import Batch, Stored
from simulacra.core.optimisers import AdamW, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.families.diffusion import Diffusion, DiffusionConfig
from simulacra.mathematics import preconditioning, solvers
from simulacra.mathematics.guidance import guided
from simulacra.mathematics.paths import Cosine, Rectified
from simulacra.modalities.toys import GaussianMixture
from simulacra.nets import denoisers
from simulacra.nets.continuum import Continuum
from simulacra.nets.noisy import Reconstruction, flow_estimate, variational_bound
from simulacra.nets.unet import UNet
from simulacra.training.loop import train
from simulacra.training.settings import Training

SMALL = denoisers.Dense(width=64, depth=2)


def two_modes() -> GaussianMixture:
    return GaussianMixture.isotropic(torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), 0.5)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"preconditioning": preconditioning.v, "weighting": preconditioning.min_snr,
         "levels": preconditioning.AlongPath(path=Cosine())},
        {"preconditioning": preconditioning.velocity, "weighting": preconditioning.uniform_velocity,
         "levels": preconditioning.AlongPath(path=Rectified())},
    ],
    ids=["edm", "v on the cosine path", "velocity on the straight path"],
)  # fmt: skip
@pytest.mark.slow
def test_it_learns_two_modes_whatever_it_predicts(settings: dict[str, Any]):
    world = two_modes()
    adam = AdamW(lr=3e-3, schedule=Warmup(steps=20, decay=0.7))
    model = Diffusion(DiffusionConfig(backbone=SMALL, optimiser=adam, **settings), world.space)
    model = train(model, world, Training(steps=800, batch=256, save_seconds=None)).averaged
    x = model.sample(2_000, rng=1).x
    left = float((x[:, 0] < 0).double().mean())
    assert abs(left - 0.5) < 0.06  # five standard errors
    assert abs(float((x[:, 0].abs() - 2).std()) - 0.5) < 0.06
    assert abs(float(x[:, 1].std()) - 0.5) < 0.06
    # bound and estimate near the entropy, which for modes this far apart is log 2 + that of a Gaussian
    truth = float(world.log_prob(world.draw(4_000, Rng(3)).double()).mean())
    seen = world.draw(500, Rng(2))
    bound, estimate = model.log_likelihood(seen, rng=4), model.flow_log_likelihood(seen, rng=4)
    # a bound, loose where so small a network is not sure: at levels far below the width of a mode
    assert bound.mean() < truth + 5 * bound.standard_error()
    assert abs(estimate.mean() - truth) < 0.1 + 5 * estimate.standard_error()


def oracle(world: GaussianMixture) -> Any:
    """The right denoiser in the standard units of a world."""
    f = world.space.only

    def denoise(u: Tensor, s: Tensor) -> Tensor:
        return (world.denoise(u * f.scale + f.centre, s * f.scale) - f.centre) / f.scale

    return denoise


def test_with_the_right_denoiser_bound_and_flow_are_the_density():
    world = two_modes()
    c = Continuum.of(world.space, "a test")
    x = world.draw(64, Rng(0)).double()
    how = {"low": 0.002, "high": 80.0, "prior": 80.006, "rng": Rng(1)}
    truth = world.log_prob(x)
    bound = variational_bound(oracle(world), c.inward(x), Reconstruction(c), draws=400, **how)
    gap = truth - bound
    assert -5 * float(gap.std()) / 8 < float(gap.mean()) < 0.05 + 5 * float(gap.std()) / 8
    flow = flow_estimate(oracle(world), c.inward(x), Reconstruction(c), steps=100, **how)
    error = flow - truth  # Hutchinson's probes are right on average
    assert abs(float(error.mean())) < 5 * float(error.std()) / 8 + 1e-3


def test_levels_are_found_again_where_there_is_little_noise():
    space = Space(fields={"p": Continuous(low=-1, high=1, levels=5, shape=(1, 2, 2))}, measure="levels")
    r = Reconstruction(Continuum.of(space, "a test"))
    x = space.only.value(torch.randint(5, (3, 1, 2, 2), generator=torch.Generator().manual_seed(0)).double())
    assert float(r.log_prob(x, x, r.low(0.002)).min()) > -0.1
    # with endless noise every level is as likely
    torch.testing.assert_close(r.log_prob(x, x, 1e6), torch.full((3,), -4 * math.log(5), dtype=torch.float64))


def test_guidance():
    strong = lambda x, s: x + 1  # noqa: E731
    weak = lambda x, s: x - 1  # noqa: E731
    x, s = torch.zeros(3, 2), torch.tensor([0.1, 1.0, 10.0])
    assert guided(strong, weak, 1.0) is strong
    torch.testing.assert_close(guided(strong, weak, 0.0)(x, s), weak(x, s))
    torch.testing.assert_close(guided(strong, weak, 3.0)(x, s), x + 5)
    only = guided(strong, weak, 3.0, low=0.5, high=2.0)(x, s)
    torch.testing.assert_close(only[:, 0], torch.tensor([1.0, 5.0, 1.0]))


def labelled() -> Stored:
    space = Space(
        fields={"p": Continuous(low=-math.inf, high=math.inf, shape=(1,))},
        y=Classes(names=("low", "high")), measure="line",
    )  # fmt: skip
    y = Rng(0)("y").integers(2, (512,))
    return Stored(space=space, x=(2.0 * y - 1)[:, None] + 0.3 * Rng(0)("x").normal((512, 1)), y=y)


def test_labels_are_heard_and_guidance_exaggerates_them():
    data = labelled()
    adam = AdamW(lr=5e-3, schedule=Warmup(steps=20, decay=0.5))
    model = Diffusion(DiffusionConfig(backbone=denoisers.Dense(width=32, depth=1), optimiser=adam), data.space)
    model = train(model, data, Training(steps=250, batch=128, save_seconds=None)).averaged
    high = torch.ones(256, dtype=torch.int64)
    mean = float(model.sample(256, y=high, rng=1, steps=12).x.mean())
    assert abs(mean - 1) < 0.25
    assert float(model.sample(256, y=high, rng=1, steps=12, guidance=4.0).x.mean()) > mean + 0.05
    # no label, no guidance: the same whatever is asked
    same = model.sample(8, y=high[:8], rng=2, steps=6, guidance=1.0).x
    assert torch.equal(same, model.sample(8, y=high[:8], rng=2, steps=6).x)


def test_a_weaker_model_guides_away_from_itself():
    data = labelled()
    make = lambda **s: Diffusion(DiffusionConfig(backbone=SMALL, **s), data.space)  # noqa: E731
    strong, weak = make(), make(preconditioning=preconditioning.v, low=0.001)
    for model, shift in ((strong, 0.0), (weak, -1.0)):
        model.deviation.fill_(0.5)
        # the answer of either is its skip and a constant
        model.network.register_forward_hook(lambda _, __, out, shift=shift: torch.zeros_like(out) + shift)
    x, s = Rng(0)("x").normal((4, 1)), torch.tensor([0.1, 1.0, 5.0, 80.0])
    y = torch.tensor([0, 1, 0, 1])
    # one look of one step ends at the denoised: of either, and pushed
    seen = []
    how: Any = {"y": y, "rng": 1, "steps": 1, "guide": weak, "guidance": 3.0}
    strong.sample(4, **how, solver=lambda denoise, z, levels, rng: seen.append(denoise(x.double(), s.double())) or z)
    strong.sample(
        4, **how, interval=(0.5, 50.0),
        solver=lambda denoise, z, levels, rng: seen.append(denoise(x.double(), s.double())) or z,
    )  # fmt: skip
    here, there = (model._denoiser(y)(x.double(), s.double()) for model in (strong, weak))
    torch.testing.assert_close(seen[0], there + 3 * (here - there))
    torch.testing.assert_close(seen[1][1:3], seen[0][1:3])
    torch.testing.assert_close(seen[1][[0, 3]], here[[0, 3]])
    # the same as without it at 1, and what itself would do is nothing
    alone = strong.sample(8, y=y.repeat(2), rng=1, steps=4).x
    assert torch.equal(strong.sample(8, y=y.repeat(2), rng=1, steps=4, guide=weak).x, alone)
    torch.testing.assert_close(strong.sample(8, y=y.repeat(2), rng=1, steps=4, guide=strong, guidance=3.0).x, alone)
    assert not torch.equal(strong.sample(8, y=y.repeat(2), rng=1, steps=4, guide=weak, guidance=3.0).x, alone)


def test_a_guide_without_classes_is_one_and_a_guide_of_something_else_is_refused():
    data, config = labelled(), DiffusionConfig(backbone=SMALL)
    model = Diffusion(config, data.space)
    draw = lambda guide: model.sample(4, rng=0, steps=2, guide=guide, guidance=2.0)  # noqa: E731
    draw(Diffusion(config, replace(data.space, y=None)))
    with pytest.raises(ValueError, match="of another space"):
        draw(Diffusion(config, two_modes().space))
    with pytest.raises(ValueError, match="told of another y"):
        draw(Diffusion(config, replace(data.space, y=Classes(names=("a", "b")))))
    with pytest.raises(ValueError, match="from 0.01 to 80; expected all from 0.002 to 80"):
        draw(Diffusion(DiffusionConfig(backbone=SMALL, low=0.01), data.space))


def test_codes_lead_back_to_their_examples():
    world = two_modes()
    model = Diffusion(DiffusionConfig(backbone=SMALL), world.space)
    model.fit(world)
    x = world.draw(4, Rng(0))
    back = model.decode(model.encode(x, steps=300), steps=300)
    torch.testing.assert_close(back, x, rtol=0, atol=0.02)


def test_solvers_agree_when_there_are_many_steps():
    model = Diffusion(DiffusionConfig(backbone=SMALL), two_modes().space)
    by = [model.sample(16, rng=3, steps=200, solver=s).x for s in (solvers.heun, solvers.dpm_solver_3m)]
    torch.testing.assert_close(by[0], by[1], rtol=0, atol=5e-3)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14), (4, 7, 5), (2, 1, 3)])
def test_pictures_of_any_size(shape: tuple[int, int, int]):
    net = UNet(shape[0], 2, [4, 8, 8], 1, 6)
    assert net(torch.zeros(2, *shape), torch.zeros(2, 6)).shape == (2, 2, *shape[1:])


def test_the_network_starts_as_nothing_so_the_skip_is_all_there_is():
    model = Diffusion(DiffusionConfig(backbone=denoisers.Convolutional(width=8, blocks=1)), picture_space())
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.denoise(x, 1.0), 0.5 * x)  # c_skip = 1 / (1 + 1)


def picture_space() -> Space:
    return Space(fields={"picture": Continuous(low=-1, high=1, levels=256, shape=(1, 8, 8))}, measure="8-bit pixels")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: DiffusionConfig(low=2.0, high=1.0), r"low must lie in \(0, high\); got 2.0 and 1.0"),
        (lambda: DiffusionConfig(unlabelled=1.0), "a share in"),
        (
            lambda: preconditioning.AlongPath(path=Cosine(), last=1.0),
            "0 < first < last < 1; got 0.001 and 1.0.*zero terminal",
        ),
        (
            lambda: Diffusion(DiffusionConfig(), Space(fields={"w": Categorical(k=3)}, measure="words")),
            "diffusion needs continuous fields; 'w' is categorical",
        ),
        (lambda: Diffusion(DiffusionConfig(backbone=denoisers.DiT(patch=3)), picture_space()), "multiples of patch=3"),
        (lambda: Diffusion(DiffusionConfig(), picture_space()).sample(2, rng=0, steps=0), "at least 1 step; got 0"),
    ],
)
def test_refusals(make: Any, told: str):
    with pytest.raises(ValueError, match=told):
        make()


def test_gaps_and_no_draws_are_refused():
    model = Diffusion(DiffusionConfig(backbone=SMALL), two_modes().space)
    x = torch.zeros(2, 2)
    said = model.log_likelihood(x, known=torch.ones(2, 2, dtype=torch.bool), rng=1).nats
    assert torch.equal(said, model.log_likelihood(x, rng=1).nats)
    with pytest.raises(ValueError, match="whole examples; got known with gaps"):
        model.log_likelihood(x, known=torch.tensor([[True, False], [True, True]]))
    with pytest.raises(ValueError, match="draws must be at least 1; got 0"):
        model.log_likelihood(x, draws=0)


def test_one_step_answers_with_the_denoiser():
    model = Diffusion(DiffusionConfig(backbone=SMALL), two_modes().space)
    z = model.sample(4, rng=5, steps=1, solver=solvers.euler).x
    assert isinstance(model.sample(4, rng=5, steps=1), Batch)
    # at the highest level all that is known is the mean of the data
    assert float(z.abs().max()) < 0.2
