"""What flows for pictures share: the bound, its draws, labels summed out, cells of codes, and refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from simulacra.core.batch import Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.mathematics.divergences import log_normal
from simulacra.nets.dequantise import Standardised, by_range, uniform
from simulacra.nets.picture_flow import PictureFlow, soft_clip, uniformly

F64 = torch.float64
SPACE = Space(
    fields={"picture": Continuous(low=-1, high=1, levels=5, shape=(1, 2, 2), scale=0.5)},
    y=Classes(names=("a", "b", "c")),
    measure="pixels",
)


class Stretch(nn.Module):
    """z = (u - m_y) / s: every pixel is N(m_y, s^2) given the class."""

    def __init__(self) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.tensor([-1.0, 0.3, 1.2], dtype=F64))
        self.s = 0.7

    def forward(self, u: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        mean = given @ self.means
        return (u.flatten(1) - mean[:, None]) / self.s, u.new_full((len(u),), -4 * math.log(self.s))

    def inverse(self, z: Tensor, given: Tensor) -> Tensor:
        return (z * self.s + (given @ self.means)[:, None]).reshape(-1, 1, 2, 2)


def flow(chart=Standardised, dequantise=uniformly) -> PictureFlow:
    return PictureFlow(SPACE, Stretch(), user="a stretch", dequantise=dequantise, chart=chart)


def examples(n: int) -> tuple[Tensor, Tensor]:
    f = SPACE.only
    assert isinstance(f, Continuous)
    return f.value(Rng(0)("x").integers(5, (n, 1, 2, 2)).to(F64)), Rng(0)("y").integers(3, (n,))


def exact(x: Tensor, y: Tensor) -> Tensor:
    """log P of the levels' cells under the normal, nats (b,)."""
    normal = torch.distributions.Normal(0.5 * flow().bijection.means[y].detach(), 0.5 * 0.7)
    low, high = (normal.cdf(x.flatten(1).T + side * 0.25) for side in (-1, 1))
    return (high - low).log().sum(0)


@pytest.mark.parametrize("chart", [Standardised, by_range])
def test_the_score_is_the_density_at_the_draw_less_that_of_the_draw(chart):
    model, (x, y) = flow(chart), examples(50)
    u = uniform(SPACE.only, x, Rng(1)("dequantise")("picture"))[0]  # type: ignore[arg-type]
    v = x + 0.5 * (u - 0.5)
    z, log_det = model.to_latent(v, y=y)
    by_hand = log_normal(z).sum(1) + log_det + 4 * math.log(0.5)
    assert torch.allclose(model.log_likelihood(x, y=y, rng=1).nats, by_hand.detach(), atol=1e-10)


def test_it_bounds_the_exact_log_probability_and_more_draws_tighten_it():
    model, (x, y) = flow(), examples(4000)
    gaps = [exact(x, y) - model.log_likelihood(x, y=y, rng=1, k=k).nats for k in (1, 10, 100)]
    errors = [float(gap.std()) / math.sqrt(4000) for gap in gaps]
    means = [float(gap.mean()) for gap in gaps]
    assert means[0] > means[1] + 3 * errors[0] > means[2] + 3 * errors[1]
    assert -4 * errors[2] < means[2] < 0.05
    assert model.log_likelihood(x[:1], y=y[:1]).kind == "bound"


def test_without_a_label_the_classes_are_summed_out_by_their_share():
    model, (x, y) = flow(), examples(20)
    model.fit(Stored(space=SPACE, x=x, y=torch.tensor([0] * 12 + [1] * 6 + [2] * 2)))
    assert torch.allclose(model.labels.log_prob().exp(), torch.tensor([13.0, 7.0, 3.0]) / 23)
    each = [model.log_likelihood(x, y=torch.full_like(y, c), rng=2).nats for c in range(3)]
    whole = torch.logsumexp(torch.stack(each) + model.labels.log_prob().to(F64)[:, None], 0)
    assert torch.allclose(model.log_likelihood(x, rng=2).nats, whole)


@pytest.mark.parametrize("chart", [Standardised, by_range])
def test_cells_have_the_density_of_uniform_places_and_none_outside(chart):
    """log N(z) less the cell's density of z is the score of the place that z came from."""
    model, (x, y) = flow(chart), examples(50)
    u = uniform(SPACE.only, x, Rng(1)("dequantise")("picture"))[0]  # type: ignore[arg-type]
    cells = model.posterior(x, y=y)
    z = cells.push(u)
    assert torch.allclose(log_normal(z).sum(1) - cells.log_prob(z), model.score(x, model.given(y), Rng(1)))
    assert torch.equal(cells.mean, model.encode(x, y=y))
    assert torch.equal(cells.log_prob(z + 10), torch.full((50,), -math.inf, dtype=F64))
    assert cells.log_prob(cells.mean).isfinite().all()


def test_codes_are_decoded_into_the_range():
    x = flow().decode(100 * torch.ones(2, 4, dtype=F64), y=torch.tensor([0, 1]))
    assert torch.equal(x, torch.ones(2, 1, 2, 2, dtype=F64))  # pyright: ignore


def test_a_soft_clip_is_the_identity_near_zero_and_bounded():
    x = torch.tensor([-1e9, -1e-4, 0.0, 1e-4, 1e9], dtype=F64)
    assert torch.allclose(soft_clip(x, 2.0), torch.tensor([-2.0, -1e-4, 0.0, 1e-4, 2.0], dtype=F64), rtol=1e-7)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.full((1, 1, 2, 2), 1.5), "lie in"),
        (torch.full((1, 1, 2, 2), 0.3), "off by"),
        (torch.zeros(1, 1, 2, 3), "shape"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.int64), "floats"),
        (torch.full((1, 1, 2, 2), math.nan), "finite"),
    ],
)
def test_what_is_no_picture_of_the_space_is_refused(x, words):
    with pytest.raises(ValueError, match=words):
        flow().log_likelihood(x, y=torch.tensor([0]))


def test_users_mistakes():
    x, y = examples(2)
    whole = torch.ones_like(x, dtype=torch.bool)
    assert torch.equal(flow().log_likelihood(x, y=y, known=whole).nats, flow().log_likelihood(x, y=y).nats)
    whole[1, 0, 1, 1] = False
    with pytest.raises(ValueError, match="whole pictures"):
        flow().log_likelihood(x, y=y, known=whole)
    with pytest.raises(ValueError, match="k must be at least 1"):
        flow().log_likelihood(x, y=y, k=0)
    with pytest.raises(ValueError, match="labels must lie in"):
        flow().log_likelihood(x, y=y + 3)
    with pytest.raises(ValueError, match="classes only"):
        PictureFlow(Space(fields=SPACE.fields, y=SPACE), Stretch(), user="a", dequantise=uniformly, chart=by_range)
