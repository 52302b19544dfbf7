"""The encoder trained without labels: its views, that it learns what no label told it, and that it is kept."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from simulacra.core.batch import Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.evaluation.self_supervised import encoder
from simulacra.mathematics.self_supervision import Contrast
from simulacra.modalities.sources import open_data
from simulacra.nets.initialise import initialise
from simulacra.nets.self_supervised import Distort, Encoder, EncoderConfig

STILL = {"shift": 0.0, "scale": 0.0, "turn": 0.0, "shear": 0.0, "contrast": 0.0, "noise": 0.0}


def pictures(n: int = 40, height: int = 8, width: int = 8) -> Stored:
    space = Space(fields={"p": Continuous(low=-1, high=1, shape=(1, height, width))})
    return Stored(space=space, x=Rng(1)("x").normal((n, 1, height, width)).clamp(-1, 1))


def probe(extract, train, held) -> float:
    """Share of held-out labels that a linear classifier on the features gets right."""
    a, b = (data.batch(torch.arange(min(len(data), 3000)), Rng(0)) for data in (train, held))
    inner, outer = extract(a.x), extract(b.x)
    mean, spread = inner.mean(0), inner.std(0) + 1e-6
    model = LogisticRegression(max_iter=500).fit((inner - mean) / spread, a.y)
    return float(model.score((outer - mean) / spread, b.y))


def untrained(space: Space):
    network = Encoder(EncoderConfig(), space)
    initialise(network, Rng(0))
    network.requires_grad_(False)
    return network.features


def test_features_separate_digits_that_no_label_named():
    data = open_data("digits")
    learnt = encoder(data.train, config=EncoderConfig(examples=8_000))
    trained, random = (probe(f, data.train, data.held_out) for f in (learnt, untrained(data.train.space)))
    # two thirds of the mistakes of the same network untrained, after a second; a third after seven seconds
    assert 1 - trained < 0.75 * (1 - random)


@pytest.mark.slow
def test_features_separate_mnist(real_data):
    data = open_data("mnist")
    learnt = encoder(data.train, config=EncoderConfig(examples=30_000))
    trained, random = (probe(f, data.train, data.held_out) for f in (learnt, untrained(data.train.space)))
    assert trained > 0.92 > 0.8 > random


@pytest.mark.parametrize(("height", "width"), [(8, 8), (6, 11)])
def test_a_view_without_distortion_is_the_picture(height, width):
    x = pictures(5, height, width).x
    torch.testing.assert_close(Distort(**STILL)(x, Rng(0)), x, rtol=0, atol=1e-5)


def test_a_mirror_reflects_left_and_right():
    x = pictures(200).x
    seen = Distort(**STILL, mirror=0.5)(x, Rng(0))
    flipped = [torch.allclose(a, b.flip(-1), atol=1e-5) for a, b in zip(seen, x, strict=True)]
    assert 70 < sum(flipped) < 130
    assert all(f or torch.allclose(a, b, atol=1e-5) for f, a, b in zip(flipped, seen, x, strict=True))


def test_a_turn_is_a_turn_also_of_pictures_that_are_not_square():
    """A quarter turn would carry the bar from upright to lying, and no distance changes with a small one."""
    x = torch.zeros(1, 1, 40, 80)
    x[0, 0, 18:22, 30:50] = 1
    angles = [
        _slope(Distort(**{**STILL, "turn": 40.0})(x, Rng(s))[0, 0]) for s in range(30)
    ]  # fmt: skip
    assert max(map(abs, angles)) <= 41
    assert max(angles) > 25 > -25 > min(angles)


def _slope(picture: torch.Tensor) -> float:
    """Angle of the longest axis of what is bright, degrees."""
    at = torch.stack(torch.meshgrid(torch.arange(40.0), torch.arange(80.0), indexing="ij"), 2)[picture > 0.5]
    vector = torch.linalg.eigh(at.T.cov()).eigenvectors[:, -1]
    return float(torch.rad2deg(torch.atan(vector[0] / vector[1])))


def test_views_are_those_of_the_stream():
    x = pictures().x
    assert torch.equal(Distort()(x, Rng(1)), Distort()(x, Rng(1)))
    assert not torch.equal(Distort()(x, Rng(1)), Distort()(x, Rng(2)))


@pytest.mark.parametrize("loss", [Contrast(), lambda a, b: F.mse_loss(a, b)])
def test_another_loss_is_passed_in_and_kept_apart(tmp_path, loss):
    quick = EncoderConfig(examples=80, channels=4, batch=20)
    plain = encoder(pictures(), folder=tmp_path, config=quick)
    other = encoder(pictures(), folder=tmp_path, config=EncoderConfig(examples=80, channels=4, batch=20, loss=loss))
    assert plain.hash != other.hash
    assert len(list(tmp_path.iterdir())) == 2


def test_kept_by_fingerprint_and_read_back(tmp_path):
    quick = EncoderConfig(examples=80, channels=4, batch=20)
    first = encoder(pictures(), folder=tmp_path, config=quick)
    (path,) = tmp_path.iterdir()
    again = encoder(pictures(), folder=tmp_path, config=quick)
    assert again.hash == first.hash
    x = pictures().x
    torch.testing.assert_close(again(x), first(x))
    assert float(first(x).mean()) == pytest.approx(0, abs=1e-4)
    assert float(first(x).var(0).mean()) == pytest.approx(1, rel=1e-3)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"safetensors is damaged; delete it"):
        encoder(pictures(), folder=tmp_path, config=quick)


def test_data_it_cannot_learn_from():
    with pytest.raises(ValueError, match="at least 20 pictures to learn from; got 9"):
        encoder(pictures(9))
    flat = Space(fields={"v": Continuous(low=0, high=1, shape=(4,))})
    with pytest.raises(ValueError, match="takes pictures"):
        encoder(Stored(space=flat, x=torch.zeros(40, 4)))
