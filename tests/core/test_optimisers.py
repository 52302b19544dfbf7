"""Optimiser settings: which parameter goes where, and with what rate."""

import pytest
import torch
from torch import nn

from simulacra.core.optimisers import AdamW, Muon, Optimiser, Warmup, constant


def network() -> nn.Sequential:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(16, 8), nn.Linear(8, 3))
    net[3].weight.muon = True
    net[3].bias.muon = True  # only matrices qualify
    net[0].weight.muon = True
    return net


def groups(optimisers):
    return [(o, g, p) for o in optimisers for g in o.param_groups for p in g["params"]]


@pytest.mark.parametrize("settings", [AdamW(), Muon(), Muon(rest=AdamW(weight_decay=0.1))])
def test_every_parameter_is_stepped_by_exactly_one_optimiser(settings):
    net = network()
    net[4].weight.requires_grad_(False)
    assert isinstance(settings, Optimiser)
    taken = [id(p) for _, _, p in groups(settings.build(net))]
    assert sorted(taken) == sorted(id(p) for p in net.parameters() if p.requires_grad)


def test_muon_takes_the_marked_matrices_and_no_others():
    net = network()
    built = Muon(lr=0.3, momentum=0.8, weight_decay=0.2, rest=AdamW(lr=0.01)).build(net)
    assert [p is net[3].weight for o, _, p in groups(built) if isinstance(o, torch.optim.Muon)] == [True]
    (muon,) = (o for o in built if isinstance(o, torch.optim.Muon))
    assert {muon.param_groups[0][k] for k in ("lr", "momentum", "weight_decay")} == {0.3, 0.8, 0.2}
    assert {g["lr"] for o, g, _ in groups(built) if isinstance(o, torch.optim.AdamW)} == {0.01}
    assert all(isinstance(o, torch.optim.AdamW) for o in Muon().build(nn.Linear(2, 2)))


def test_weight_decay_acts_on_matrices_alone():
    net = network()
    for _, group, p in groups(AdamW(weight_decay=0.1).build(net)):
        assert group["weight_decay"] == (0.1 if p.ndim >= 2 else 0.0)
    # with no gradient at all, a step shrinks the matrices by 1 - lr * decay and leaves the vectors
    before = [p.detach().clone() for p in net.parameters()]
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    (optimiser,) = AdamW(lr=0.5, weight_decay=0.1).build(net)
    optimiser.step()
    for p, old in zip(net.parameters(), before, strict=True):
        torch.testing.assert_close(p.detach(), old * 0.95 if p.ndim >= 2 else old)


def test_first_step_of_adam_is_the_learning_rate_against_the_sign():
    # Kingma & Ba 2015: with bias correction the first step is lr * g / (|g| + eps)
    weight = nn.Linear(3, 2, bias=False).double()
    before = weight.weight.detach().clone()
    gradient = torch.tensor([[1.0, -2.0, 0.5], [-1e-3, 3.0, -7.0]], dtype=torch.float64)
    weight.weight.grad = gradient
    (optimiser,) = AdamW(lr=0.01).build(weight)
    optimiser.step()
    torch.testing.assert_close(before - weight.weight.detach(), 0.01 * gradient.sign(), rtol=1e-4, atol=0)


def test_warmup_rises_stays_and_decays():
    schedule = Warmup(steps=4, decay=0.5, final=0.1)
    assert [schedule(0.0, step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert [schedule(f, 100) for f in (0.0, 0.25, 0.5)] == [1, 1, 1]
    assert schedule(0.75, 100) == pytest.approx(0.55)
    assert schedule(1.0, 100) == pytest.approx(0.1)
    assert schedule(1.5, 100) == pytest.approx(0.1)  # past its budget it stays
    assert schedule(0.75, 1) == pytest.approx(0.5 * 0.55)


@pytest.mark.parametrize("schedule", [constant, Warmup(), Warmup(decay=0.0, final=0.5)])
def test_schedules_that_never_change(schedule):
    assert {schedule(f, s) for f in (0.0, 0.5, 1.0) for s in (0, 1, 10**6)} == {1.0}


def test_warmup_over_the_whole_budget_is_a_straight_line():
    schedule = Warmup(decay=1.0)
    for fraction in (0.0, 0.3, 1.0):
        assert schedule(fraction, 0) == pytest.approx(1 - fraction)
