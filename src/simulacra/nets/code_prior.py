"""An autoregressive model of a row of codes: a causal transformer, each code given those before it and a condition."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.nets.ladder import wide
from simulacra.nets.transformer import Cache, Transformer


@dataclass(frozen=True, kw_only=True)
class CausalPrior:
    """Settings of the transformer; heads must divide width."""

    width: int = 128
    depth: int = 4
    heads: int = 4

    def build(self, k: int, length: int, given: int) -> CodePrior:
        """The model of so many codes out of k, under conditions (given,)."""
        return CodePrior(k, length, given, self)


class CodePrior(nn.Module):
    """log p(code_1 .. code_t | given) as a sum over the codes in their order."""

    def __init__(self, k: int, length: int, given: int, s: CausalPrior) -> None:
        super().__init__()
        self.length = length
        # what stands before the first code: the condition, or always the same
        self.start = nn.Linear(max(given, 1), s.width, bias=False)
        self.tokens = nn.Embedding(k, s.width)
        self.body = Transformer(s.width, s.depth, s.heads, length, causal=True)
        self.out = nn.Linear(s.width, k)

    def forward(self, index: Tensor, given: Tensor | None) -> Tensor:
        """log p of codes (b, length), nats (b,)."""
        start = self._start(len(index), given)
        logits = wide(self.out(self.body(torch.cat([start, self.tokens(index[:, :-1]).to(start)], 1))))
        return logits.log_softmax(-1).gather(-1, index[..., None]).sum((1, 2))

    def sample(self, n: int, given: Tensor | None, rng: Rng, temperature: float = 1.0) -> Tensor:
        """n rows of codes, int64 (n, length); each new one costs its own share of work. At temperature 0 the modes."""
        token, cache, drawn = self._start(n, given), Cache(), list[Tensor]()
        for place in range(self.length):
            logits = self.out(self.body(token, cache))[:, 0]
            drawn.append(logits.argmax(-1) if temperature == 0 else rng(place).categorical(logits / temperature))
            token = self.tokens(drawn[-1])[:, None]
        return torch.stack(drawn, 1)

    def _start(self, n: int, given: Tensor | None) -> Tensor:
        weight = self.start.weight
        one = torch.ones(n, 1, dtype=weight.dtype, device=weight.device) if given is None else given
        return self.start(one)[:, None]
