"""Scores of strangeness: what each is by definition, and the failures that are known of them, shown."""

from __future__ import annotations

import math

import pytest
import torch
from worlds import Chain, Dots

from simulacra.core.randomness import Rng
from simulacra.uses.novelty import Ratio, Surprise, Typicality, bits_of, figure_of, model_bits, png_bits, zlib_bits


def test_surprise_is_minus_log2_p():
    model = Chain()
    x = model.sample(20, rng=0).x
    bits, kind = bits_of(model, x)
    assert kind == "exact"
    torch.testing.assert_close(bits, -model.log_likelihood(x).nats.double() / math.log(2))
    assert torch.equal(Surprise()(bits, x), bits)


def flat_is_likelier():
    """A chain that mostly repeats its last value: its own pictures are noisy, flat ones are the likeliest of all."""
    model = Chain(side=8, levels=4, seed=1)
    stay = torch.full((1, 5, 4), 0.1).log()
    stay[0, torch.arange(4), torch.arange(4)] = math.log(0.7)
    stay[0, 4] = math.log(0.25)
    model.log_p.copy_(stay)
    usual = model.sample(200, rng=0).x
    flat = model.space.only.value(Rng(0)("flat").integers(4, (200, 1, 1, 1)).float()).expand(200, 1, 8, 8)
    return model, usual, flat.contiguous()


def test_likelihood_fails_on_simple_pictures_and_typicality_does_not():
    model, usual, flat = flat_is_likelier()
    own, strange = bits_of(model, usual)[0], bits_of(model, flat)[0]
    failed = figure_of(Surprise(), Surprise()(own, usual), Surprise()(strange, flat), kind="exact")
    assert failed.value == 0.0  # every flat picture is likelier than every one of the model's own
    typical = Typicality(float(bits_of(model, model.sample(400, rng=1).x)[0].mean()))
    found = figure_of(typical, typical(own, usual), typical(strange, flat), kind="exact")
    assert found.value > 0.98
    assert "known failure" in found.note


def test_the_ratio_to_a_model_is_the_difference_and_tells_what_the_background_lacks():
    model, background = Chain(side=6, seed=0), Chain(side=6, seed=1)
    x, other = model.sample(200, rng=0).x, background.sample(200, rng=1).x
    score = Ratio(model_bits(background), model.space, "another chain")
    own = score(bits_of(model, x)[0], x)
    torch.testing.assert_close(own, bits_of(model, x)[0] - bits_of(background, x)[0])
    found = figure_of(score, own, score(bits_of(model, other)[0], other), kind="exact")
    assert found.name == "AUC of ratio to another chain"
    assert found.value > 0.98


@pytest.mark.parametrize("coded", [zlib_bits, png_bits])
def test_compressors_take_more_for_noise_than_for_flat_pictures(coded):
    model = Chain(side=12, levels=16)
    noise = model.space.only.value(Rng(0)("n").integers(16, (3, 1, 12, 12)).float())
    bits = coded(torch.cat([noise, torch.zeros_like(noise) - 1]), model.space)
    assert bits.dtype == torch.float64
    assert (bits[:3] > bits[3:]).all()


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ValueError, match="novelty needs a Likelihood"):
        bits_of(Dots(), torch.zeros(1, 1, 1, 12))
    with pytest.raises(ValueError, match="3 levels"):
        bits_of(Chain(), torch.full((1, 1, 3, 3), 7.0))
    with pytest.raises(ValueError, match="shape"):
        bits_of(Chain(), torch.zeros(1, 3, 3))
    with pytest.raises(ValueError, match="0 .. 1; got 2 .. 2"):
        bits_of(Chain(classes=2), torch.zeros(1, 1, 3, 3), y=torch.tensor([2]))
