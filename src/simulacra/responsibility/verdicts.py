"""What looking for a mark came to: an exact p, the matches behind it, the message, and what it means in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats as stats_

from simulacra.mathematics.significance import binomial_p

stats: Any = stats_  # its functions carry no types
READ = 1e-3  # chance that a message is read from what carries none
ABSENCE = (
    "No mark of this key was found. That does not show that a person made it: it may be another key's, or the mark"
    " may have been left out, removed or lost."
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one example came to.

    p        probability that an example marked with no key or another agrees so well by chance, over the keys: exact
             for one look, and multiplied by the number of ``looks`` where the best of several was taken.
    matches  of ``trials`` keyed bits those that agree, in the best look.
    message  what was read as its message, bits as bool: worth something only where the mark was found; None where
             none was read.
    """

    p: float
    matches: int
    trials: int
    looks: int = 1
    message: tuple[bool, ...] | None = None

    def found(self, rate: float, examples: int = 1) -> bool:
        """Whether there is a mark, at this false-positive rate for all of the examples looked at together."""
        return self.p <= rate / examples

    def words(self, rate: float, examples: int = 1) -> str:
        """The verdict in a sentence or two."""
        agree = f"{self.matches} of {self.trials} keyed bits agree, p = {self.p:.3g}"
        if not self.found(rate, examples):
            return f"{agree}: not below {rate / examples:.3g}. {ABSENCE}"
        return f"{agree}: marked with this key (by chance this happens to at most {rate:.3g} of unmarked input)."


def verdict(matches: int, trials: int, *, looks: int = 1, message: tuple[bool, ...] | None = None) -> Verdict:
    """The verdict on so many matches in the best of several looks of equal size: binomial, Bonferroni over looks."""
    p = min(1.0, looks * binomial_p(matches, trials))
    return Verdict(p=p, matches=matches, trials=trials, looks=looks, message=message)


def threshold(trials: int, rate: float) -> int:
    """The fewest matches of which chance has a probability of at most ``rate``: exact; trials + 1 where none do."""
    if trials < 1 or not 0 < rate < 1:
        raise ValueError(f"a threshold needs trials of at least 1 and a rate in (0, 1); got {trials} and {rate}")
    least = max(0, int(stats.binom.isf(rate, trials, 0.5)) - 2)
    while binomial_p(min(least, trials), trials) > rate:
        least += 1
        if least > trials:
            return least
    return least


def read_message(votes: np.ndarray) -> tuple[bool, ...] | None:
    """The message that votes (bits, several) agree on, or None where they agree no better than chance has it.

    A vote below 0 is for a 1, and the larger the surer. In what carries no message its sign is a fair coin; the votes
    of the majority, summed over bits, have an exact distribution, and a message is read
    where its tail lies at READ or below.
    """
    count, several = votes.shape
    ones = (votes < 0).sum(1)
    chance, one_bit = np.ones(1), np.zeros(several + 1)
    for k in range(several + 1):
        one_bit[max(k, several - k)] += math.comb(several, k) / 2**several
    for _ in range(count):
        chance = np.convolve(chance, one_bit)
    if chance[int(np.maximum(ones, several - ones).sum()) :].sum() > READ:
        return None
    return tuple(bool(v < 0) for v in votes.sum(1))
