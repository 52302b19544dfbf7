"""Random changes of pictures against what can be written down: exact moves, groups, projections, distributions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.mathematics import augmentation
from simulacra.mathematics.augmentation import (
    CONTRAST,
    SATURATION,
    SCALE,
    SHIFT,
    STRETCH,
    brightness,
    contrast,
    cutout,
    drawn,
    drift,
    hue,
    jitter,
    luma_flip,
    mirror,
    quarter_turn,
    recoloured,
    saturation,
    scale,
    shift,
    stretch,
    translate,
    turn,
    warped,
)

PLACES = (mirror, quarter_turn, shift, scale, turn, stretch, drift)
COLOURS = (brightness, contrast, luma_flip, hue, saturation)
WHOLE = (jitter, translate, cutout)
MANY = 4_000


def pictures(n: int = 5, c: int = 3, h: int = 8, w: int = 8) -> Tensor:
    return Rng(3)("pictures").uniform((n, c, h, w), dtype=torch.float64) * 2 - 1


def matrices(transform, n: int = MANY) -> Tensor:
    return transform(pictures(1).expand(n, -1, -1, -1), Rng(1))


# -- places -----------------------------------------------------------------------------------------------------------


def places(rows: list[list[float]], n: int = 5) -> Tensor:
    return torch.tensor([*rows, [0.0, 0.0, 1.0]], dtype=torch.float64).expand(n, 3, 3)


def test_what_stays_is_bit_exact():
    x = pictures().float()
    assert torch.equal(warped(x, torch.eye(3).expand(5, 3, 3)), x)
    assert torch.equal(recoloured(x, torch.eye(4).expand(5, 4, 4)), x)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[-1, 0, 0], [0, 1, 0]], lambda x: x.flip(3)),
        ([[0, 1, 0], [-1, 0, 0]], lambda x: torch.rot90(x, -1, (2, 3))),
        ([[-1, 0, 0], [0, -1, 0]], lambda x: torch.rot90(x, 2, (2, 3))),
        # two to the right and one up, reflected at the borders
        ([[1, 0, -2], [0, 1, 1]], lambda x: x[:, :, [1, 2, 3, 4, 5, 6, 7, 7]][:, :, :, [1, 0, 0, 1, 2, 3, 4, 5]]),
    ],
    ids=["mirror", "quarter", "half", "shift"],
)
def test_moves_of_whole_pixels_are_exact(rows, expected):
    x = pictures()
    torch.testing.assert_close(warped(x, places(rows)), expected(x), rtol=0, atol=1e-12)


def test_a_plane_is_moved_as_its_equation_says():
    """Bilinear reading is exact for u = a x + b y, wherever it stays inside: also where pictures are not square."""
    h, w = 16, 24
    y, x = torch.meshgrid(torch.arange(h) - (h - 1) / 2, torch.arange(w) - (w - 1) / 2, indexing="ij")
    plane = (0.3 * x - 0.2 * y).double()
    angle, factor = 0.4, 1.2
    rows = [[factor * math.cos(angle), math.sin(angle), 0.7], [-math.sin(angle), factor * math.cos(angle), -0.4]]
    found = warped(plane[None, None], places(rows, 1))[0, 0]
    there = (
        rows[0][0] * x + rows[0][1] * y + rows[0][2],
        rows[1][0] * x + rows[1][1] * y + rows[1][2],
    )
    inside = (there[0].abs() <= (w - 1) / 2) & (there[1].abs() <= (h - 1) / 2)
    assert 0.3 < inside.double().mean() < 1
    torch.testing.assert_close(found[inside], (0.3 * there[0] - 0.2 * there[1])[inside].double(), rtol=0, atol=1e-6)


def test_places_of_each_transform_are_of_its_group():
    eye = torch.eye(2, dtype=torch.float64).expand(MANY, 2, 2)
    linear = {t.__name__: matrices(t)[:, :2, :2] for t in PLACES}
    for name in ("mirror", "quarter_turn", "turn"):
        torch.testing.assert_close(linear[name] @ linear[name].mT, eye, rtol=0, atol=1e-12)
    assert set(torch.linalg.det(linear["mirror"]).round().tolist()) == {-1.0, 1.0}
    for name in ("quarter_turn", "turn", "stretch"):
        torch.testing.assert_close(torch.linalg.det(linear[name]), torch.ones(MANY).double())
    torch.testing.assert_close(torch.linalg.matrix_power(linear["quarter_turn"], 4), eye)
    for name in ("shift", "drift"):
        assert torch.equal(linear[name], eye)


def test_shifts_are_whole_and_even_and_drifts_normal():
    moved = matrices(shift)[:, :2, 2]
    assert set(moved.flatten().tolist()) == {-1.0, 0.0, 1.0}  # an eighth of 8 pixels
    assert abs(float(moved.mean())) < 4 * math.sqrt(2 / 3 / (2 * MANY))
    assert abs(float(matrices(drift)[:, :2, 2].std()) / (8 * SHIFT) - 1) < 4 / math.sqrt(4 * MANY)


@pytest.mark.parametrize(
    ("transform", "factor", "deviation"),
    [
        (scale, lambda m: 1 / m[:, 0, 0], SCALE),
        (stretch, lambda m: m[:, 1, 1], STRETCH),
        (contrast, lambda m: m[:, 0, 0], CONTRAST),
        # twice the same off the diagonal: (1 - s) / 3
        (saturation, lambda m: 1 - 3 * m[:, 0, 1], SATURATION),
    ],
)
def test_factors_are_powers_of_two_with_the_paper_s_deviation(transform, factor, deviation):
    exponent = factor(matrices(transform)).log2()
    assert abs(float(exponent.mean())) < 4 * deviation / math.sqrt(MANY)
    assert abs(float(exponent.std()) / deviation - 1) < 4 / math.sqrt(2 * MANY)


def test_pictures_that_are_not_square_turn_by_half():
    wide = pictures(200, h=8, w=12)
    found = quarter_turn(wide, Rng(1))[:, 0, 0]
    assert set(found.tolist()) == {-1.0, 1.0}


# -- colours ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", [hue, saturation])
def test_grey_has_neither_hue_nor_saturation(transform):
    grey = pictures(c=1).expand(-1, 3, -1, -1)
    torch.testing.assert_close(recoloured(grey, transform(grey, Rng(2))), grey, rtol=0, atol=1e-12)
    one = pictures(c=1)
    torch.testing.assert_close(recoloured(one, transform(one, Rng(2))), one, rtol=0, atol=1e-12)


def test_hue_turns_and_luma_flips_back():
    turned = matrices(hue)[:, :3, :3]
    torch.testing.assert_close(turned @ turned.mT, torch.eye(3).double().expand(MANY, 3, 3), rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.linalg.det(turned), torch.ones(MANY).double())
    flipped = matrices(luma_flip)
    torch.testing.assert_close(flipped @ flipped, torch.eye(4).double().expand(MANY, 4, 4), rtol=0, atol=1e-12)
    x = pictures(c=1)
    signs = {float((a / b).mean().round()) for a, b in zip(recoloured(x, luma_flip(x, Rng(5))), x, strict=True)}
    assert signs == {-1.0, 1.0}, "of one grey channel it is the negative"


@pytest.mark.parametrize("c", [2, 4])
def test_opacity_stays(c):
    x = pictures(c=c)
    for change in (lambda x: recoloured(x, brightness(x, Rng(1))), lambda x: jitter(x, Rng(1))):
        assert torch.equal(change(x)[:, -1], x[:, -1])
        assert not torch.equal(change(x)[:, 0], x[:, 0])


def test_channels_of_unknown_meaning_keep_their_values():
    x = pictures(c=5)
    assert torch.equal(recoloured(x, contrast(x, Rng(1))), x)
    assert torch.equal(jitter(x, Rng(1)), x)


# -- whole pictures ---------------------------------------------------------------------------------------------------


def test_translate_moves_whole_pixels_and_lets_zeros_in():
    x = pictures(400)
    found = translate(x, Rng(1))
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    candidates = torch.stack([padded[:, :, i : i + 8, j : j + 8] for i in range(3) for j in range(3)])
    which = (candidates == found).flatten(2).all(2)
    assert bool((which.sum(0) == 1).all())
    counts = which.sum(1).double()
    assert bool(((counts / 400 - 1 / 9).abs() < 5 * math.sqrt(1 / 9 * 8 / 9 / 400)).all())


def test_cutout_makes_a_rectangle_zero_and_leaves_the_rest():
    x = pictures(300, h=8, w=16)
    found = cutout(x, Rng(1))
    gone = (found == 0).all(1)
    assert torch.equal(torch.where(gone[:, None], 0.0, x), found)
    # of half a side hangs over, at each end, what is left of a quarter: the integral of 1/4 - t over t up to 1/4
    area = gone.double().mean((1, 2))
    assert abs(float(area.mean()) - (1 / 2 - 2 / 32) ** 2) < 4 * float(area.std()) / math.sqrt(len(area))
    rows, columns = gone.any(2).sum(1), gone.any(1).sum(1)
    assert torch.equal(gone.sum((1, 2)), rows * columns)


def test_jitter_keeps_black_to_white_in_order_of_its_bounds():
    x = torch.zeros(MANY, 1, 2, 2, dtype=torch.float64)
    added = jitter(x, Rng(1))[:, 0, 0, 0]
    assert -0.5 <= float(added.min()) < -0.49
    assert 0.49 < float(added.max()) < 0.5
    x[:, :, 0] = 1.0
    spread = jitter(x, Rng(1))
    ratio = spread[:, 0, 0, 0] - spread[:, 0, 1, 0]
    assert 0.5 <= float(ratio.min()) < 0.51
    assert 1.49 < float(ratio.max()) < 1.5


# -- all of them ------------------------------------------------------------------------------------------------------


def changed(transform, x: Tensor, rng: Rng) -> Tensor:
    if transform in PLACES:
        return warped(x, transform(x, rng))
    return recoloured(x, transform(x, rng)) if transform in COLOURS else transform(x, rng)


@pytest.mark.parametrize("transform", [*PLACES, *COLOURS, *WHOLE])
def test_each_picture_has_draws_of_its_own(transform):
    x = pictures(9, h=16, w=16)
    together = changed(transform, x, Rng(4))
    assert torch.equal(together, changed(transform, x, Rng(4)))
    assert not torch.equal(together, changed(transform, x, Rng(5)))
    for row in (0, 6):
        torch.testing.assert_close(changed(transform, x[row : row + 1], Rng(4).rows(row))[0], together[row])


@pytest.mark.parametrize("transform", [*PLACES, *COLOURS, *WHOLE])
def test_gradients_pass_and_are_right(transform):
    x = pictures(2, h=4, w=4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: changed(transform, x, Rng(4)), (x,))


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_a_transform_listed_twice_is_drawn_at_all_with_the_same_probability(p):
    x = pictures(1).expand(MANY, -1, -1, -1)
    identity = torch.eye(3, dtype=torch.float64)
    for transforms in ((turn,), (turn, stretch, turn)):
        found = drawn(transforms, torch.tensor(p), x, Rng(1))
        turned = [m for m, t in zip(found, transforms, strict=True) if t is turn]
        untouched = torch.stack([(m == identity).flatten(1).all(1) for m in turned]).all(0)
        assert abs(float(untouched.double().mean()) - (1 - p)) <= 4 * math.sqrt(p * (1 - p) / MANY)


def test_every_public_transform_is_tried_here():
    ours = {n for n, f in vars(augmentation).items() if getattr(f, "__module__", "") == augmentation.__name__}
    assert {n for n in ours if not n.startswith("_")} - {t.__name__ for t in (*PLACES, *COLOURS, *WHOLE)} == {
        "warped", "recoloured", "drawn",
    }  # fmt: skip
