"""Classification by Bayes' rule: the exact posterior, its calibration, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from worlds import Chain, Dots

from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.families.vae import VAE, VAEConfig
from simulacra.uses.classify import Scores, figures_of_classes, fit_temperature, reliability, scores


def drawn(n: int = 1000):
    model = Chain(side=3, classes=3, sharpness=1.0)
    y = Rng(0)("y").categorical(model.label_log_prob().expand(n, 3))
    return model, model.sample(n, y=y, rng=0).x, y


def test_it_is_bayes_rule_on_everything_there_is():
    model = Chain(side=2, classes=3)
    x = model.everything()
    log_p = scores(model, x).log_probs()
    joint = torch.stack([
        model.log_likelihood(x, y=torch.full((len(x),), c)).nats.double() + model.label_log_prob()[c] for c in range(3)
    ], 1)  # fmt: skip
    torch.testing.assert_close(log_p, joint - joint.logsumexp(1, keepdim=True))
    # averaged over the model's own pictures the posterior is the prior
    share = (joint.exp().sum(1, keepdim=True) * log_p.exp()).sum(0)
    torch.testing.assert_close(share, model.label_log_prob().exp(), atol=1e-6, rtol=0)


def test_a_right_model_is_calibrated_and_its_accuracy_is_its_confidence():
    model, x, y = drawn()
    found = scores(model, x)
    sure = found.log_probs().exp().max(1).values
    right = (found.log_probs().argmax(1) == y).double()
    error = float((sure - right).std()) / math.sqrt(len(y))
    assert abs(float(sure.mean() - right.mean())) < 4 * error
    assert fit_temperature(found, y) == pytest.approx(1.0, abs=0.2)
    figures = {f.name: f for f in figures_of_classes(found.log_probs(), y, kind=found.kind)}
    assert figures["accuracy"].value == pytest.approx(float(right.mean()))
    assert figures["expected calibration error"].value < 0.05
    assert figures["accuracy"].value > 1.5 / 3


@pytest.mark.parametrize("sharpened", [0.2, 3.0, 20.0])
def test_a_temperature_undoes_what_sharpened_the_posterior(sharpened):
    model, x, y = drawn()
    found = scores(model, x)
    once = fit_temperature(found, y)
    over = Scores(sharpened * found.nats, found.kind)
    fitted = fit_temperature(over, y)
    assert fitted == pytest.approx(sharpened * once, rel=1e-6)
    before, after = (reliability(over.log_probs(t), y).error for t in (1.0, fitted))
    assert after < max(before, 0.05)
    assert torch.equal(over.log_probs(fitted).argmax(1), over.log_probs().argmax(1))


def test_reliability_counts():
    p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]], dtype=torch.float64)
    table = reliability(p.log(), torch.tensor([0, 1, 0, 0]), bins=10)
    assert [(row[0], row[2]) for row in table.rows] == [(0.5, 2), (0.8, 2)]
    assert table.error == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)


def test_what_cannot_classify_is_refused():
    with pytest.raises(ValueError, match="classify needs a Likelihood"):
        scores(Dots(), torch.zeros(1, 1, 1, 12))
    with pytest.raises(ValueError, match="no classes"):
        scores(Chain(), torch.zeros(1, 1, 3, 3))
    with pytest.raises(ValueError, match="shape"):
        scores(Chain(classes=2), torch.zeros(1, 1, 3, 4))
    with pytest.raises(ValueError, match="3 levels"):
        scores(Chain(classes=2), torch.full((1, 1, 3, 3), 0.3))
    plain = VAE(VAEConfig(latent=2), Space(fields={"x": Continuous(low=-math.inf, high=math.inf, shape=(2,))}))
    with pytest.raises(ValueError, match="no classes"):
        scores(plain, torch.zeros(1, 2))
