"""The extractor trained on the data's own labels: it learns, is the same again, and is kept."""

from __future__ import annotations

import pytest
import torch

from simulacra.core.batch import Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.evaluation.classifier import ClassifierConfig, Network, classifier
from simulacra.evaluation.judge import figures_of_samples

QUICK = ClassifierConfig(examples=4_000, channels=4)


def bars(n: int, *, size: int = 8, seed: int = 0, levels: int = 256) -> Stored:
    """Pictures with a bright row or column, at any place: two classes."""
    rng = Rng(seed)
    y, at = rng("y").integers(2, (n,)), rng("at").integers(size, (n,))
    x = (rng("noise").uniform((n, size * size)) * 60).to(torch.uint8).reshape(n, 1, size, size)
    for i in range(n):
        x[i, 0, :, at[i]] = 255
        if y[i]:
            x[i] = x[i].mT.clone()
    space = Space(
        fields={"picture": Continuous(low=-1, high=1, levels=levels, shape=(1, size, size))},
        y=Classes(names=("column", "row")),
        measure="8-bit pixels",
    )
    return Stored(space=space, x=x, y=y, name="bars")


@pytest.fixture(scope="module")
def trained():
    return classifier(bars(600), config=QUICK)


def test_it_learns_what_the_labels_say(trained):
    fresh = bars(200, seed=9).batch(torch.arange(200), Rng(0))
    p = trained.probabilities(fresh.x)
    assert trained.accuracy[1] == 60
    assert trained.accuracy[0] > 0.95
    assert float((p.argmax(1) == fresh.y).double().mean()) > 0.95
    torch.testing.assert_close(p.sum(1), torch.ones(200))


def test_its_features_have_unit_spread(trained):
    x = bars(600).batch(torch.arange(600), Rng(0)).x
    assert trained(x).shape == (600, 32)
    assert float(trained(x).std()) == pytest.approx(1.0, abs=0.15)


def test_class_score_sees_a_lost_class(trained):
    whole, real = (bars(300, seed=s).batch(torch.arange(300), Rng(0)) for s in (1, 2))
    score = {}
    for name, x in (("both", whole.x), ("one", whole.x[whole.y == 0])):
        figures = {f.name: f for f in figures_of_samples(x, real.x, extractors=[trained])}
        score[name] = figures["class score"]
    assert 1 <= score["one"].value < 1.1 < 1.2 < score["both"].value <= 2
    assert score["both"].extractor_hash == trained.hash
    accuracy = figures["classifier accuracy"]
    assert accuracy.n == 60
    assert accuracy.interval[0] <= accuracy.value <= accuracy.interval[1]


def test_kept_by_fingerprint_and_read_back(tmp_path, trained):
    first = classifier(bars(600), folder=tmp_path, config=QUICK)
    assert first.hash == trained.hash
    (path,) = tmp_path.iterdir()
    written = path.stat().st_mtime_ns
    again = classifier(bars(600), folder=tmp_path, config=QUICK)
    assert (again.hash, again.accuracy) == (first.hash, first.accuracy)
    assert path.stat().st_mtime_ns == written
    assert classifier(bars(500), folder=tmp_path, config=QUICK).hash != first.hash
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"not weights", lambda b: b""])
def test_damaged_weights_are_named(tmp_path, damage):
    classifier(bars(60), folder=tmp_path, config=ClassifierConfig(examples=64))
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"safetensors is damaged; delete it"):
        classifier(bars(60), folder=tmp_path, config=ClassifierConfig(examples=64))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 4), (5, 9), (28, 28), (64, 32)])
def test_every_size_of_picture(height, width):
    space = Space(fields={"p": Continuous(low=-1, high=1, shape=(3, height, width))}, y=Classes(names=("a", "b", "c")))
    network = Network(ClassifierConfig(), space, 3)
    assert network(torch.zeros(2, 3, height, width)).shape == (2, 3)


def test_data_it_cannot_learn_from():
    data = bars(40)
    unlabelled = Stored(space=Space(fields=data.space.fields), x=data.x)
    with pytest.raises(ValueError, match="no classes"):
        classifier(unlabelled)
    with pytest.raises(ValueError, match="got 2 and 10: use pixels"):
        classifier(bars(10))
    flat = Space(fields={"v": Continuous(low=0, high=1, shape=(4,))}, y=Classes(names=("a", "b")))
    with pytest.raises(ValueError, match="takes pictures"):
        classifier(Stored(space=flat, x=torch.zeros(40, 4), y=torch.zeros(40).long()))
