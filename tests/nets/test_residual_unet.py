"""The U-Net of the public layout: what its settings mean, and that everything in it is heard and learns."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics.noise_chain import NoiseChain
from simulacra.nets.initialise import initialise
from simulacra.nets.residual_unet import ResidualUNet

SMALL = {"widths": (8, 12), "attention": (False, True), "groups": 4, "head": 4, "blocks": 1}


def stirred(settings: ResidualUNet, event: tuple[int, ...] = (1, 8, 8), *, beside: int = 0, given: int = 0):
    net = settings.build(event, beside, given).double()
    initialise(net, Rng(1))
    with torch.no_grad():
        for path, p in net.named_parameters():
            p.add_(0.1 * Rng(2)(path).normal((p.numel(),), dtype=torch.float64).view_as(p))
    return net


def draw(*shape: int) -> torch.Tensor:
    return Rng(3).normal(shape, dtype=torch.float64)


def test_at_first_it_answers_nothing():
    net = ResidualUNet(**SMALL).build((1, 8, 8), 0, 0)
    initialise(net, Rng(0))
    assert not net(torch.randn(2, 1, 8, 8), torch.zeros(2)).any()


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 10), (4, 5, 9)])
def test_odd_and_oblong_pictures_of_any_channels(shape):
    answer = stirred(ResidualUNet(**SMALL), shape)(draw(2, *shape), torch.zeros(2, dtype=torch.float64))
    assert answer.shape == (2, *shape)
    assert answer.isfinite().all()


def test_everything_learns_and_is_heard():
    net = stirred(ResidualUNet(**SMALL), beside=2, given=3)
    x, noise, beside, given = draw(4, 1, 8, 8), torch.linspace(-1, 1, 4).double(), draw(4, 2, 8, 8), torch.eye(4, 3)
    answer = net(x, noise, beside, given.double())
    answer.square().sum().backward()
    # a shift of all keys changes no attention (a softmax forgets it): a third of that bias learns nothing
    assert all(p.grad.abs().sum() > 1e-12 for p in net.parameters())
    for changed in ((2 * x, noise, beside, given), (x, noise + 0.5, beside, given), (x, noise, -beside, given),
                    (x, noise, beside, given.flip(0))):  # fmt: skip
        assert not torch.allclose(net(*changed[:3], changed[3].double()), answer)


def test_an_example_is_answered_as_it_is_alone():
    net = stirred(ResidualUNet(**SMALL))
    x, noise = draw(5, 1, 8, 8), torch.linspace(-1, 1, 5).double()
    alone = torch.cat([net(x[i : i + 1], noise[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(net(x, noise), alone, rtol=1e-10, atol=1e-10)


def test_the_time_is_shown_as_the_sinusoids_of_vaswani_et_al():
    """Section 3.5: angles t / 10000^(i / half), here cosines first, of the time that the clock reads."""
    chain = NoiseChain()
    net = stirred(ResidualUNet(**SMALL, clock=chain))
    seen: list[torch.Tensor] = []
    net.level.dense1.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    net(draw(1, 1, 8, 8), chain.level(torch.tensor([100.0]).double()).log() / 4)
    angles = [100 / 10_000 ** (i / 4) for i in range(4)]
    wanted = torch.tensor([[math.cos(a) for a in angles] + [math.sin(a) for a in angles]])
    torch.testing.assert_close(seen[0].float(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"attention": (True,)}, "an entry a width; got"),
        ({"groups": 5}, "groups must divide every width; got 5 and 8"),
        ({"head": 8}, "head must divide the widths that attend; got 8 and 12"),
        ({"padding": 2}, "padding 0 or 1; got 1 and 2"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        ResidualUNet(**{**SMALL, **changes})


def test_rows_are_no_pictures():
    with pytest.raises(ValueError, match="needs pictures"):
        ResidualUNet(**SMALL).build((5,), 0, 0)
