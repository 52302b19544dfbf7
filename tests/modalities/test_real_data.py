"""The real data sets, where they are: their published counts, and what is known of them."""

import time

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.modalities.fetch import sha256
from simulacra.modalities.names import KNOWN
from simulacra.modalities.sources import open_data


@pytest.fixture(autouse=True)
def _real(real_data):
    return real_data


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_mnist_and_its_like(name, real_data):
    loaded = open_data(name)
    assert (len(loaded.train), len(loaded.held_out)) == (60_000, 10_000)
    assert loaded.train.space.only.shape == (1, 28, 28)
    assert loaded.train.space.classes.names == KNOWN[name].classes
    for file, wanted in KNOWN[name].sha256.items():
        assert sha256(real_data / name / file) == wanted
    if name == "mnist":
        # the mean and deviation of MNIST's training pixels that everyone standardises by: 0.1307 and 0.3081
        x = loaded.train.x.double() / 255
        assert (round(float(x.mean()), 4), round(float(x.std()), 4)) == (0.1307, 0.3081)
        assert loaded.train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


def test_mnist_opens_in_a_second():
    open_data("mnist")
    before = time.process_time()
    open_data("mnist")
    assert time.process_time() - before < 1


def test_binary_mnist_is_as_bright_as_mnist():
    grey, binary = open_data("mnist"), open_data("mnist-binary")
    index = torch.arange(0, 60_000, 12)
    a, b = (d.train.batch(index, Rng(0)).x.double() for d in (grey, binary))
    # each pixel's variance given its grey level is below 1 in [-1, 1]
    assert abs(float(a.mean() - b.mean())) < 5 / (5000 * 784) ** 0.5
    assert set(b.unique().tolist()) == {-1.0, 1.0}


@pytest.mark.slow
def test_cifar10():
    loaded = open_data("cifar10")
    assert len(loaded.train) == 50_000
    assert loaded.train.y.bincount().tolist() == [5000] * 10
    # the channel means that everyone standardises by: 0.4914, 0.4822, 0.4465
    mean = (loaded.train.x.double() / 255).mean((0, 2, 3))
    assert [round(m, 4) for m in mean.tolist()] == [0.4914, 0.4822, 0.4465]


@pytest.mark.slow
def test_emoji():
    before = time.process_time()
    loaded = open_data("emoji", size=32)
    assert time.process_time() - before < 10
    assert len(loaded.train) + len(loaded.held_out) == 3583
    rows = lambda data: {x.numpy().tobytes() for x in data.x}  # noqa: E731
    assert not rows(loaded.train) & rows(loaded.held_out)
    # transparent corners lie over white
    corners = loaded.train.x[:, :, 0, 0].double().mean()
    assert float(corners) > 240


def test_stacked_mnist(real_data):
    loaded = open_data("stacked-mnist")
    assert (len(loaded.train), len(loaded.held_out)) == (128_000, 10_000)
    assert loaded.train.space == loaded.held_out.space
    assert loaded.train.space.only.shape == (3, 28, 28)
    assert loaded.train.space.y is None
    index = torch.arange(2)
    grey, stacks = open_data("mnist").train, loaded.train
    parts = grey.batch(stacks.which[index].flatten(), Rng(0))
    assert torch.equal(stacks.batch(index, Rng(0)).x.flatten(0, 1)[:, None], parts.x)
    assert torch.equal(stacks.factors(index).flatten(), parts.y)
    # as even as the digits are: 3 times the entropy they lack
    weights = stacks.weights()
    assert float(weights.sum()) == pytest.approx(1)
    with pytest.raises(ValueError, match="binarise means nothing"):
        open_data("stacked-mnist", binarise="dynamic")
