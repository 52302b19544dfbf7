"""Detectors of generated pictures: equal handling, spectra, and runs left out that differ from real ones or do not."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import average_precision_score

from simulacra.core.randomness import Rng
from simulacra.mathematics.ranking import average_precision
from simulacra.mathematics.spectra import radial_log_power
from simulacra.responsibility.detection import (
    Convolutional,
    Frequencies,
    Handling,
    LeftOut,
    figures_of_detection,
    left_out,
)

PLAIN = Handling(quality=None)


def pictures(n, name, *, noise=0.0, side=16):
    """Smooth blobs, with noise added where it is asked for."""
    rng = Rng(0)(name)
    coarse = rng("coarse").normal((n, 1, 4, 4))
    x = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False)
    return PLAIN((0.4 * x + noise * rng("noise").normal((n, 1, side, side))).clamp(-1, 1))


def test_a_wave_lies_in_the_ring_of_its_frequency():
    at = torch.arange(32) * (2 * math.pi / 32)
    for k in (3, 7, 12):
        wave = torch.sin(k * at).expand(1, 1, 32, 32)
        power = radial_log_power(wave)[0]
        assert int(power.argmax()) == k - 1
        # Parseval: half a unit a pixel, over the number of frequencies in that ring
        radius = (torch.fft.fftfreq(32)[:, None].square() + torch.fft.fftfreq(32)[None].square()).sqrt() * 32
        ring = int((radius.round() == k).sum())
        assert float(power[k - 1].exp()) == pytest.approx(0.5 * 32 * 32 / ring, rel=1e-4)


def test_a_spectrum_does_not_see_the_mean():
    x = Rng(0)("x").normal((3, 1, 16, 16))
    assert torch.allclose(radial_log_power(x), radial_log_power(x / 2 + 0.3) + 2 * math.log(2), atol=1e-3)


def test_average_precision_is_that_of_scikit_learn():
    low, high = Rng(0)("low").normal((300,)).round(decimals=1), 0.5 + Rng(0)("high").normal((200,)).round(decimals=1)
    truth = torch.cat([torch.zeros(300), torch.ones(200)])
    theirs = average_precision_score(truth.numpy(), torch.cat([low, high]).numpy())
    assert average_precision(low, high) == pytest.approx(float(theirs), abs=1e-12)


def test_handling_is_the_same_for_everybody_and_rounds_to_bytes():
    x = pictures(4, "x", noise=0.2)
    assert torch.equal(PLAIN(x), x)  # bytes stay what they are
    rough = Handling(quality=10)(x)
    assert rough.shape == x.shape
    assert float((rough - x).abs().mean()) > float((Handling(quality=95)(x) - x).abs().mean()) > 0
    assert Handling(side=8)(x).shape == (4, 1, 8, 8)
    assert Handling(quality=50)(x.expand(-1, 3, -1, -1)).shape == (4, 3, 16, 16)
    with pytest.raises(ValueError, match="1 or 3 channels; got 2"):
        PLAIN(torch.zeros(1, 2, 16, 16))
    with pytest.raises(ValueError, match="1 .. 95; got 100"):
        Handling(quality=100)


@pytest.mark.slow
@pytest.mark.parametrize("learn", [Convolutional(examples=10_000), Frequencies(examples=30_000)])
def test_noise_is_known_again_in_a_run_never_seen_and_equal_samples_are_not(learn):
    real, unseen = pictures(400, "real"), pictures(400, "unseen")
    noisy = {f"noise {s}": pictures(300, f"noise {s}", noise=s) for s in (0.05, 0.08, 0.12)}
    assert all(f.area > 0.9 and f.precision > 0.9 for f in left_out(real, unseen, noisy, learn))
    alike = {f"alike {i}": pictures(300, f"alike {i}") for i in range(2)}
    # the standard error of an area of 400 and 300 equal scores is 0.022
    assert all(abs(f.area - 0.5) < 0.09 for f in left_out(real, unseen, alike, learn))


def test_a_detector_never_sees_the_run_that_is_left_out():
    seen = []

    def learn(real, generated, rng):
        seen.append(set(generated.flatten().unique().tolist()))
        return lambda x: x.mean((1, 2, 3))

    runs = {name: torch.full((100, 1, 8, 8), value) for name, value in (("a", 0.25), ("b", 0.5), ("c", 0.75))}
    found = left_out(torch.zeros(100, 1, 8, 8), torch.full((100, 1, 8, 8), 0.4), runs, learn)
    assert seen == [{0.5, 0.75}, {0.25, 0.75}, {0.25, 0.5}]
    assert [f.area for f in found] == [0.0, 1.0, 1.0]
    assert [f.name for f in found] == ["a", "b", "c"]


def test_too_little_to_learn_from_is_refused():
    x = torch.zeros(100, 1, 8, 8)
    with pytest.raises(ValueError, match="give at least 2; got 1"):
        left_out(x, x, {"a": x}, Frequencies())
    with pytest.raises(ValueError, match="at least 100 pictures of each kind; got 99"):
        left_out(x, x, {"a": x, "b": x[:99]}, Frequencies())
    with pytest.raises(ValueError, match="several sizes"):
        left_out(x, x, {"a": x, "b": torch.zeros(100, 1, 9, 9)}, Frequencies())


def test_the_interval_is_over_families():
    found = [LeftOut(name=str(i), area=a, precision=a, n=100) for i, a in enumerate((0.5, 0.7, 0.9, 0.9))]
    area, _ = figures_of_detection(found, "x", n_real=100)
    assert area.value == pytest.approx(0.75)
    # of all 256 equally likely resamples of four: the quantiles of their mean
    values = torch.tensor([0.5, 0.7, 0.9, 0.9], dtype=torch.float64)
    all_means = torch.cartesian_prod(*[values] * 4).mean(1)
    low, high = torch.quantile(all_means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    assert area.interval is not None
    assert area.interval == pytest.approx((low, high), abs=0.026)
    few, _ = figures_of_detection(found[:3], "x", n_real=100)
    assert few.interval is None
    assert "4 are needed" in few.interval_method
    assert (
        "too narrow for so few"
        in figures_of_detection(
            [LeftOut(name=str(i), area=0.7, precision=0.7, n=200) for i in range(5)], "a", n_real=200
        )[0].interval_method
    )
