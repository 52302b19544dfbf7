"""Sprites are what their factors say."""

import pytest
import torch

from simulacra.core.batch import Data, Factored
from simulacra.core.randomness import Rng
from simulacra.modalities.sprites import FACTORS, Sprites


def number(**factors: int) -> int:
    index = 0
    for name, extent in FACTORS.items():
        index = index * extent + factors.get(name, 0)
    return index


def draw(**factors: int) -> torch.Tensor:
    return Sprites().draw(torch.tensor([number(**factors)]))[0, 0].double()


def centre(sprite: torch.Tensor) -> tuple[float, float]:
    ticks = torch.arange(64).double()
    return float((sprite.sum(0) * ticks).sum() / sprite.sum()), float((sprite.sum(1) * ticks).sum() / sprite.sum())


def test_factors_count_up_with_x_and_y_last():
    world = Sprites()
    assert isinstance(world, Data)
    assert len(world) == 3 * 6 * 40 * 32 * 32 == 737_280
    index = torch.randint(len(world), (100,), generator=torch.Generator().manual_seed(0))
    for i, row in zip(index, world.factors(index), strict=True):
        assert number(**dict(zip(FACTORS, row.tolist(), strict=True))) == int(i)
    with pytest.raises(ValueError, match=r"lies in 0 .. 737279; got 737280"):
        world.factors(torch.tensor([len(world)]))


@pytest.mark.parametrize("shape", range(3))
def test_none_is_cut_off(shape):
    edge = torch.tensor(
        [
            number(shape=shape, scale=5, orientation=o, x=x, y=y)
            for o in range(40)
            for x, y in ((0, 0), (31, 0), (0, 31), (31, 31))
        ]
    )
    drawn = Sprites().draw(edge)
    assert int(drawn.sum((1, 2, 3)).min()) > 100
    rim = drawn.clone()
    rim[:, :, 1:-1, 1:-1] = 0
    assert int(rim.sum()) == 0


def test_position_moves_the_centre_evenly():
    columns = torch.tensor([centre(draw(shape=1, scale=5, x=x, y=16))[0] for x in range(32)]).diff()
    rows = torch.tensor([centre(draw(shape=1, scale=5, x=16, y=y))[1] for y in range(32)]).diff()
    assert bool(((columns - columns.mean()).abs() < 0.5).all())
    assert bool(((rows - rows.mean()).abs() < 0.5).all())
    assert float(columns.mean()) == pytest.approx(float(rows.mean()), abs=0.05)


@pytest.mark.parametrize("shape", range(3))
def test_scale_is_the_side(shape):
    area = [float(draw(shape=shape, scale=s, x=16, y=16).sum()) for s in range(6)]
    assert area[0] / area[5] == pytest.approx(0.25, rel=0.12)
    assert area == sorted(area)


def test_a_square_turned_a_quarter_is_itself_and_a_heart_is_not():
    square = [draw(shape=0, scale=5, orientation=o, x=16, y=16) for o in (0, 10)]
    assert torch.equal(*square)
    heart = [draw(shape=2, scale=5, orientation=o, x=16, y=16) for o in (0, 10)]
    assert float((heart[0] - heart[1]).abs().sum()) > 30
    mirrored = heart[0].flip(1).roll(round(2 * centre(heart[0])[0] - 63), 1)
    assert float((heart[0] - mirrored).abs().sum()) < 0.1 * float(heart[0].sum())


def test_some_of_them():
    numbers = torch.tensor([9, 500_000, 3])
    some = Sprites(numbers=numbers)
    assert len(some) == 3
    assert torch.equal(some.batch(torch.tensor([2, 0]), Rng(0)).x, Sprites().batch(numbers[[2, 0]], Rng(0)).x)
    assert some.fingerprint != Sprites().fingerprint
    assert torch.equal(some.factors(torch.tensor([2, 0])), Sprites().factors(numbers[[2, 0]]))


def test_its_factors_are_named():
    world = Sprites()
    assert isinstance(world, Factored)
    found = world.factors(torch.arange(0, len(world), 97))
    for column, factor in zip(found.T, world.named_factors, strict=True):
        assert FACTORS[factor.name] == factor.values == int(column.max()) + 1
        assert factor.ordered == (factor.name != "shape")


def test_pictures_are_black_and_white_and_their_own():
    world, index = Sprites(side=32), torch.tensor([5, 700_000])
    x = world.batch(index, Rng(1)).x
    assert x.shape == (2, 1, 32, 32)
    assert set(x.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(x, world.batch(index, Rng(2)).x)
