"""Encoders and decoders take and give what they say, for any size, and use all their parameters."""

from __future__ import annotations

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Continuous, Space
from simulacra.nets.backbones import ByLayout, Convolutional, Dense, Temporal
from simulacra.nets.embeddings import Embed
from simulacra.nets.heads import Head
from simulacra.nets.initialise import initialise


def grid(channels: int, height: int, width: int) -> Space:
    return Space(fields={"picture": Continuous(low=-1.0, high=1.0, levels=256, shape=(channels, height, width))})


TOKENS = Space(fields={"tokens": Categorical(k=5, shape=(6,), varying=True)})
SMALL = Convolutional(width=4, hidden=8)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 7), (8, 8), (9, 13), (28, 28), (33, 20)])
@pytest.mark.parametrize("given", [0, 3])
def test_convolutions_take_any_size(size: tuple[int, int], given: int):
    space = grid(2, *size)
    embed, head = Embed(space), Head(space)
    encoder, decoder = SMALL.encoder(embed, given, 5), SMALL.decoder(head, 4)
    for module in (encoder, decoder):
        initialise(module, Rng(0))
    h = Rng(1).normal((3, *embed.shape))
    y = Rng(2).normal((3, given)) if given else None
    out, raw = encoder(h, y), decoder(Rng(3).normal((3, 4)))
    assert out.shape == (3, 5)
    assert raw.shape == (3, *head.shape)
    (out.square().sum() + raw.square().sum()).backward()
    dead = [n for m in (encoder, decoder) for n, p in m.named_parameters() if not bool(p.grad.abs().sum() > 0)]
    assert dead == []


def test_each_layout_gets_its_networks():
    networks = ByLayout(grid=SMALL, sequence=Temporal(width=8), vector=Dense(hidden=(8,)))
    point = Space(fields={"point": Continuous(low=0.0, high=1.0, shape=(2,))})
    for space, part in ((grid(1, 8, 8), SMALL), (TOKENS, networks.sequence), (point, networks.vector)):
        ours = networks.decoder(Head(space), 3)
        assert type(ours) is type(part.decoder(Head(space), 3))
        assert networks.encoder(Embed(space), 0, 2)(torch.zeros(2, *Embed(space).shape)).shape == (2, 2)


def test_a_sequence_encoder_never_sees_padding():
    encoder = Temporal(width=8, hidden=8).encoder(Embed(TOKENS), 0, 3)
    initialise(encoder, Rng(0))
    length = torch.tensor([2, 6])
    h = Embed(TOKENS)(torch.tensor([[1, 2, 0, 0, 0, 0], [1, 2, 3, 4, 0, 1]]), length=length)
    changed = h.clone()
    changed[0, 2:, :-1] = 7.0
    assert torch.equal(encoder(h), encoder(changed))
    changed[0, 1, :-1] = 7.0
    assert not torch.equal(encoder(h), encoder(changed))


def test_a_reach_must_be_odd():
    with pytest.raises(ValueError, match="odd"):
        Temporal(reach=4)
