"""Optimiser settings: which parameter goes where, and with what rate."""

import math

import pytest
import torch
from torch import nn

from simulacra.core.muon import Orthogonal, orthogonalised
from simulacra.core.optimisers import AdamW, Muon, Optimiser, Warmup, constant, lazy
from simulacra.core.randomness import Rng


def network() -> nn.Sequential:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(16, 8), nn.Linear(8, 3))
    net[3].weight.muon = True
    net[3].bias.muon = True  # only matrices and kernels qualify
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


def test_muon_takes_the_marked_matrices_and_kernels_and_no_others():
    net = network()
    built = Muon(lr=0.3, momentum=0.8, weight_decay=0.2, rest=AdamW(lr=0.01)).build(net)
    (muon,) = (o for o in built if isinstance(o, Orthogonal))
    taken = {id(p) for o, _, p in groups(built) if o is muon}
    assert taken == {id(net[0].weight), id(net[3].weight)}
    assert {muon.param_groups[0][k] for k in ("lr", "momentum", "weight_decay")} == {0.3, 0.8, 0.2}
    assert {g["lr"] for o, g, _ in groups(built) if isinstance(o, torch.optim.AdamW)} == {0.01}
    assert all(isinstance(o, torch.optim.AdamW) for o in Muon().build(nn.Linear(2, 2)))


def pair(*shape: int) -> tuple[nn.Parameter, nn.Parameter]:
    values = Rng(0)("w", *shape).normal(shape)
    return nn.Parameter(values.clone()), nn.Parameter(values.clone())


def test_muon_steps_matrices_as_torch_does():
    pairs = [pair(6, 4), pair(6, 4), pair(3, 9)]
    ours = Orthogonal([a for a, _ in pairs], lr=0.1, momentum=0.8, weight_decay=0.2)
    theirs = torch.optim.Muon(
        [b for _, b in pairs], lr=0.1, momentum=0.8, weight_decay=0.2, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(3):
        for number, (a, b) in enumerate(pairs):
            a.grad = Rng(1)("g", step, number).normal(a.shape)
            b.grad = a.grad.clone()
        ours.step()
        theirs.step()
    for a, b in pairs:  # both orthogonalise in bfloat16, 8 bits of mantissa, in sums of another order
        torch.testing.assert_close(a.detach(), b.detach(), atol=3 * 0.1 * 2**-6, rtol=0)


def test_a_kernel_is_stepped_as_the_matrix_of_its_output_channels():
    kernel, matrix = nn.Parameter(torch.zeros(8, 3, 2, 2)), nn.Parameter(torch.zeros(8, 12))
    kernel.grad = Rng(2)("g").normal((8, 3, 2, 2))
    matrix.grad = kernel.grad.flatten(1)
    for p in (kernel, matrix):
        Orthogonal([p], lr=1.0).step()
    torch.testing.assert_close(kernel.detach().flatten(1), matrix.detach(), atol=0, rtol=0)


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (20, 20)])
def test_muon_s_directions_are_orthogonal_factors(shape):
    # singular vectors stay, singular values go to between about 0.7 and 1.2 (Jordan et al. 2024)
    x = Rng(3)("x", *shape).normal(shape).double()
    u, values, vh = torch.linalg.svd(x, full_matrices=False)
    found = u.mT @ orthogonalised(x[None])[0].double() @ vh.mT
    large = values > 0.1 * values.max()
    assert (found - torch.diag(found.diagonal())).abs().max() < 0.05
    assert ((found.diagonal() > 0.6) & (found.diagonal() < 1.3))[large].all()


def test_muon_refuses_vectors():
    with pytest.raises(ValueError, match=r"matrices or kernels; got a parameter of shape \(3,\)"):
        Orthogonal([nn.Parameter(torch.zeros(3))], lr=0.1)


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


def test_a_lazy_players_rate_and_momenta_stand_for_as_many_steps():
    # Karras et al. 2020, appendix B: c = k / (k + 1)
    settings = lazy(AdamW(lr=2e-3, betas=(0.0, 0.99)), 16)
    assert math.isclose(settings.lr, 2e-3 * 16 / 17)
    assert settings.betas[0] == 0
    assert math.isclose(settings.betas[1] ** 17, 0.99**16)
