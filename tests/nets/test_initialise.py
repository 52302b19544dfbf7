"""First weights: a function of seed and name, of the right size, and refused where unknown."""

import math

import pytest
import torch
from torch import nn

from simulacra.core.randomness import Rng
from simulacra.nets.initialise import fan_in_uniform, initialise, normal


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(72, 500), nn.LayerNorm(500))


def test_weights_depend_on_seed_and_name_alone():
    torch.manual_seed(0)
    a = network()
    torch.manual_seed(1)
    b = network()
    before = torch.get_rng_state()
    initialise(a, Rng(3))
    initialise(b, Rng(3))
    assert torch.equal(before, torch.get_rng_state())
    for (name, p), q in zip(a.named_parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q), name
    initialise(b, Rng(4))
    assert not torch.equal(a[0].weight, b[0].weight)


def test_a_layer_s_weights_do_not_depend_on_its_neighbours():
    small = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
    large = nn.ModuleDict({"z": nn.Linear(9, 9), "b": nn.Linear(4, 4), "a": nn.Linear(4, 4)})
    initialise(small, Rng(0))
    initialise(large, Rng(0))
    assert torch.equal(small["a"].weight, large["a"].weight)
    assert torch.equal(small["b"].weight, large["b"].weight)
    assert not torch.equal(small["a"].weight, small["b"].weight)


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Linear(300, 400), 300),
        (nn.Conv1d(20, 200, 5), 100),
        (nn.Conv2d(16, 256, 3), 144),
        (nn.Conv2d(16, 256, 3, groups=4), 36),
        (nn.Conv3d(4, 500, 3), 108),
        (nn.ConvTranspose2d(64, 32, 4), 512),
    ],
    ids=str,
)
def test_fan_in_uniform_is_torch_s_own_default(layer, fan_in):
    theirs = layer.weight.detach().clone()
    initialise(layer, Rng(0))
    bound = 1 / math.sqrt(fan_in)
    assert layer.weight.abs().max() <= bound
    for weight in (layer.weight.detach(), theirs):
        # the variance of U(-b, b) is b^2 / 3; the standard error of its estimate is that times sqrt(4 / 5 / n)
        n = weight.numel()
        assert float(weight.double().var()) == pytest.approx(bound**2 / 3, rel=5 * math.sqrt(0.8 / n))
        assert abs(float(weight.double().mean())) < 5 * bound / math.sqrt(3 * n)
    assert not layer.bias.any()


def test_a_linear_layer_keeps_the_scale_of_its_input():
    # y = W x has variance |x|^2 / (3 fan_in): a third of the input's
    layer = nn.Linear(400, 4000)
    initialise(layer, Rng(0))
    out = layer(Rng(1)("x").normal((64, 400)))
    assert float(out.detach().var()) == pytest.approx(1 / 3, rel=0.03)


def test_normal_has_its_deviation():
    layer = nn.Conv2d(64, 64, 3)
    initialise(layer, Rng(0), linear=normal(0.02))
    assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.02)


def test_norms_start_as_the_identity_and_embeddings_as_standard_normals():
    net = nn.ModuleList([nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.RMSNorm(4), nn.Embedding(500, 40)])
    for p in net.parameters():
        nn.init.constant_(p, 7.0)
    initialise(net, Rng(0))
    for norm in net[:4]:
        assert (norm.weight == 1).all()
        assert getattr(norm, "bias", None) is None or not norm.bias.any()
    assert float(net[4].weight.detach().std()) == pytest.approx(1, rel=0.03)


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(3))


class Lookalike(nn.Module):
    """Not a norm, though its parameter has a norm's name."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 3))


@pytest.mark.parametrize(
    "layer", [Gate(), nn.MultiheadAttention(4, 1), nn.Bilinear(2, 2, 2), nn.LSTM(2, 2), Lookalike()]
)
def test_a_layer_whose_start_is_unknown_is_refused_by_name(layer):
    with pytest.raises(ValueError, match=f"{type(layer).__name__}.*initialise"):
        initialise(nn.Sequential(nn.Linear(2, 2), layer), Rng(0))


def test_a_layer_may_say_how_it_starts():
    class Own(Gate):
        def initialise(self, rng: Rng) -> None:
            self.strength.fill_(float(rng("strength").uniform((1,))))

    net = nn.ModuleDict({"own": Own()})
    initialise(net, Rng(5))
    assert (net["own"].strength == Rng(5)("own")("strength").uniform((1,))).all()


def test_both_schemes_are_functions_of_their_stream():
    weight = torch.empty(4, 3, 2)
    for scheme in (fan_in_uniform, normal(0.5)):
        assert torch.equal(scheme(weight, Rng(0)), scheme(weight, Rng(0)))
        assert torch.equal(scheme(weight, Rng(0))[:2], scheme(weight[:2], Rng(0)))
