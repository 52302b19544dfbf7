"""Transformers: what a token may see, what places mean, and that going on from a cache changes nothing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from simulacra.core.randomness import Rng
from simulacra.nets.initialise import initialise
from simulacra.nets.transformer import Cache, Transformer, learned, rotary

KINDS = pytest.mark.parametrize("positions", [learned, rotary])


def transformer(positions=learned, *, causal=True, depth=2, length=9):
    net = Transformer(16, depth, 2, length, causal=causal, positions=positions).double()
    initialise(net, Rng(1))
    return net


def tokens(t=9, b=2):
    return Rng(2)("tokens").normal((b, t, 16), dtype=torch.float64)


@KINDS
def test_a_causal_token_sees_its_past_and_nothing_of_its_future(positions):
    net, h = transformer(positions), tokens(b=1)
    seen = torch.autograd.functional.jacobian(lambda h: net(h)[0, :, 0], h)[:, 0].abs().sum(-1)
    assert torch.equal(seen > 0, torch.ones(9, 9, dtype=torch.bool).tril())


@KINDS
@pytest.mark.parametrize("parts", [[1] * 9, [3, 1, 5], [4, 5]])
def test_going_on_from_a_cache_is_the_whole_at_once(positions, parts):
    net, h = transformer(positions), tokens()
    cache = Cache()
    out = torch.cat([net(part, cache) for part in h.split(parts, dim=1)], dim=1)
    assert torch.allclose(out, net(h), rtol=0, atol=1e-12)
    assert cache.seen == 9


def test_a_transformer_that_sees_everything_without_places_knows_no_order():
    net, h = transformer(causal=False), tokens()
    with torch.no_grad():
        net.places.table.weight.zero_()
    order = Rng(3).permutation(9)
    assert torch.allclose(net(h[:, order]), net(h)[:, order], rtol=0, atol=1e-12)
    with torch.no_grad():
        net.places.table.weight.copy_(Rng(5)("places").normal((9, 16)))
    assert not torch.allclose(net(h[:, order]), net(h)[:, order], atol=1e-3)


def test_rotary_products_depend_on_the_distance_alone():
    places = rotary(64, 16, 2).double()
    q, k = (Rng(4)(name).normal((1, 1, 1, 8), dtype=torch.float64) for name in "qk")

    def product(i, j):
        return (places.turn(q, i) * places.turn(k, j)).sum()

    assert torch.allclose(product(5, 2), product(50, 47), rtol=1e-12)
    assert not torch.allclose(product(5, 2), product(5, 3), rtol=1e-3)
    assert torch.allclose(places.turn(q, 7).norm(), q.norm(), rtol=1e-12)


def test_attention_is_the_softmax_of_normalised_products():
    net = transformer(causal=False, depth=1)
    attention, h = net.blocks[0].attention, tokens(t=4, b=1)
    q, k, v = attention.inward(h)[0].unflatten(-1, (3, 2, 8)).permute(1, 2, 0, 3)
    q, k = (F.layer_norm(t, (8,)) for t in (q, k))
    weights = (q @ k.transpose(1, 2) / 8**0.5).softmax(-1)
    by_hand = (weights @ v).transpose(0, 1).flatten(1) @ attention.outward.weight.T
    assert torch.allclose(attention(h, net.places)[0], by_hand, rtol=0, atol=1e-12)


def test_no_input_is_too_large():
    net = transformer().float()
    out = net(1e18 * tokens().float())
    assert out.isfinite().all()


def test_users_mistakes():
    with pytest.raises(ValueError, match="heads must divide width"):
        Transformer(16, 1, 3, 4, causal=True)
    with pytest.raises(ValueError, match="takes 9 tokens; got 10"):
        transformer()(tokens(t=10))
    with pytest.raises(ValueError, match="heads of even size"):
        rotary(4, 6, 2)
