"""Marks in the choice of tokens: green lists and tournaments, as changes of the distribution that is drawn from.

Every context, the last few tokens, and every token that may follow it have keyed bits. ``Green`` makes tokens whose
bit is 1 likelier (Kirchenbauer et al. 2023, "A watermark for large language models", algorithm 2, half of the tokens
green); it changes what is drawn. ``Tournament`` lets two candidates drawn from the model meet in each layer, and the
one whose bit is 1 wins (Dathathri et al. 2024, "Scalable watermarking for identifying large language model outputs"):
over keys, what is drawn is exactly the model's own distribution; contexts that were there before are left unmarked,
so that this holds for whole sequences too.

Looking for either needs the key and the tokens alone. Distinct pairs of context and token have independent fair bits,
whatever the tokens are, so that the number of ones among them is binomial with p = 1/2 exactly, over keys, in text that
was not marked with the key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from simulacra.responsibility.keys import Key
from simulacra.responsibility.verdicts import Verdict, verdict


@dataclass(frozen=True, kw_only=True)
class Green:
    """Half of the tokens, another half after each context, are likelier by ``delta`` nats; biased.

    context  how many tokens before decide which; more resist less change, and repeat less.
    """

    key: Key
    delta: float = 2.0
    context: int = 4

    def __post_init__(self) -> None:
        _check(self.context, self.delta > 0, f"delta must be positive; got {self.delta}")

    def __call__(self, log_probs: Float[Tensor, "n k"], seen: Int[Tensor, "n t"]) -> Float[Tensor, "n k"]:
        bits = _bits(self.key, "green", seen, self.context, log_probs, 1)[..., 0]
        return (log_probs + self.delta * bits).log_softmax(-1)

    def look(self, tokens: Sequence[int], outputs: int) -> Verdict:
        """What tokens come to, each one of ``outputs`` that the model has (an end included)."""
        return self.look_at_all([tokens], outputs)

    def look_at_all(self, texts: Sequence[Sequence[int]], outputs: int) -> Verdict:
        """What several texts come to together."""
        return _look(self.key, "green", texts, self.context, outputs, 1)


@dataclass(frozen=True, kw_only=True)
class Tournament:
    """Tournaments of two candidates a layer: unbiased over keys, in whole sequences too.

    layers   of the tournament; a layer finds the less to choose between, the less is undecided.
    context  how many tokens before decide the bits.
    """

    key: Key
    layers: int = 8
    context: int = 4

    def __post_init__(self) -> None:
        _check(self.context, self.layers > 0, f"a tournament has at least 1 layer; got {self.layers}")

    def __call__(self, log_probs: Float[Tensor, "n k"], seen: Int[Tensor, "n t"]) -> Float[Tensor, "n k"]:
        bits = _bits(self.key, "tournament", seen, self.context, log_probs, self.layers)
        p = log_probs.double().exp()
        for layer in range(self.layers):
            g = bits[..., layer].double()
            # the winner of two draws from p: p(x) (1 + g(x) - E g); Dathathri et al. 2024, supplement, m = 2
            p = p * (1 + g - (p * g).sum(1, keepdim=True))
        marked = (p / p.sum(1, keepdim=True)).log().to(log_probs.dtype)
        return torch.where(_repeated(seen, self.context)[:, None], log_probs, marked)

    def look(self, tokens: Sequence[int], outputs: int) -> Verdict:
        """What tokens come to, each one of ``outputs`` that the model has (an end included)."""
        return self.look_at_all([tokens], outputs)

    def look_at_all(self, texts: Sequence[Sequence[int]], outputs: int) -> Verdict:
        """What several texts come to together."""
        return _look(self.key, "tournament", texts, self.context, outputs, self.layers)


Mark = Green | Tournament


def _check(context: int, fits: bool, otherwise: str) -> None:
    if not fits:
        raise ValueError(otherwise)
    if context < 1:
        raise ValueError(f"a context has at least 1 token; got {context}")


def _bits(key: Key, kind: str, seen: Tensor, context: int, like: Tensor, layers: int) -> Bool[Tensor, "n k layers"]:
    """The keyed bits of every token after the context of each row."""
    k = like.shape[1]
    rows = [_after(key, kind, row, k, layers) for row in _last(seen, context).cpu().tolist()]
    return torch.from_numpy(np.stack(rows)).to(like.device)


def _after(key: Key, kind: str, context: Sequence[int], k: int, layers: int) -> np.ndarray:
    return key.bits(f"{kind} {k} {layers}", k * layers, np.array(context, "<i8").tobytes()).reshape(k, layers)


def _last(seen: Tensor, context: int) -> Tensor:
    """The last tokens of each row, -1 in front where there are fewer; (n, context)."""
    short = max(0, context - seen.shape[1])
    padded = torch.cat([seen.new_full((len(seen), short), -1), seen], dim=1)
    return padded[:, padded.shape[1] - context :]


def _repeated(seen: Tensor, context: int) -> Bool[Tensor, " n"]:
    """Whether the context of each row was its context before."""
    if seen.shape[1] <= context:
        return torch.zeros(len(seen), dtype=torch.bool, device=seen.device)
    windows = seen.unfold(1, context, 1)
    return (windows[:, :-1] == windows[:, -1:]).all(2).any(1)


def _look(key: Key, kind: str, texts: Sequence[Sequence[int]], context: int, outputs: int, layers: int) -> Verdict:
    """Counts ones among the bits of distinct pairs; pairs without a whole context before them are left out."""
    pairs = {tuple(tokens[i - context : i + 1]) for tokens in texts for i in range(context, len(tokens))}
    if not pairs:
        raise ValueError(
            f"a mark in tokens is looked for in {context + 1} tokens or more; got {max(map(len, texts), default=0)}"
        )
    bad = [t for tokens in texts for t in tokens if not 0 <= t < outputs]
    if bad:
        raise ValueError(f"tokens lie in 0 .. {outputs - 1}; got {bad[0]}")
    ones = sum(int(_after(key, kind, pair[:-1], outputs, layers)[pair[-1]].sum()) for pair in pairs)
    return verdict(ones, layers * len(pairs))
