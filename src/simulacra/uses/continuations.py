"""What a model that goes on from beginnings knows of continuations that are given: their log p, and what stands before.

``log_prob`` is exact. Texts longer than the model's context are scored as they are drawn: each token given the context
that its steps keep.

``infill`` draws what stands between a prefix and a suffix from a model that reads forwards only. With m_1 .. m_T drawn
after the prefix and a length l of 0 .. T, each equally likely before anything is seen,

    p(m_1 .. m_l, l | prefix, suffix)  is proportional to  p(m_1 .. m_l | prefix) p(suffix | prefix, m_1 .. m_l)

so that a middle from the model itself weighs p(suffix | prefix, middle): sampling, importance, resampling (Rubin 1988).
The mean weight is an unbiased estimate of p(suffix | prefix), and how many draws carry the weight is told.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.core.capabilities import Prompted
from simulacra.core.prompts import Prompt
from simulacra.core.randomness import Rng

ROWS = 512  # scored at a time


@torch.no_grad()
def log_prob(
    model: Prompted,
    prompt: Prompt,
    x: Tensor,
    *,
    y: Tensor | None = None,
    length: Tensor | None = None,
    end: int | None = None,
) -> Tensor:
    """log p of continuations x int64 (n, t), of which the first ``length`` (n,) tokens count, after prompts; nats (n,).

    end  the output that ends a sequence, where it is to end there too; None: it may go on.
    """
    length = torch.full((len(x),), x.shape[1]) if length is None else length.cpu()
    steps, total = model.steps(len(x), y=y, prompt=prompt), torch.zeros(len(x))
    most = int(length.max()) if len(x) else 0
    for t in range(most + (end is not None)):
        here = steps.log_probs().cpu()
        total = total.to(here.dtype)
        token = x[:, t].cpu() if t < most else torch.zeros_like(length)
        each = here.gather(1, token[:, None])[:, 0]
        total = total + torch.where(length.gt(t), each, 0.0)
        if end is not None:
            total = total + torch.where(length.eq(t), here[:, end], 0.0)
        if t < most:
            steps.take(token.to(x.device))
    return total


@dataclass(frozen=True, kw_only=True)
class Infilled:
    """Middles between a prefix and a suffix.

    middles    n of them, tokens int64.
    log_prob   estimated log p(suffix | prefix, a middle of any of the lengths), nats.
    effective  of how many draws the weights are worth (Kish 1965): near 1, the middles are one draw's, or poor.
    draws      how many middles of all lengths were weighed.
    """

    middles: list[Tensor]
    log_prob: float
    effective: float
    draws: int


@torch.no_grad()
def infill(
    model: Prompted,
    prefix: Tensor,
    suffix: Tensor,
    n: int,
    *,
    tokens: int,
    draws: int = 64,
    y: Tensor | None = None,
    end: int | None = None,
    rng: Rng | int,
) -> Infilled:
    """n middles of up to so many tokens between prefix and suffix, int64 (s,) each, by weighing ``draws`` of the model.

    end  the output that ends a sequence, which then ends with the suffix; None: the suffix may be gone on from.

    Raises ValueError where no draw is followed by the suffix with any probability.
    """
    if min(n, draws) < 1 or tokens < 0:
        raise ValueError(
            f"infilling needs n and draws of 1 or more, and tokens not negative; got {n}, {draws}, {tokens}"
        )
    rng = Rng.of(rng)
    labels = None if y is None else y[:1].expand(draws)
    begun = Prompt(tokens=prefix[None].expand(draws, -1))
    drawn = model.continue_from(begun, tokens, y=labels, rng=rng("middle")) if tokens else None
    middle = prefix.new_zeros(draws, 0) if drawn is None else drawn.tokens
    most = torch.zeros(draws, dtype=torch.int64) if drawn is None else drawn.length.cpu()
    row, size = (torch.arange(tokens + 1) <= most[:, None]).nonzero(as_tuple=True)
    weight = torch.cat([
        _followed(model, prefix, middle[r], s, suffix, y, end)
        for r, s in zip(row.split(ROWS), size.split(ROWS), strict=True)
    ]).double()  # fmt: skip
    if not bool(weight.isfinite().any()):
        raise ValueError(
            "none of what the model draws can be followed by the suffix; give more draws, or another suffix"
        )
    p = weight.softmax(0)
    # the same draw at another length is no second draw: what a draw carries is the sum over its lengths
    each = torch.zeros(draws, dtype=p.dtype).index_add(0, row, p)
    chosen = rng("chosen").categorical(weight.expand(n, -1))
    estimate = weight.logsumexp(0) - torch.tensor(float(draws * (tokens + 1))).log()
    return Infilled(
        middles=[middle[row[i], : size[i]] for i in chosen],
        log_prob=float(estimate),
        effective=float(1 / each.square().sum()),
        draws=draws,
    )


def _followed(
    model: Prompted, prefix: Tensor, middle: Tensor, size: Tensor, suffix: Tensor, y: Tensor | None, end: int | None
) -> Tensor:
    """log p(suffix | prefix, the first ``size`` (b,) tokens of each middle (b, t)), nats (b,)."""
    b = len(middle)
    before = torch.cat([prefix[None].expand(b, -1), middle], dim=1)
    labels = None if y is None else y[:1].expand(b)
    prompt = Prompt(tokens=before, length=len(prefix) + size)
    return log_prob(model, prompt, suffix[None].expand(b, -1), y=labels, end=end)
