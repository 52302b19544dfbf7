"""Tokens one after another: what draws, searches and streams along steps, whoever's they are.

Steps are anything that tells the next token's distribution and takes a token (``Steps``), such as a decoder's with
its keys and values kept (``nets.decoder_steps``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from simulacra.core.prompts import Generated, Steps
from simulacra.core.randomness import Rng
from simulacra.mathematics.decoding import Change, Legal, changed, length_norm
from simulacra.mathematics.discrete import support_quantile

Told = Callable[[Tensor, Tensor], None]  # the token of each row (n,), and which rows it belongs to, bool (n,)


class StepsWalk:
    """Steps as a pass over examples of a fixed number of tokens (``core.capabilities.Walk``)."""

    def __init__(self, steps: Steps, size: int) -> None:
        self.steps, self.order, self.left = steps, torch.arange(size), size

    def log_probs(self) -> Tensor:
        """Nats (n, k) of the next token; ValueError once all are decided."""
        if not self.left:
            raise ValueError(f"all {len(self.order)} elements are decided; begin another walk")
        return self.steps.log_probs()

    def take(self, value: Tensor) -> None:
        """Decides the next token, int64 (n,)."""
        self.steps.take(value)
        self.left -= 1


# -- drawing ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def generate(
    steps: Steps,
    u: Tensor,
    *,
    seen: Tensor | None = None,
    changes: Sequence[Change] = (),
    end: int | None = None,
    legal: Legal | None = None,
    told: Told | None = None,
) -> Generated:
    """Draws tokens for uniform numbers u (n, t): one for each row and step, until every row has ended.

    seen     tokens there were before, int64 (n, s), -1 for none: what ``changes`` and ``legal`` look at beside the new.
    changes  what the model's distributions are changed to (``mathematics.decoding``).
    end      the output that ends a row; None: rows end with u.
    legal    which tokens may come next: a grammar.
    told     called with every token as it is decided: streaming.
    """
    n, count = u.shape
    past = u.new_full((n, 0), -1, dtype=torch.int64) if seen is None else seen
    first = past.shape[1]
    past = F.pad(past, (0, count), value=-1)
    running = torch.ones(n, dtype=torch.bool, device=u.device)
    total: Tensor | float = 0.0
    for t in range(count):
        log_probs = steps.log_probs()
        if changes or legal is not None:
            log_probs = changed(log_probs, past[:, : first + t], changes, legal)
        token = support_quantile(log_probs, u[:, t])
        each = log_probs.gather(1, token[:, None])[:, 0]
        total = total + (each if end is None else torch.where(running, each, 0.0))
        if end is not None:
            running = running & (token != end)
            token = torch.where(running, token, 0)
        past[:, first + t] = token if end is None else torch.where(running, token, -1)
        if told is not None:
            told(token, running)
        if end is not None and not bool(running.any()):
            break
        steps.take(token)
    tokens = past[:, first:]
    return Generated(
        tokens=tokens.clamp(min=0),
        length=(tokens >= 0).sum(1),
        log_prob=torch.as_tensor(total, device=u.device).expand(n),
        ended=~running,
    )


def uniforms(n: int, count: int, rng: Rng, device: torch.device | str) -> Tensor:
    """The numbers that ``generate`` takes, (n, count): those of a row depend neither on n nor on count."""
    return rng.uniform((n, count), dtype=torch.float32, device=device)


# -- searching --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def beam(
    steps: Steps,
    n: int,
    count: int,
    *,
    width: int = 4,
    alpha: float = 0.0,
    end: int | None = None,
    seen: Tensor | None = None,
    legal: Legal | None = None,
) -> Generated:
    """The best continuation that a beam search finds for each of n rows, by log p / ((5 + length) / 6)^alpha.

    One lane of the beam always follows the greedy choice, so that nothing found scores below greedy decoding, and a
    width of 1 is that; the other lanes are the likeliest of all that go on from any. Scores and lengths count an end.
    """
    if width < 1 or alpha < 0:
        raise ValueError(f"a beam has at least one lane, and alpha is not negative; got width {width}, alpha {alpha}")
    log_probs = steps.log_probs()
    device, k = log_probs.device, log_probs.shape[1]
    steps.keep(torch.arange(n, device=device).repeat_interleave(width))
    lanes = torch.full((n, width), -torch.inf, device=device, dtype=log_probs.dtype)
    lanes[:, 0] = 0.0
    past = torch.full((n, width, 0), -1, dtype=torch.int64, device=device) if seen is None else (
        seen[:, None].expand(n, width, -1)
    )  # fmt: skip
    first, best, rows = past.shape[2], _Best(n, count, lanes), torch.arange(n, device=device)
    for t in range(count):
        log_probs = changed(steps.log_probs(), past.flatten(0, 1), (), legal).view(n, width, k)
        total, greedy = lanes[..., None] + log_probs, log_probs[:, 0].argmax(-1)
        follows = total[rows, 0, greedy].clone()
        total[rows, 0, greedy] = -torch.inf
        others, flat = total.flatten(1).topk(width - 1)
        scores = torch.cat([follows[:, None], others], dim=1)
        origin = F.pad(flat // k, (1, 0))
        token = torch.cat([greedy[:, None], flat % k], dim=1)
        if end is not None:
            ends, begun = token == end, past.gather(1, origin[..., None].expand(-1, -1, past.shape[2]))
            best.offer(begun[:, :, first:], torch.where(ends, scores, -torch.inf), t, alpha, end=True)
            scores, token = torch.where(ends, -torch.inf, scores), torch.where(ends, 0, token)
        lanes = scores
        past = torch.cat([past.gather(1, origin[..., None].expand(-1, -1, past.shape[2])), token[..., None]], dim=2)
        # what goes on loses probability, and at best gains the norm of the longest
        reach = lanes.amax(1) / length_norm(torch.tensor(float(count + 1), dtype=lanes.dtype), alpha)
        if not bool((reach > best.score).any()):
            break
        steps.keep((origin + width * rows[:, None]).flatten())
        steps.take(token.flatten())
    best.offer(past[:, :, first:], lanes, past.shape[2] - first, alpha, end=False)
    return best.found()


class _Best:
    """The best hypothesis of each row so far."""

    def __init__(self, n: int, count: int, like: Tensor) -> None:
        self.score = like.new_full((n,), -torch.inf)
        self.log_prob = like.new_full((n,), -torch.inf)
        self.tokens = torch.zeros(n, count, dtype=torch.int64, device=like.device)
        self.length = torch.zeros(n, dtype=torch.int64, device=like.device)
        self.ended = torch.zeros(n, dtype=torch.bool, device=like.device)

    def offer(self, tokens: Tensor, log_prob: Tensor, length: int, alpha: float, *, end: bool) -> None:
        """Hypotheses (n, lanes, length) with their log-probabilities (n, lanes)."""
        steps = torch.tensor(float(length + end), dtype=log_prob.dtype)
        score, lane = (log_prob / length_norm(steps, alpha)).max(1)
        better = score > self.score
        rows = torch.arange(len(score), device=score.device)
        taken = F.pad(tokens[rows, lane], (0, self.tokens.shape[1] - length))
        self.tokens = torch.where(better[:, None], taken, self.tokens)
        self.log_prob = torch.where(better, log_prob[rows, lane], self.log_prob)
        self.length = torch.where(better, length, self.length)
        self.ended = torch.where(better, torch.tensor(end, device=score.device), self.ended)
        self.score = torch.where(better, score, self.score)

    def found(self) -> Generated:
        """What there is."""
        return Generated(tokens=self.tokens, length=self.length, log_prob=self.log_prob, ended=self.ended)
