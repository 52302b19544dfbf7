"""The decoder of GPT-2 (Radford et al. 2019), for weights of that layout: a token's place is a vector that is learnt.

Layer norms with gains and offsets before attention and dense layers and at the end, biases in every matrix, a GELU, and
an output that is the input's table once more. What stands before the first token is a vector of its own in the first
place; the tokens take the places after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.nets.activations import Activation, gelu_tanh
from simulacra.nets.decoder import Decoder, DecoderLike, Projection, Stepping
from simulacra.nets.masked import whole

DEVIATION = 0.02  # of first weights: Radford et al. 2018, section 4.1


@dataclass(frozen=True, kw_only=True)
class LearnedPlaces:
    """A decoder's layers as GPT-2 has them (``Decoder.layers``).

    places      how many there are, the start's included: no sequence is longer.
    hidden      size of a block's dense layers.
    activation  between those.
    eps         of the layer norms.
    """

    places: int = 1024
    hidden: int = 3072
    activation: Activation = gelu_tanh
    eps: float = 1e-5

    def __call__(self, k: int, outputs: int, room: int, given: int, s: Decoder) -> PlacesNetwork:
        if room > self.places:
            raise ValueError(f"this decoder has {self.places} places; got sequences of {room}: give a smaller block")
        if s.window is not None or s.shared != 1:
            raise ValueError("learned places go with attention to all tokens before, a key for every query; leave"
                             " window and shared out")  # fmt: skip
        return PlacesNetwork(k, outputs, room, given, s, self)


class Table(nn.Embedding):
    """Vectors, small at first."""

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """N(0, 0.02^2)."""
        self.weight.copy_(rng("weight").normal(self.weight.shape) * DEVIATION)


class Linear(nn.Linear):
    """A linear layer with a bias, small at first, smaller where many are added up.

    beside  how many such layers add to the same stream (Radford et al. 2019, section 2.3).
    """

    def __init__(self, into: int, out: int, beside: int = 1) -> None:
        super().__init__(into, out)
        self.deviation = DEVIATION / beside**0.5

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """N(0, 0.02^2 / beside), no bias."""
        self.weight.copy_(rng("weight").normal(self.weight.shape) * self.deviation)
        self.bias.zero_()


class Attention(nn.Module):
    """Tokens (b, t, width) look at themselves and at those before them -> the same."""

    def __init__(self, s: Decoder) -> None:
        super().__init__()
        self.heads = s.heads
        self.inward, self.outward = Linear(s.width, 3 * s.width), Linear(s.width, s.width, 2 * s.depth)

    def asked(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (b, heads, t, head)."""
        q, k, v = self.inward(h).unflatten(-1, (3, self.heads, -1)).transpose(1, 3).unbind(2)
        return q, k, v

    def forward(self, h: Tensor) -> Tensor:
        out = F.scaled_dot_product_attention(*self.asked(h), is_causal=True)
        return self.outward(out.transpose(1, 2).flatten(2))


class Dense(nn.Module):
    """Two matrices with an activation between them, on each token alone."""

    def __init__(self, s: Decoder, layers: LearnedPlaces) -> None:
        super().__init__()
        self.inward, self.outward = Linear(s.width, layers.hidden), Linear(layers.hidden, s.width, 2 * s.depth)
        self.between = layers.activation()

    def forward(self, h: Tensor) -> Tensor:
        return self.outward(self.between(self.inward(h)))


class Block(nn.Module):
    """Attention, then dense layers, each of the normed stream, beside what it is added to."""

    def __init__(self, s: Decoder, layers: LearnedPlaces) -> None:
        super().__init__()
        self.attention, self.dense = Attention(s), Dense(s, layers)
        self.first, self.second = (nn.LayerNorm(s.width, eps=layers.eps) for _ in range(2))

    def forward(self, h: Tensor, turns: Tensor) -> Tensor:
        h = h + self.attention(self.first(h))
        return h + self.dense(self.second(h))


class PlacesNetwork(DecoderLike):
    """See ``nets.decoder.DecoderNetwork``, whose arguments these are.

    more  logits of what is no token: an end, where rows have one.
    """

    def __init__(self, k: int, outputs: int, room: int, given: int, s: Decoder, layers: LearnedPlaces) -> None:
        super().__init__()
        self.settings, self.room, self.outputs = s, room, outputs
        self.start = nn.Linear(max(given, 1), s.width, bias=False)
        self.tokens, self.places = Table(k, s.width), Table(layers.places, s.width)
        self.blocks = nn.ModuleList(Block(s, layers) for _ in range(s.depth))
        self.norm = nn.LayerNorm(s.width, eps=layers.eps)
        self.more = Projection(s.width, outputs - k) if outputs > k else None
        for p in self.blocks.parameters():
            p.muon = p.ndim == 2  # type: ignore[attr-defined]

    def told(self, h: Tensor) -> Tensor:
        """Logits of what the blocks came to."""
        h = self.norm(h)
        logits = F.linear(h, self.tokens.weight)
        return logits if self.more is None else torch.cat([logits, self.more(h)], dim=-1)

    def forward(self, tokens: Tensor, given: Tensor | None) -> Tensor:
        h = torch.cat([self.begin(len(tokens), given), self.tokens(tokens)], dim=1)
        h = h + self.places.weight[: h.shape[1]]
        for block in self.blocks:
            h = self.settings.memory(block, h, h) if torch.is_grad_enabled() else block(h, h)
        return self.told(h)

    def stepping(self) -> Stepping:
        return _Stepping(self)


class _Stepping:
    """See ``nets.decoder.Stepping``: a row's places are counted from its start, not from its first column."""

    def __init__(self, network: PlacesNetwork) -> None:
        self.network, self.places = network, whole(network.places.weight)

    def read(self, start: Tensor, tokens: Tensor, pads: Tensor, mask: Tensor, kept: list[Tensor]) -> Tensor:
        h = torch.cat([start, self.network.tokens(tokens)], dim=1)
        t = h.shape[1]
        place = torch.arange(t, device=h.device) - pads[:, None]
        h = torch.where((place == 0)[..., None], start, h) + F.embedding(place.clamp(min=0), self.places)
        for block, here in zip(self.network.blocks, kept, strict=True):
            assert isinstance(block, Block)
            h, here[0, :, :, :t], here[1, :, :, :t] = _passed(block, h, mask[:, None], None)
        return self.network.told(h[:, -1])

    def step(self, token: Tensor, at: int, pads: Tensor, first: int, mask: Tensor | None, kept: list[Tensor]) -> Tensor:
        h = (self.network.tokens(token) + F.embedding(at - pads, self.places))[:, None]
        for block, here in zip(self.network.blocks, kept, strict=True):
            assert isinstance(block, Block)
            h, _, _ = _passed(block, h, mask, (here, at))
        return self.network.told(h[:, 0])


def _passed(
    block: Block, h: Tensor, mask: Tensor | None, kept: tuple[Tensor, int] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """A block's output, and the keys and values looked at: these tokens' own, or those kept with one token's beside."""
    q, k, v = block.attention.asked(block.first(h))
    if kept is not None:
        here, at = kept
        here[0, :, :, at], here[1, :, :, at] = k[:, :, 0], v[:, :, 0]
        k, v = here[:, :, :, : at + 1]
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    h = h + block.attention.outward(out.transpose(1, 2).flatten(2))
    return h + block.dense(block.second(h)), k, v
