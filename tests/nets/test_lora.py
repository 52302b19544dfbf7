"""Low-rank adapters: nothing changes at first, only they learn, and merged they leave a plain network."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.nets import lora
from simulacra.nets.denoisers import Convolutional, DiT
from simulacra.nets.initialise import initialise
from simulacra.nets.lora import LoRA, LowRank, matrices
from simulacra.nets.residual_unet import ResidualUNet

BACKBONES: dict[str, Any] = {
    "U-Net": Convolutional(width=8, blocks=1),
    "residual U-Net": ResidualUNet(widths=(8, 8), attention=(False, True), groups=4, head=4, blocks=1),
    "transformer": DiT(patch=4, width=16, depth=1, heads=2),
}


def network(name: str) -> nn.Module:
    net = BACKBONES[name].build((1, 8, 8), 0, 0).double()
    initialise(net, Rng(1))
    with torch.no_grad():  # layers that begin at zero would hide what is added to others
        for path, p in net.named_parameters():
            p.add_(0.1 * Rng(2)(path).normal((p.numel(),), dtype=torch.float64).view_as(p))
    return net


def answer(net: nn.Module) -> Tensor:
    return net(Rng(3).normal((3, 1, 8, 8), dtype=torch.float64), torch.linspace(-1, 1, 3, dtype=torch.float64))


@pytest.mark.parametrize("layers", [lora.attention, lora.dense, matrices])
@pytest.mark.parametrize("name", BACKBONES)
def test_an_adapted_network_begins_as_it_was_bit_for_bit(name, layers):
    # what needs a gradient decides how torch multiplies, and so the last bit: here nothing does
    net = network(name).requires_grad_(False)
    before = answer(net)
    LoRA(rank=2, layers=layers).adapt(net, Rng(4))
    assert torch.equal(answer(net.requires_grad_(False)), before)


@pytest.mark.parametrize("name", BACKBONES)
def test_only_adapters_receive_gradients(name):
    net = network(name)
    adapted = LoRA(rank=2).adapt(net, Rng(4))
    stir(net)
    answer(net).square().sum().backward()
    seen = {path for path, p in net.named_parameters() if p.grad is not None}
    assert seen == {f"{layer}.parametrizations.weight.0.{part}" for layer in adapted for part in ("down", "up")}
    assert all(p.grad.abs().sum() > 0 for p in net.parameters() if p.grad is not None)
    assert all(lora.adapted(path) in {f"{layer}.weight" for layer in adapted} for path in seen)


@pytest.mark.parametrize("name", BACKBONES)
def test_merged_is_unmerged_and_a_plain_network(name):
    net = network(name)
    names = set(net.state_dict())
    before = answer(net)
    LoRA(rank=2, alpha=3.0, layers=matrices).adapt(net, Rng(4))
    assert names < {lora.plain(path) for path in net.state_dict()}
    stir(net)
    changed = answer(net)
    lora.merge(net)
    assert not torch.allclose(changed, before)
    torch.testing.assert_close(answer(net), changed, rtol=1e-12, atol=1e-12)
    assert set(net.state_dict()) == names
    assert all(p.requires_grad for p in net.parameters())


def test_what_is_added_has_this_rank_and_this_scale():
    layer = nn.Sequential(nn.Conv2d(6, 7, 3))
    weight = layer[0].weight.detach().clone()
    LoRA(rank=2, alpha=6.0, layers=matrices).adapt(layer, Rng(0))
    (part,) = [m for m in layer.modules() if isinstance(m, LowRank)]
    with torch.no_grad():
        part.up.copy_(Rng(1).normal((7, 2)))
    added = (layer[0].weight - weight).reshape(7, -1).double()
    assert torch.linalg.matrix_rank(added, rtol=1e-4) == 2
    torch.testing.assert_close(added.float(), 3.0 * part.up @ part.down, rtol=1e-4, atol=1e-5)


def test_named_parameters_may_learn_beside_the_adapters():
    net = network("U-Net")
    LoRA(rank=1).adapt(net, Rng(0), learn=["unet.first.bias"])
    assert net.unet.first.bias.requires_grad
    assert not net.unet.first.weight.requires_grad


def test_copies_are_networks_of_their_own():
    net = network("transformer")
    LoRA(rank=2).adapt(net, Rng(4))
    other = copy.deepcopy(net)
    before = answer(other)
    stir(net)
    assert torch.equal(answer(other), before)


def test_a_network_without_such_layers_is_refused():
    with pytest.raises(ValueError, match=r"Sequential has none of the layers that LoRA\(layers=attention\) adapts"):
        LoRA().adapt(nn.Sequential(nn.Linear(2, 2)), Rng(0))
    with pytest.raises(ValueError, match="rank must be at least 1; got 0"):
        LoRA(rank=0)


def stir(net: nn.Module) -> None:
    """Move the adapters from where they began."""
    with torch.no_grad():
        for path, p in net.named_parameters():
            if lora.adapted(path):
                p.add_(0.3 * Rng(5)(path).normal(tuple(p.shape), dtype=p.dtype))
