"""Every bijection of a flow: its log-determinant is autograd's, its inverse inverts, no dimension sees a later one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.nets.activations import relu, tanh
from simulacra.nets.autoregressive import Autoregressive
from simulacra.nets.coupling import Coupling
from simulacra.nets.initialise import initialise
from simulacra.nets.transforms import (
    Additive,
    Affine,
    Bijection,
    Composed,
    Inverted,
    LULinear,
    Reverse,
    Shuffle,
    Spline,
    Transform,
)

F64 = torch.float64
HIDDEN = (16, 16)
UNIVARIATE = {"additive": Additive(), "affine": Affine(), "spline": Spline(bins=5)}
TRANSFORMS: dict[str, Transform] = {
    "reverse": Reverse(),
    "shuffle": Shuffle(),
    "lu": LULinear(),
    **{f"coupling, {n}": Coupling(univariate=u, hidden=HIDDEN, activation=tanh) for n, u in UNIVARIATE.items()},
    **{f"autoregressive, {n}": Autoregressive(univariate=u, hidden=HIDDEN) for n, u in UNIVARIATE.items()},
    "inverted": Inverted(transform=Autoregressive(univariate=Spline(), hidden=HIDDEN)),
    "wide": Autoregressive(univariate=Affine(), hidden=(260, 260)),
    "narrow": Autoregressive(hidden=(2,)),
    "deep": Autoregressive(hidden=(24, 20, 28)),
}


def built(transform: Transform, dims: int, given: int = 0, spread: float = 0.5) -> Bijection:
    """Weights drawn anew, so that nothing is near the identity."""
    bijection = transform.build(dims, given).double()
    initialise(bijection, Rng(0))
    with torch.no_grad():
        for name, p in bijection.named_parameters():
            p.copy_(spread * Rng(1)(name).normal(p.shape, dtype=F64))
    return bijection


def draw(name: str, *shape: int) -> Tensor:
    return Rng(2)(name).normal(shape, dtype=F64)


def jacobian(bijection: Bijection, x: Tensor, given: Tensor | None) -> Tensor:
    """(b, d, d) by autograd, a row at a time."""
    x = x.clone().requires_grad_()
    z, _ = bijection(x, given)
    rows = [torch.autograd.grad(z_i.sum(), [x], retain_graph=True)[0].T for z_i in z]
    return torch.stack(rows, 1)


@pytest.mark.parametrize("dims", [1, 2, 5])
@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_log_determinant_is_autograd_s_and_the_inverse_inverts(name: str, dims: int, context: int):
    bijection = built(TRANSFORMS[name], dims, context)
    x, given = 2 * draw("x", dims, 6), draw("given", context, 6) if context else None
    z, log_det = bijection(x, given)
    assert torch.allclose(torch.linalg.slogdet(jacobian(bijection, x, given))[1], log_det, atol=1e-8)
    again, back = bijection.inverse(z, given)
    assert torch.allclose(again, x, atol=1e-8)
    assert torch.allclose(back, -log_det, atol=1e-8)


@pytest.mark.parametrize(
    "name", [n for n in TRANSFORMS if n.startswith("autoregressive") or n in ("wide", "narrow", "deep")]
)
@pytest.mark.parametrize("context", [0, 2])
def test_a_dimension_sees_those_before_it_and_no_other(name: str, context: int):
    bijection = built(TRANSFORMS[name], 7, context)
    given = draw("given", context, 40) if context else None
    found = jacobian(bijection, draw("x", 7, 40), given)
    assert not bool(found.triu(1).any())
    assert bool((found.diagonal(dim1=1, dim2=2) != 0).all())
    if name != "narrow":  # two units cannot show every dimension to every later one
        assert bool(found.abs().amax(0)[*torch.tril_indices(7, 7, -1)].all())


@pytest.mark.parametrize("dims", [1, 4])
@pytest.mark.parametrize("name", [n for n in TRANSFORMS if n not in ("reverse", "shuffle", "lu")])
def test_what_is_given_reaches_every_dimension_that_is_transformed(name: str, dims: int):
    bijection = built(TRANSFORMS[name], dims, 3)
    x, given = draw("x", dims, 30), draw("given", 3, 30).requires_grad_()
    z, _ = bijection(x, given)
    first = dims // 2 if name.startswith("coupling") else 0
    for z_i in z[first:]:
        (slope,) = torch.autograd.grad(z_i.sum(), [given], retain_graph=True)
        assert bool(slope.abs().amax(1).all())


def test_a_coupling_leaves_its_first_half_alone():
    x = draw("x", 5, 10)
    z, _ = built(Coupling(hidden=HIDDEN), 5)(x)
    assert torch.equal(z[:2], x[:2])
    assert not bool((z[2:] == x[2:]).any())


def test_gradients_flow_through_the_slow_direction():
    """The weights' gradient of the stepwise inverse is that of finite differences."""
    bijection = built(Autoregressive(univariate=Spline(bins=3), hidden=(2,), activation=tanh), 3)
    z, names = draw("z", 3, 1), [n for n, _ in bijection.named_parameters()]

    def inverse(*values: Tensor) -> tuple[Tensor, Tensor]:
        return torch.func.functional_call(
            Caller(bijection), dict(zip(map("b.".__add__, names), values, strict=True)), z
        )

    assert torch.autograd.gradcheck(inverse, tuple(bijection.parameters()))


class Caller(nn.Module):
    """Calls a bijection's inverse, so that functional_call can."""

    def __init__(self, b: Bijection) -> None:
        super().__init__()
        self.b = b

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.b.inverse(z)


def test_first_weights_are_near_the_identity():
    for transform in (Coupling(), Autoregressive(univariate=Spline())):
        bijection = transform.build(6, 0)
        initialise(bijection, Rng(0))
        x = draw("x", 6, 100).float()
        z, log_det = bijection(x)
        assert float((z - x).detach().abs().max()) < 0.5
        assert float(log_det.detach().abs().max()) < 0.5


def test_a_composition_adds_its_log_determinants_up():
    parts = [built(TRANSFORMS[n], 4) for n in ("lu", "reverse", "coupling, affine")]
    x = draw("x", 4, 5)
    z, total = Composed(parts)(x)
    steps = []
    for part in parts:
        x, log_det = part(x)
        steps.append(log_det)
    assert torch.equal(z, x)
    assert torch.allclose(total, torch.stack(steps).sum(0))


@pytest.mark.parametrize("name", ["coupling, affine", "coupling, spline", "autoregressive, affine", "inverted"])
def test_weights_of_deviation_five_stay_finite_in_single_precision(name: str):
    made = built(TRANSFORMS[name], 6, spread=5.0).float()
    x = torch.cat([draw("x", 6, 500), torch.full((6, 1), 1e6, dtype=F64), torch.zeros(6, 1, dtype=F64)], 1).float()
    for direction in (made, made.inverse):
        y, log_det = direction(x)
        assert bool(y.isfinite().all())
        assert bool(log_det.isfinite().all())


@pytest.mark.parametrize("univariate", UNIVARIATE)
def test_a_coupling_s_backward_error_under_weights_of_deviation_five(univariate: str):
    """z -> x -> z in float32: the untouched half is the same number both ways, so the parameters are, too."""
    made = built(Coupling(univariate=UNIVARIATE[univariate], hidden=(64, 64), activation=relu), 6, spread=5.0).float()
    z = draw("z", 6, 2000).float()
    x, _ = made.inverse(z)
    again, _ = made(x)
    assert float((again - z).detach().abs().max()) <= 1e-4


def test_a_spline_without_a_box_is_refused():
    with pytest.raises(ValueError, match=r"bound must be positive; got -1"):
        Spline(bound=-1.0)
