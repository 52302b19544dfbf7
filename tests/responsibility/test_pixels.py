"""The mark in pixels: an exact null, found after what happens to pictures, refused where it does not fit."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import stats

from simulacra.responsibility import pixels, verdicts
from simulacra.responsibility.keys import Key
from simulacra.responsibility.pixels import PixelMark
from simulacra.responsibility.verdicts import threshold


def key(number: int) -> Key:
    return Key(secret=number.to_bytes(32, "big"))


def picture(h: int, w: int, seed: int = 0) -> np.ndarray:
    """A picture whose spectrum falls as 1 / frequency, as photographs' do; uint8 (h, w, 3)."""
    made = np.random.default_rng(seed).normal(size=(3, h, w))
    frequency = np.hypot(np.fft.fftfreq(h)[:, None] * h, np.fft.fftfreq(w)[None] * w)
    shaped = np.fft.ifft2(np.fft.fft2(made) / np.maximum(frequency, 1)).real
    shaped = shaped[:1] + 0.3 * shaped
    scaled = 127 + 45 * (shaped - shaped.mean()) / shaped.std()
    return np.clip(scaled, 0, 255).astype(np.uint8).transpose(1, 2, 0)


def jpeg(x: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(x).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def noisy(x: np.ndarray) -> np.ndarray:
    added = np.random.default_rng(1).normal(size=x.shape) * 15
    return np.clip(x + added, 0, 255).astype(np.uint8)


ATTACKS = {
    "none": lambda x: x,
    "JPEG 50": lambda x: jpeg(x, 50),
    "noise of 15 levels": noisy,
    "half the size": lambda x: np.array(Image.fromarray(x).resize((x.shape[1] // 2, x.shape[0] // 2))),
    "another shape": lambda x: np.array(Image.fromarray(x).resize((150, 100))),
    "blur": lambda x: np.array(Image.fromarray(x).filter(ImageFilter.GaussianBlur(1.5))),
    "brighter": lambda x: np.clip(x * 0.7 + 40, 0, 255).astype(np.uint8),
    "grey": lambda x: np.array(Image.fromarray(x).convert("L")),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_mark_and_its_message_are_found_after(attack):
    message = tuple(bool(int(b)) for b in "1011001110001011")
    for seed in range(3):
        marked = PixelMark(key=key(seed)).mark(picture(128, 160, seed), message)
        found = PixelMark(key=key(seed)).look(ATTACKS[attack](marked))
        assert found.p < 1e-6
        assert found.message == message


@pytest.mark.parametrize(("h", "w"), [(32, 32), (64, 64), (33, 200)])
def test_small_pictures_carry_it_too(h, w):
    x = picture(h, w)
    for plain in (x, x[..., 0], np.dstack([x, x[..., :1]])):
        marked = PixelMark(key=key(5)).mark(plain)
        assert marked.shape == plain.shape
        assert PixelMark(key=key(5)).look(marked).p < 1e-9
    assert (marked[..., 3] == x[..., 0]).all()  # alpha is left alone


def test_marking_is_hardly_seen():
    x = picture(128, 128)
    error = float(np.square(PixelMark(key=key(1)).mark(x).astype(float) - x).mean())
    assert 10 * np.log10(255**2 / error) > 36


def test_flat_areas_are_changed_less_than_busy_ones():
    x = picture(128, 128)
    x[:, :64] = 200
    changed = np.square(PixelMark(key=key(1)).mark(x).astype(float) - x).mean(2)
    assert changed[:, :56].mean() < 0.5 * changed[:, 72:].mean()


def test_no_message_is_read_where_none_was_given():
    marked = [PixelMark(key=key(i)).mark(picture(64, 64, i)) for i in range(5)]
    assert all(PixelMark(key=key(i)).look(x).message is None for i, x in enumerate(marked))
    # nor in what is not marked at all, at the rate that is promised; the best of several looks is not chosen by it
    read = sum(PixelMark(key=key(i)).look(marked[0]).message is not None for i in range(100, 250))
    assert stats.binomtest(read, 150, verdicts.READ, alternative="greater").pvalue > 1e-4


@pytest.mark.parametrize("marked", [False, True])
def test_the_null_holds_over_keys(marked, monkeypatch):
    """In one and the same picture, over keys; one that carries another key's mark is no exception."""
    x = picture(64, 64)
    x = PixelMark(key=key(10**6)).mark(x) if marked else x
    found = [PixelMark(key=key(i)).look(x) for i in range(250)]
    # the mean of the best of several looks lies above chance, and the bound that Bonferroni gives still holds
    for rate in (0.5, 0.1, 0.01):
        hits = sum(f.p <= rate for f in found)
        assert stats.binomtest(hits, len(found), rate, alternative="greater").pvalue > 1e-4
    # one look alone, at the picture as it is, is exact
    monkeypatch.setattr(pixels, "GAINS", (1.0,))
    monkeypatch.setattr(pixels, "BLURS", (0.0,))
    alone = [PixelMark(key=key(i), steps=(28.0,)).look(x).p for i in range(250)]
    for rate in (0.1, 0.01):
        level = float(stats.binom.sf(threshold(256, rate) - 1, 256, 0.5))
        assert stats.binomtest(sum(p <= rate for p in alone), len(alone), level).pvalue > 1e-4


def test_a_blank_picture_is_no_false_alarm():
    """Nothing but its mean: every coefficient is 0, and agrees or not as the key's dither has it."""
    found = [PixelMark(key=key(i)).look(np.full((64, 64), 255, np.uint8)) for i in range(200)]
    assert sum(f.p <= 0.5 for f in found) < 100


def test_a_mark_that_does_not_stay_is_refused_and_never_left_out():
    with pytest.raises(ValueError, match="does not stay in this picture"):
        PixelMark(key=key(0), steps=(0.05,)).mark(picture(64, 64))  # rounding to whole levels takes it


def test_what_cannot_carry_a_mark_is_refused():
    mark = PixelMark(key=key(0))
    for plain in (picture(31, 64), picture(64, 64)[:20]):
        for verb in (mark.mark, mark.look):
            with pytest.raises(ValueError, match="too small to carry a mark"):
                verb(plain)
    with pytest.raises(ValueError, match=r"uint8 .* got float64"):
        mark.mark(np.zeros((64, 64)))
    with pytest.raises(ValueError, match="at most 16 bits; got 17"):
        mark.mark(picture(64, 64), (True,) * 17)
