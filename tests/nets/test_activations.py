"""The activation with a parameter of its own: what it is at first, and what its parameter does."""

import math

import torch

from simulacra.core.randomness import Rng
from simulacra.nets.activations import SteepTanh, steep_tanh
from simulacra.nets.dense import mlp
from simulacra.nets.initialise import initialise

X = torch.linspace(-3, 3, 13, dtype=torch.float64)


def test_a_fresh_steep_tanh_is_tanh():
    assert torch.equal(steep_tanh().double()(X), X.tanh())


def test_its_slope_at_zero_is_learned_as_a_logarithm():
    """The slope of tanh(a x) at 0 is a; a step of d in the parameter multiplies a by exp(10 d), wherever it starts."""
    layer = SteepTanh().double()
    for log_slope in (-0.2, 0.0, 0.3):
        with torch.no_grad():
            layer.log_slope.fill_(log_slope)
        x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(layer(x), x)
        assert math.isclose(float(slope), math.exp(10 * log_slope), rel_tol=1e-12)


def test_it_becomes_a_step():
    layer = SteepTanh().double()
    with torch.no_grad():
        layer.log_slope.fill_(1.0)
    assert torch.equal(layer(X), X.sign())


def test_first_weights_make_it_tanh_again():
    net = mlp((2, 3, 1), activation=steep_tanh)
    layer = net[1]
    assert isinstance(layer, SteepTanh)
    with torch.no_grad():
        layer.log_slope.fill_(0.7)
    initialise(net, Rng(0))
    assert float(layer.log_slope.detach()) == 0
