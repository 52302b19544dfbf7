"""Mel spectrograms of tones, silence and noise, whose bands are known."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.evaluation.sound import log_mel_extractor
from simulacra.mathematics.frechet import frechet_distance
from simulacra.mathematics.mel import bands, hertz, log_mel, mel

RATE = 8000


def tone(frequency: float, samples: int = 4000, loud: float = 1.0) -> torch.Tensor:
    return loud * torch.sin(2 * math.pi * frequency / RATE * torch.arange(samples, dtype=torch.float64))[None]


def test_the_scale_has_its_fixed_point():
    assert float(mel(torch.tensor(1000.0))) == pytest.approx(1000, abs=0.02)
    f = torch.tensor([0.0, 100.0, 3000.0])
    torch.testing.assert_close(hertz(mel(f)), f, rtol=1e-5, atol=1e-3)


def test_triangles_sum_to_one_between_the_first_and_the_last_peak():
    found = bands(RATE, 512, 20)
    assert found.shape == (257, 20)
    inner = found[int(found[:, 0].argmax()) + 1 : int(found[:, -1].argmax())]
    torch.testing.assert_close(inner.sum(1), torch.ones(len(inner)).double(), rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match="bands are narrower than a bin of 64 samples"):
        bands(RATE, 64, 60)


@pytest.mark.parametrize("frequency", [440.0, 1000.0, 2500.0])
def test_a_tone_lies_in_its_band(frequency):
    found = log_mel(tone(frequency), RATE)[0].mean(1)
    edges = hertz(torch.linspace(0, float(mel(torch.tensor(RATE / 2))), 42))
    band = int(found.argmax())
    assert float(edges[band]) < frequency < float(edges[band + 2])


def test_ten_times_louder_is_two_decades():
    quiet, loud = (log_mel(tone(1000.0, loud=a), RATE).amax() for a in (0.1, 1.0))
    assert float(loud - quiet) == pytest.approx(2, abs=1e-6)
    assert float(log_mel(torch.zeros(1, 600), RATE).max()) == -10


def test_power_of_noise_is_its_variance():
    """Parseval: white noise has its variance in every bin, and in a band that times the band's width."""
    x = 0.5 * Rng(0)("noise").normal((4, 30_000), dtype=torch.float64)
    found = (10 ** log_mel(x, RATE)).mean((0, 2)) / bands(RATE, 512, 40).sum(0)
    torch.testing.assert_close(found, torch.full((40,), 0.25).double(), rtol=0.1, atol=0)


def test_the_extractor_tells_sounds_apart():
    extractor = log_mel_extractor(RATE)
    noise = lambda name, n: 0.1 * Rng(0)(name).normal((n, 2000))  # noqa: E731
    a, b = extractor(noise("a", 30)), extractor(noise("b", 30).unsqueeze(1))
    c = extractor(noise("c", 30) + tone(600.0, 2000).float())
    assert a.shape == (30, 80)
    assert frechet_distance(a, c) > 50 * frechet_distance(a, b)
    assert extractor.hash != log_mel_extractor(RATE, count=20).hash
    with pytest.raises(ValueError, match="a sound of 100 samples is shorter than a window of 512"):
        extractor(torch.zeros(2, 100))
