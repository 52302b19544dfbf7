"""The held-out part is a property of the examples, not of their order or company."""

import math

import numpy as np
import pytest

from simulacra.modalities import images
from simulacra.modalities.split import content_fractions, split


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 1, 3, 3), dtype=np.uint8)


def rows(data) -> set[bytes]:
    return {bytes(x.numpy()) for x in data.x}


def test_each_example_lies_on_one_side_and_the_share_is_met():
    n, share = 4000, 0.25
    train, held = split(images.stored(noise(n)), share=share)
    assert rows(train) | rows(held) == {x.tobytes() for x in noise(n)}
    assert not rows(train) & rows(held)
    assert abs(len(held) / n - share) < 5 * math.sqrt(share * (1 - share) / n)


def test_order_and_company_change_nothing():
    few, many = noise(300), np.concatenate([noise(500, seed=1), noise(300)[::-1]])
    held_of_few, held_of_many = rows(split(images.stored(few))[1]), rows(split(images.stored(many))[1])
    assert held_of_few == held_of_many & {x.tobytes() for x in few}


def test_equal_pictures_stay_together():
    twice = np.concatenate([noise(200), noise(200), noise(200)])
    train, held = split(images.stored(twice))
    assert not rows(train) & rows(held)
    assert len(held) == 3 * len(rows(held))


def test_labels_go_along():
    pictures = noise(100)
    labels = pictures[:, 0, 0, 0] % 2
    for part in split(images.stored(pictures, labels, classes=["even", "odd"])):
        assert bool((part.x[:, 0, 0, 0] % 2 == part.y).all())


@pytest.mark.parametrize("share", [1e-9, 1 - 1e-9])
def test_each_side_has_at_least_one(share):
    train, held = split(images.stored(noise(5)), share=share)
    assert min(len(train), len(held)) == 1


def test_the_fraction_is_fixed_for_ever():
    """BLAKE2b-64 of b"abc" begins d8bb14d833d59559 (Python's hashlib); little-endian, its top 53 bits."""
    fraction = content_fractions(np.frombuffer(b"abc", np.uint8)[None])
    assert fraction[0] == (int.from_bytes(bytes.fromhex("d8bb14d833d59559"), "little") >> 11) / 2**53


@pytest.mark.parametrize(
    ("pictures", "share", "said"),
    [
        (noise(1), 0.1, "one example cannot be split"),
        (noise(1).repeat(7, 0), 0.1, "7 equal examples"),
        (noise(9), 0.0, "between 0 and 1; got 0.0"),
        (noise(9), 1.0, "between 0 and 1; got 1.0"),
    ],
)
def test_refusals(pictures, share, said):
    with pytest.raises(ValueError, match=said):
        split(images.stored(pictures), share=share)
