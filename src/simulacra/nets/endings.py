"""Sequences that end: which decisions a row of tokens stands for, and which of them a known beginning holds."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Decisions(NamedTuple):
    """What is decided of rows of tokens, place by place.

    x        int64 (b, t), the tokens as far as any row has a decision to make.
    target   int64 (b, t), what is decided: a token, or the end.
    decided  bool (b, t), where there is a decision.
    """

    x: Tensor
    target: Tensor
    decided: Tensor


def decisions(x: Tensor, length: Tensor | None, end: int | None) -> Decisions:
    """The decisions behind tokens (b, longest); an end is one more, unless the longest length leaves no choice.

    length  int64 (b,), None where all are equally long; end: the output that ends a row, None where none does.
    """
    if end is None or length is None:
        x = x.long()
        return Decisions(x, x, torch.ones(x.shape, dtype=torch.bool, device=x.device))
    longest = x.shape[1]
    # looked at only where looking does not make a device wait
    t = min(longest, int(length.max()) + 1) if len(x) and length.device.type == "cpu" else longest
    place, x = torch.arange(t, device=x.device), x[:, :t].long()
    return Decisions(x, torch.where(place == length[:, None], end, x), place <= length[:, None])


def known_decisions(decided: Tensor, known: Tensor, length: Tensor | None, what: str) -> Tensor:
    """Of the decisions (b, t) those that a mask (b, longest) of known tokens holds; known tokens come first.

    ValueError for gaps before known tokens; ``what`` is the model, in words.
    """
    if bool((known[:, 1:] & ~known[:, :-1]).any()):
        raise ValueError(f"{what} scores whole sequences and their beginnings; got gaps before known tokens")
    if length is not None:
        # an end is known where all that comes before it is
        place = torch.arange(known.shape[1], device=known.device)
        known = torch.where(place == length[:, None], F.pad(known[:, :-1], (1, 0), value=True), known)
    return decided & known[:, : decided.shape[1]]


def used(values: Tensor) -> Tensor:
    """How far each row (b, t, ...) goes up to its last entry that is not 0, int64 (b,)."""
    there = (values != 0).reshape(*values.shape[:2], -1).any(-1)
    return (there * torch.arange(1, values.shape[1] + 1, device=values.device)).amax(1)
