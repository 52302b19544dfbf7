"""What is true of flow matching alone: what it learns, how straight it runs, how it is guided."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from simulacra.core.batch import Batch, Stored
from simulacra.core.optimisers import AdamW, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.flow_matching import FlowMatching, FlowMatchingConfig, Reflow, logit_normal, uniform
from simulacra.mathematics.couplings import Coupling, independent, optimal_transport
from simulacra.mathematics.flow_likelihood import exact_trace
from simulacra.mathematics.velocity import euler, runge_kutta
from simulacra.modalities.toys import GaussianMixture
from simulacra.nets import denoisers
from simulacra.training.loop import train
from simulacra.training.settings import Training

ADAM = AdamW(lr=3e-3, schedule=Warmup(steps=20, decay=0.7))
SMALL = denoisers.Dense(width=64, depth=2)


def two_modes() -> GaussianMixture:
    return GaussianMixture.isotropic(torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), 0.5)


def trained(coupling: Coupling) -> FlowMatching:
    world = two_modes()
    model = FlowMatching(FlowMatchingConfig(backbone=SMALL, coupling=coupling, optimiser=ADAM), world.space)
    return train(model, world, Training(steps=800, batch=256, save_seconds=None)).averaged


def curvature(model: FlowMatching) -> float:
    """How far one step of Euler's ends from where the flow does, rms."""
    one = model.sample(1_000, rng=5, steps=1, integrator=euler).x
    many = model.sample(1_000, rng=5, steps=32, integrator=runge_kutta).x
    assert isinstance(one, Tensor)
    assert isinstance(many, Tensor)
    return float((one - many).square().mean().sqrt())


@pytest.mark.slow
def test_both_couplings_lead_to_the_data_and_optimal_transport_there_straight():
    world, found = two_modes(), {}
    for coupling in (independent, optimal_transport):
        model = trained(coupling)
        x = model.sample(2_000, rng=1).x
        assert isinstance(x, Tensor)
        left = float((x[:, 0] < 0).double().mean())
        assert abs(left - 0.5) < 0.06  # five standard errors
        assert abs(float((x[:, 0].abs() - 2).std()) - 0.5) < 0.07
        assert abs(float(x[:, 1].std()) - 0.5) < 0.07
        truth = float(world.log_prob(world.draw(4_000, Rng(3)).double()).mean())
        estimate = model.log_likelihood(world.draw(500, Rng(2)), rng=4, trace=exact_trace)
        assert abs(estimate.mean() - truth) < 0.1 + 5 * estimate.standard_error()
        found[coupling] = curvature(model)
    assert found[optimal_transport] < 0.5 * found[independent]


@pytest.mark.slow
def test_reflow_runs_straighter_and_leads_where_the_first_flow_did():
    world, first = two_modes(), trained(independent)
    config = FlowMatchingConfig(backbone=SMALL, coupling=Reflow(steps=4), times=uniform, optimiser=ADAM)
    model = FlowMatching(config, world.space)
    model.learn_from(first.state_dict())
    model = train(model, world, Training(steps=400, batch=256, save_seconds=None)).averaged
    assert curvature(model) < 0.3 * curvature(first)
    x = model.sample(2_000, rng=1, steps=1, integrator=euler).x
    assert isinstance(x, Tensor)
    assert abs(float((x[:, 0] < 0).double().mean()) - 0.5) < 0.06  # five standard errors
    assert abs(float((x[:, 0].abs() - 2).std()) - 0.5) < 0.15
    # the same noise, the same example, but near where the flow parts
    z = Rng(3)("z").normal((1_000, 2))
    with torch.no_grad():
        ours, theirs = model.decode(z), first.decode(z)
    assert isinstance(ours, Tensor)
    assert isinstance(theirs, Tensor)
    assert float((ours - theirs).norm(dim=1).median()) < 0.15


def test_reflow_pairs_noise_with_what_the_first_flow_makes_of_it():
    world = two_modes()
    first = FlowMatching(FlowMatchingConfig(backbone=SMALL), world.space, rng=4)
    with torch.no_grad():
        for i, p in enumerate(first.network.parameters()):
            p.add_(0.05 * Rng(0)("w", i).normal((1, p.numel())).reshape(p.shape))
    reflow = Reflow(integrator=runge_kutta, steps=4)
    model = FlowMatching(FlowMatchingConfig(backbone=SMALL, coupling=reflow), world.space)
    model.learn_from(first.state_dict())
    z = Rng(1)("z").normal((5, 2))
    made = model.continuum.outward(model._carried(reflow, z, None))
    torch.testing.assert_close(made, first.decode(z, steps=4).detach())
    # data is not looked at: the loss is the same whatever it is
    losses = [float(model.loss(Batch(x=x), Rng(2)).total.detach()) for x in (torch.zeros(8, 2), world.draw(8, Rng(0)))]
    assert losses[0] == losses[1]
    assert all(p.grad is None for p in model.teacher.parameters())
    with pytest.raises(ValueError, match="the other flow has another network"):
        FlowMatching(FlowMatchingConfig(), world.space).learn_from(first.state_dict())
    with pytest.raises(ValueError, match="at least 1 step; got 0"):
        Reflow(steps=0)


def test_times():
    share = (torch.arange(10_000) + 0.5) / 10_000
    assert torch.equal(uniform(share), share)
    t = logit_normal(share)
    logit = (t / (1 - t)).log()
    assert abs(float(logit.mean())) < 1e-3
    assert abs(float(logit.std()) - 1) < 1e-2
    assert 0 < float(logit_normal(torch.zeros(1))) < float(logit_normal(torch.ones(1) - 2.0**-24)) < 1


def labelled() -> Stored:
    space = Space(
        fields={"p": Continuous(low=-math.inf, high=math.inf, shape=(1,))},
        y=Classes(names=("low", "high")), measure="line",
    )  # fmt: skip
    y = Rng(0)("y").integers(2, (512,))
    return Stored(space=space, x=(2.0 * y - 1)[:, None] + 0.3 * Rng(0)("x").normal((512, 1)), y=y)


@pytest.mark.parametrize("coupling", [independent, optimal_transport])
def test_labels_are_heard_and_guidance_exaggerates_them(coupling: Coupling):
    data = labelled()
    config = FlowMatchingConfig(backbone=SMALL, coupling=coupling, optimiser=ADAM, unlabelled=0.2)
    model = train(FlowMatching(config, data.space), data, Training(steps=300, batch=128, save_seconds=None)).averaged
    high = torch.ones(500, dtype=torch.int64)
    means = {w: float(model.sample(500, y=high, rng=1, guidance=w).x.mean()) for w in (0.0, 1.0, 3.0)}
    assert abs(means[1.0] - 1) < 0.15
    assert abs(means[0.0]) < 0.25, "without the label, of both classes"
    assert means[3.0] > means[1.0] + 0.1
    deviation = float(model.sample(500, y=high, rng=1).x.std())
    assert abs(deviation - 0.3) < 0.12, "optimal transport across labels would give half a normal"


def test_a_weaker_model_guides_away_from_itself():
    space, config = two_modes().space, FlowMatchingConfig(backbone=SMALL)
    strong, weak = FlowMatching(config, space), FlowMatching(config, space)
    weak.network.register_forward_hook(lambda _, __, out: out + 1)
    alone = strong.sample(8, rng=0, steps=1, integrator=euler).x
    # v + (3 - 1) (v - (v + 1)) = v - 2, and a step of Euler's goes from 1 to 0
    pushed = strong.sample(8, rng=0, steps=1, integrator=euler, guide=weak, guidance=3.0).x
    torch.testing.assert_close(pushed, alone + 2 * space.only.scale)
    other = FlowMatching(FlowMatchingConfig(backbone=SMALL, coupling=optimal_transport), space)
    with pytest.raises(ValueError, match="knows another path"):
        strong.sample(2, rng=0, guide=other, guidance=2.0)


def test_wrong_settings_and_calls():
    with pytest.raises(ValueError, match=r"share in \[0, 1\); got 1"):
        FlowMatchingConfig(unlabelled=1.0)
    model = FlowMatching(FlowMatchingConfig(backbone=SMALL), two_modes().space)
    with pytest.raises(ValueError, match="at least 1 step; got 0"):
        model.sample(3, rng=0, steps=0)
    with pytest.raises(ValueError, match="got known with gaps"):
        model.log_likelihood(torch.zeros(2, 2), known=torch.tensor([[True, False]] * 2))
