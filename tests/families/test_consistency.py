"""What is true of consistency models alone: where they end, whom they follow, what a teacher's weights become."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Stored
from simulacra.core.optimisers import AdamW, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.consistency import Consistency, ConsistencyConfig, FromData, FromTeacher, Target
from simulacra.families.diffusion import Diffusion, DiffusionConfig
from simulacra.mathematics import preconditioning
from simulacra.mathematics.preconditioning import edm
from simulacra.mathematics.solvers import heun, karras
from simulacra.mathematics.trajectories import Pair, Refining, anchored
from simulacra.modalities.toys import GaussianMixture
from simulacra.nets import denoisers
from simulacra.nets.conditions import Told
from simulacra.training.loop import train
from simulacra.training.settings import Training

SMALL = denoisers.Dense(width=64, depth=2)
ADAM = AdamW(lr=3e-3, schedule=Warmup(steps=20, decay=0.7))
LOW, HIGH = 0.002, 80.0


def two_modes() -> GaussianMixture:
    return GaussianMixture.isotropic(torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), 0.5)


def line() -> Space:
    return Space(fields={"p": Continuous(low=-math.inf, high=math.inf, shape=(1,))}, measure="line")


class Oracle(nn.Module):
    """The right denoiser of a world in its standard units, where a teacher is expected."""

    def __init__(self, world: GaussianMixture) -> None:
        super().__init__()
        self.world, self.deviation = world, torch.ones(())

    def forward(self, x: Tensor, s: Tensor, given: Tensor | None) -> Tensor:
        f = self.world.space.only
        return (self.world.denoise(x * f.scale + f.centre, s * f.scale) - f.centre) / f.scale


class RightAnswer(nn.Module):
    """The network that makes f the flow of N(0, 1), x sqrt((1 + low^2) / (1 + s^2)), behind ``edm`` and its anchor."""

    def forward(self, into: Tensor, noise: Tensor, beside: None = None, given: None = None) -> Tensor:
        level = (4 * noise).exp()
        c = anchored(edm(level, torch.ones_like(level)), level, LOW)
        x = into / c.into[:, None]
        end = x * ((1 + LOW**2) / (1 + level.square())).sqrt()[:, None]
        return ((end - c.skip[:, None] * x) / c.out[:, None]).nan_to_num()


@pytest.mark.parametrize("name", ["edm", "v", "velocity", "clean", "epsilon"])
def test_at_the_lowest_level_it_is_the_identity_whatever_the_weights(name: str):
    config = ConsistencyConfig(backbone=SMALL, preconditioning=getattr(preconditioning, name))
    model = Consistency(config, two_modes().space)
    with torch.no_grad():
        for i, p in enumerate(model.network.parameters()):
            p.copy_(Rng(0)("w", i).normal((1, p.numel())).reshape(p.shape))
    x = Rng(1)("x").normal((8, 2))
    assert torch.equal(model._end(x, torch.full((8,), LOW), None), x)
    assert not torch.equal(model._end(x, torch.full((8,), 1.0), None), x)


@pytest.mark.parametrize("intervals", [40, 80])
def test_the_flow_of_a_normal_is_consistent_and_the_better_the_closer(intervals: int):
    world = GaussianMixture.isotropic(torch.zeros(1, 1), 1.0)
    found = []
    for cells in (intervals, 2 * intervals):
        config = ConsistencyConfig(
            backbone=SMALL, target=FromTeacher(), curriculum=Refining(first=cells, last=cells), huber=1e-9
        )
        model = Consistency(config, world.space)
        model.network, model.teacher = RightAnswer(), Oracle(world)
        model = model.double()
        x = world.draw(500, Rng(0)).double()
        found.append(float(model.loss(Batch(x=x), Rng(1)).terms["missed"]))
    # a step of Heun's errs by its length cubed
    assert 2.7 < math.log2(found[0] / found[1]) < 3.3


def test_from_data_the_nearer_point_is_the_same_example_with_the_same_noise():
    clean, noise = torch.ones(2, 3), torch.full((2, 3), 2.0)
    pair = Pair(torch.tensor([0.5, 1.0]), torch.tensor([1.0, 3.0]))
    near = FromData().near(clean, noise, pair, None, None)
    assert near.tolist() == [[2.0] * 3, [3.0] * 3]


def distilled(world: GaussianMixture, target: Target, curriculum: Any, steps: int) -> Consistency:
    config = ConsistencyConfig(backbone=SMALL, target=target, curriculum=curriculum, optimiser=ADAM)
    model = Consistency(config, world.space)
    if model.teacher is not None:
        model.teacher = Oracle(world)
    return train(model, world, Training(steps=steps, batch=256, save_seconds=None)).averaged


def off(model: Consistency, world: GaussianMixture) -> float:
    """How far one step ends from where the exact flow does, rms, in the world's own units."""
    z = Rng(7)("z").normal((1_000, 2))
    oracle = Oracle(world)
    ends = heun(lambda x, s: oracle(x, s, None), z.double() * model._prior(), karras(100, LOW, HIGH)[:-1])
    truth = model.continuum.outward(ends)
    assert isinstance(truth, Tensor)
    with torch.no_grad():
        found = model.decode(z)
    assert isinstance(found, Tensor)
    return float((found - truth).square().mean().sqrt())


@pytest.mark.slow
def test_distilling_the_exact_denoiser_of_two_modes_gives_its_flow():
    world = two_modes()
    model = distilled(world, FromTeacher(), Refining(first=20, last=80), 1500)
    # modes 4 apart and 0.5 wide: an rms of 0.2 holds a few points in a hundred that end in the other mode
    assert off(model, world) < 0.2


@pytest.mark.slow
def test_training_from_data_alone_gives_the_two_modes_in_one_step_and_in_two():
    world = two_modes()
    model = distilled(world, FromData(), Refining(first=10, last=80), 1000)
    for steps in (1, 2):
        x = model.sample(2_000, rng=1, steps=steps).x
        assert isinstance(x, Tensor)
        assert abs(float((x[:, 0] < 0).double().mean()) - 0.5) < 0.06  # five standard errors
        # a few points in a hundred lie between the modes
        assert abs(float((x[:, 0].abs() - 2).std()) - 0.5) < 0.25
        assert abs(float(x[:, 1].std()) - 0.5) < 0.12
    assert off(model, world) < 0.45


def test_a_little_training_already_follows_the_flow_of_a_normal():
    world = GaussianMixture.isotropic(torch.zeros(1, 2), 0.5)
    before = Consistency(ConsistencyConfig(backbone=SMALL), world.space)
    assert off(before, world) > 0.4  # all at the mean
    assert off(distilled(world, FromTeacher(), Refining(first=8, last=8), 150), world) < 0.3


def labelled() -> Stored:
    space = Space(fields=line().fields, y=Classes(names=("low", "high")), measure="line")
    y = Rng(0)("y").integers(2, (512,))
    return Stored(space=space, x=(2.0 * y - 1)[:, None] + 0.3 * Rng(0)("x").normal((512, 1)), y=y)


def test_labels_are_heard():
    data = labelled()
    config = ConsistencyConfig(backbone=SMALL, optimiser=ADAM, curriculum=Refining(first=8, last=8))
    model = Consistency(config, data.space)
    model = train(model, data, Training(steps=150, batch=128, save_seconds=None)).averaged
    for label, mean in ((0, -1.0), (1, 1.0)):
        x = model.sample(256, y=torch.full((256,), label), rng=1).x
        assert abs(float(x.mean()) - mean) < 0.5


def teacher(space: Space, **settings: Any) -> Diffusion:
    model = Diffusion(DiffusionConfig(backbone=SMALL, **settings), space, rng=3)
    with torch.no_grad():
        model.deviation.fill_(0.7)
    return model


@pytest.mark.parametrize("target", [FromData(), FromTeacher()])
def test_it_begins_as_its_teacher(target: Target):
    data = labelled()
    of = teacher(data.space)
    model = Consistency(ConsistencyConfig(backbone=SMALL, target=target), data.space, rng=5)
    model.learn_from(of.state_dict())
    if model.teacher is not None:
        model.fit(data)
    x, s, given = Rng(0)("x").normal((4, 1)), torch.tensor([0.1, 1.0, 5.0, 80.0]), torch.eye(2)[[0, 1, 0, 1]]
    straight = x + ((LOW - s) / s)[:, None] * (x - of._denoise(x, s, Told(None, given)))
    torch.testing.assert_close(model._end(x, s, given), straight)
    if model.teacher is not None:
        torch.testing.assert_close(model.teacher(x, s, given), of._denoise(x, s, Told(None, given)))
        # the teacher is not learning
        model.network.requires_grad_(True)
        loss = model.loss(data.batch(torch.arange(32), Rng(0)), Rng(1))
        loss.total.backward()
        assert all(p.grad is None for p in model.teacher.parameters())
        assert float(model.teacher.deviation) == float(model.deviation) == pytest.approx(0.7)


def test_guidance_of_the_teacher_is_heard():
    pair = Pair(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 1.0]))
    clean, noise, given = torch.zeros(2, 1), torch.ones(2, 1), torch.eye(2)

    class Loud(nn.Module):
        def forward(self, x: Tensor, s: Tensor, given: Tensor) -> Tensor:
            return given[:, 1:]

    ends = [FromTeacher(guidance=w).near(clean, noise, pair, Loud(), given)[:, 0] for w in (1.0, 3.0)]
    # from 1 half of the way to the denoised: 0 and 1 without, 0 and 3 with it (Heun's second look says the same there)
    assert float(ends[0][1] - ends[0][0]) > 0
    torch.testing.assert_close(ends[1][1] - ends[1][0], 3 * (ends[0][1] - ends[0][0]))


def test_the_curriculum_follows_the_budget():
    world = two_modes()
    model = Consistency(ConsistencyConfig(backbone=SMALL), world.space)
    trained = train(model, world, Training(steps=4, batch=8, save_seconds=None))
    assert float(trained.model.done) == 0.75  # of the last step, whose share of the budget was not yet used up


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: ConsistencyConfig(low=2.0, high=1.0), "below half of high; got 2.0 and 1.0"),
        (lambda: ConsistencyConfig(huber=0.0), "huber must be positive; got 0"),
        (
            lambda: Consistency(ConsistencyConfig(), line()).sample(2, rng=0, steps=0),
            "at least 1 step; got 0",
        ),
        (
            lambda: Consistency(ConsistencyConfig(backbone=denoisers.Dense(width=32)), line()).learn_from(
                teacher(line()).state_dict()
            ),
            "the teacher has another network: network.",
        ),
    ],
)
def test_refusals(make: Any, told: str):
    with pytest.raises(ValueError, match=told):
        make()
