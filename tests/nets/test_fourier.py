"""Random Fourier features: their kernel, and that they are drawn once."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.nets.fourier import Fourier
from simulacra.nets.initialise import initialise


def test_products_of_features_are_the_gaussian_kernel():
    features = Fourier(count=20_000, scale=3.0).build(2)
    initialise(features, Rng(0))
    x = torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.2, -0.3]])
    waves = features(x)[:, 2:]
    kernel = waves @ waves.T / 20_000
    # E cos(w (a - b)) = exp(-scale^2 |a - b|^2 / 2) (Rahimi & Recht 2007); standard error below 1 / sqrt(20,000)
    torch.testing.assert_close(kernel, torch.exp(-4.5 * torch.cdist(x, x) ** 2), rtol=0, atol=5 / math.sqrt(20_000))


def test_the_values_themselves_are_kept_and_nothing_is_learned():
    features = Fourier(count=4).build(3)
    initialise(features, Rng(1))
    x = Rng(2)("x").normal((5, 3))
    assert features(x).shape == (5, features.outputs) == (5, 11)
    assert torch.equal(features(x)[:, :3], x)
    assert not list(features.parameters())
    assert "frequencies" in features.state_dict()


@pytest.mark.parametrize(("settings", "told"), [({"count": 0}, "got 0 and 4.0"), ({"scale": 0.0}, "got 32 and 0.0")])
def test_refusals(settings, told):
    with pytest.raises(ValueError, match=told):
        Fourier(**settings)
