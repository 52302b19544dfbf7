"""Charts are bijections with the slopes they say, and a spread value's density is the level's probability."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Continuous, Space
from simulacra.nets.dequantise import Logit, Reals, SoftplusInverse, Standardised, by_range, middle, uniform

F64 = torch.float64
INF = math.inf
FIELDS = {
    "open": Continuous(low=-INF, high=INF, shape=(3,), centre=5.0, scale=2.0),
    "bounded": Continuous(low=-1.0, high=3.0, shape=(3,), centre=1.5, scale=0.7),
    "above": Continuous(low=2.0, high=INF, shape=(3,), centre=4.0, scale=1.5),
    "below": Continuous(low=-INF, high=2.0, shape=(3,), centre=0.0, scale=1.5),
}
MARK = Continuous(low=1.0, high=5.0, levels=5, centre=3.0, scale=1.4)


def values(f: Continuous, n: int = 50) -> Tensor:
    u = Rng(0)("u").uniform((n, *f.shape), dtype=F64)
    low, high = max(f.low, f.centre - 8), min(f.high, f.centre + 8)
    return low + (high - low) * (0.01 + 0.98 * u)


@pytest.mark.parametrize("name", FIELDS)
def test_a_chart_goes_there_and_back_with_the_slope_it_says(name: str):
    f = FIELDS[name]
    chart, x = by_range(f), values(f).requires_grad_()
    u, log_det = chart.inward(x)
    assert torch.allclose(chart.outward(u), x, atol=1e-12)
    (slope,) = torch.autograd.grad(u.sum(), [x])
    assert bool((slope > 0).all())
    assert torch.allclose(slope.log().sum(1), log_det, atol=1e-10)
    assert abs(float(chart.inward(torch.full((1, 3), f.centre, dtype=F64))[0].max())) < 1e-9


def test_the_chart_is_chosen_by_the_ends_of_the_range():
    kinds = [type(by_range(f)) for f in FIELDS.values()]
    assert kinds == [Standardised, Logit, SoftplusInverse, SoftplusInverse]


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_everything_is_finite_at_the_ends_and_far_away(name: str, dtype: torch.dtype):
    f = FIELDS[name]
    x = torch.tensor([f.low, f.high, 0.0, 1e6, -1e6], dtype=dtype).clamp(f.low, f.high)
    x = x[x.isfinite()][:, None].expand(-1, 3)
    u, log_det = by_range(f).inward(x)
    assert bool(u.isfinite().all() and log_det.isfinite().all())
    far = by_range(f).outward(torch.tensor([[-1e6], [-50.0], [50.0], [1e6]], dtype=dtype).expand(-1, 3))
    assert bool(far.isfinite().all() and (far >= f.low).all() and (far <= f.high).all())


def test_a_spread_value_stays_in_its_cell_and_comes_back():
    space = Space(fields={"mark": MARK, "age": FIELDS["above"]}, measure="columns")
    reals, rng = Reals(space, "a flow"), Rng(3)
    x = {"mark": MARK.value(rng("m").integers(5, (1000,)).to(F64)), "age": values(FIELDS["above"], 1000)}
    wide, added = reals.spread(x, rng)
    assert isinstance(wide, dict)
    offset = (wide["mark"] - x["mark"]) / MARK.spacing
    assert bool((offset.abs() < 0.5).all())
    assert abs(float(offset.mean())) < 5 / math.sqrt(12 * 1000)
    assert abs(float(offset.var()) - 1 / 12) < 0.01
    assert torch.equal(wide["age"], x["age"])
    assert torch.equal(added, torch.full((1000,), math.log(MARK.spacing), dtype=F64))
    u, log_det = reals.inward(wide)
    assert u.shape == (1000, 4)
    assert log_det.shape == (1000,)
    back = reals.decoded(u)
    assert isinstance(back, dict)
    assert torch.allclose(back["mark"], x["mark"])
    assert torch.allclose(back["age"], x["age"])
    assert reals.kind == "bound"


def test_the_bound_is_the_levels_own_log_probability_where_the_density_is_flat_in_a_cell():
    """Under a density of the spread values that is uniform on the range, every level has probability 1 / levels."""
    space = Space(fields={"level": Continuous(low=-1.0, high=1.0, levels=8, shape=(4,))}, measure="levels")
    f = space.only
    reals, index = Reals(space, "a flow"), Rng(0)("x").integers(8, (64, 4)).to(F64)
    _, added = reals.spread(f.value(index), Rng(1))
    whole = f.high - f.low + f.spacing
    assert torch.allclose(added - 4 * math.log(whole), torch.full((64,), -4 * math.log(8), dtype=F64))


def test_dequantisation_bounds_from_below_and_a_better_q_closes_the_gap():
    """A normal density of the spread value: P(level) is a difference of its distribution function, known exactly."""
    reals = Reals(Space(fields={"mark": MARK}, measure="marks"), "a flow")
    normal = Normal(torch.tensor(2.4, dtype=F64), 0.6)
    x = MARK.value(torch.arange(5, dtype=F64)).repeat_interleave(20_000)
    exact = (normal.cdf(x + 0.5) - normal.cdf(x - 0.5)).log()

    def best(f, index, rng):
        """Inverts the distribution function within the cell: q is the normal cut to it."""
        v = uniform(f, index, rng)[0]
        low, high = normal.cdf(f.value(index - 0.5)), normal.cdf(f.value(index + 0.5))
        spread = normal.icdf(low + v * (high - low))
        return f.index(spread) * 0 + (spread - f.value(index)) / f.spacing + 0.5, normal.log_prob(spread) - (
            high - low
        ).log()

    gaps = {}
    for q in (uniform, best):
        wide, added = reals.spread(x, Rng(2), q)
        gaps[q] = exact - (normal.log_prob(wide) + added)
    tight, loose = gaps[best].abs().max(), gaps[uniform].reshape(5, -1)
    assert float(tight) < 1e-6
    error = loose.std(1) / math.sqrt(20_000)
    assert bool((loose.mean(1) > 5 * error).all())


def test_density_beyond_a_range_makes_an_exact_likelihood_a_bound():
    space = Space(fields={"x": FIELDS["above"]}, measure="x")
    assert Reals(space, "a flow").kind == "exact"
    assert Reals(space, "a flow", Standardised).kind == "bound"
    assert Reals(Space(fields={"x": FIELDS["open"]}), "a flow", Standardised).kind == "exact"


def test_the_middle_of_a_cell_is_no_draw():
    reals = Reals(Space(fields={"mark": MARK}, measure="marks"), "a flow")
    x = MARK.value(torch.arange(5, dtype=F64))
    assert torch.equal(reals.spread(x, Rng(0), middle)[0], x)


def test_pictures_keep_their_shape():
    space = Space(fields={"picture": Continuous(low=0.0, high=255.0, levels=256, shape=(3, 4, 2), centre=127.5,
                                                scale=80.0)}, measure="8-bit pixels")  # fmt: skip
    x = Rng(0)("x").integers(256, (6, 3, 4, 2)).float()
    for chart in (by_range, Standardised):
        reals = Reals(space, "a flow", chart)
        wide, _ = reals.spread(x, Rng(1))
        u, log_det = reals.inward(wide)
        assert reals.event == u.shape[1:] == (3, 4, 2)
        assert log_det.shape == (6,)
        assert torch.equal(reals.decoded(u), x)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.tensor([1.5]), "off by 0.5"),
        (torch.tensor([6.0]), r"in \[1, 5\]"),
        (torch.tensor([math.nan]), "finite"),
        (torch.tensor([[1.0]]), "shape"),
        (torch.tensor([1]), "floats"),
    ],
)
def test_what_is_no_example_is_refused(x: Tensor, words: str):
    reals = Reals(Space(fields={"mark": MARK}, measure="marks"), "a flow")
    reals.check(torch.tensor([1.0, 5.0]))
    with pytest.raises(ValueError, match=words):
        reals.check(x)


MIXED = Space(fields={"job": Categorical(k=3), "pay": Continuous(low=0.0, high=math.inf)})


def test_categories_are_levels_and_come_back_whole():
    reals = Reals(MIXED, "a flow")
    x = {"job": torch.tensor([0, 1, 2, 2]), "pay": torch.tensor([0.5, 1.0, 2.0, 4.0])}
    reals.check(x)
    spread, added = reals.spread(x, Rng(0))
    assert isinstance(spread, dict)
    assert reals.kind == "bound"
    assert added.tolist() == [0.0] * 4  # cells are of volume 1, and the draws uniform
    assert bool(((spread["job"] - x["job"]).abs() <= 0.5).all())
    u, _ = reals.inward(spread)
    back = reals.decoded(u)
    assert isinstance(back, dict)
    assert back["job"].dtype == torch.int64
    assert back["job"].tolist() == [0, 1, 2, 2]
    assert torch.allclose(back["pay"], x["pay"], rtol=1e-5)


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (torch.tensor([3]), r"0 \.\. 2"),
        (torch.tensor([-1]), r"0 \.\. 2"),
        (torch.tensor([1.0]), "int64"),
        (torch.tensor([[1]]), "shape"),
    ],
)
def test_what_is_no_category_is_refused(job: torch.Tensor, words: str):
    with pytest.raises(ValueError, match=words):
        Reals(MIXED, "a flow").check({"job": job, "pay": torch.ones(1)})


def test_the_largest_number_drawn_stays_in_its_cell(monkeypatch: pytest.MonkeyPatch):
    # half a step of 2**-24 more would round to 1 in float32: the next cell
    monkeypatch.setattr(Rng, "uniform", lambda self, shape, **how: torch.full(tuple(shape), 1 - 2.0**-24))
    f = Continuous(low=0.0, high=1.0, levels=2, shape=(1,))
    u, _ = uniform(f, torch.zeros(1, 1), Rng(0))
    assert float(u) < 1
