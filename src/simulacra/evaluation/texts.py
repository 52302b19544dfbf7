"""Texts that were drawn, against held-out ones and those that were learned from: variety, novelty, memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from simulacra.core.figure import Figure
from simulacra.evaluation import intervals
from simulacra.mathematics.ngrams import distinct, joined, longest_shared, novelty, self_bleu, span_hashes

ORDERS = (2, 4, 6, 8)  # of the novelty curve
WORDY = 5.0  # words in the mean text from which on words are compared; characters below
MOST_TRAIN = 5_000_000  # characters of what was learned from that spans are looked for in
MOST_BLEU = 500  # texts compared with one another


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Texts as numbers of words or of characters, the same number for the same one everywhere."""

    unit: Literal["word", "character"]
    numbers: dict[str, int]

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """The texts as numbers; what was never seen gets a new one."""
        parts = (t.split() if self.unit == "word" else list(t) for t in texts)
        return [[self.numbers.setdefault(p, len(self.numbers)) for p in part] for part in parts]


def cut_for(texts: Sequence[str]) -> Cut:
    """By words where texts have several, else by characters."""
    words = sum(len(t.split()) for t in texts) / max(len(texts), 1)
    return Cut(unit="word" if words >= WORDY else "character", numbers={})


def figures_of_texts(
    fake: Sequence[str], real: Sequence[str], *, train: Sequence[str], seed: int | None = None
) -> list[Figure]:
    """Variety, novelty and memory of texts that were drawn; each figure's note says what held-out texts come to.

    ValueError for fewer than two texts on a side.
    """
    if min(len(fake), len(real)) < 2:
        raise ValueError(f"texts are compared from 2 on; got {len(fake)} samples and {len(real)} held out")
    cut = cut_for(real)
    a, b, learned = cut(fake), cut(real), joined(cut(train))
    unit, n = cut.unit, len(a)

    def figure(
        name: str, value: float, other: float, direction: Literal["lower", "higher", "neither"], each: object
    ) -> Figure:
        interval = (
            intervals.of_mean(torch.from_numpy(each)) if isinstance(each, np.ndarray) else intervals.none(str(each))
        )
        return Figure(
            name=name,
            value=value,
            direction=direction,
            n=n,
            n_real=len(b),
            interval=interval.bounds,
            interval_method=interval.method,
            level=intervals.LEVEL,
            seed=seed,
            note=f"held-out texts: {other:.3g}",
        )

    found: list[Figure] = []
    for order in (1, 2):
        # the more text, the fewer of its n-grams are new: equal numbers on both sides
        few = min(len(a), len(b))
        mine, theirs = distinct(a[:few], order), distinct(b[:few], order)
        why = "n-grams are counted over all texts together"
        found.append(figure(f"distinct {order}-grams of {unit}s", mine, theirs, "neither", why))
    few = min(len(a), len(b), MOST_BLEU)
    mine, theirs = float(self_bleu(a[:few]).mean()), float(self_bleu(b[:few]).mean())
    found.append(figure(f"self-BLEU of {unit}s", mine, theirs, "neither", "texts are compared with one another"))
    for order in ORDERS:
        known = np.unique(span_hashes(learned, order))
        each, other = novelty(a, known, order), novelty(b, known, order)
        if len(each) and len(other):
            found.append(
                figure(f"new {order}-grams of {unit}s", float(each.mean()), float(other.mean()), "neither", each)
            )
    spans, usual = (s.astype(np.float64) for s in _spans(fake, real, train))
    found.append(figure("longest span from training, characters", spans.mean(), usual.mean(), "neither", spans))
    whole = set(train)
    copies = sum(t in whole for t in fake)
    share = Figure(
        name="texts that stand whole in training",
        value=copies / n,
        direction="neither",
        n=n,
        n_real=len(b),
        interval=intervals.of_share(copies, n).bounds,
        interval_method=intervals.of_share(copies, n).method,
        level=intervals.LEVEL,
        seed=seed,
        note=f"held-out texts: {sum(t in whole for t in real) / len(b):.3g}",
    )
    return [*found, share]


def _spans(fake: Sequence[str], real: Sequence[str], train: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    both = longest_shared([_codes(t).tolist() for t in (*fake, *real[: len(fake)])], _corpus(train))
    return both[: len(fake)], both[len(fake) :]


def _corpus(train: Sequence[str]) -> np.ndarray:
    # parted by what is no character, so that no span runs on from one text into the next
    whole = "\uffff".join(train)[:MOST_TRAIN]
    return _codes(whole)


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)
