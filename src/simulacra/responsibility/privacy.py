"""A private run's epsilon beside what an attack shows: no guarantee below the attack's lower bound could be true.

The guarantee is arithmetic about how the run was trained; the bound is measured on the model that came out. A bound far
below epsilon says that this attack is weak, not that the guarantee could be stronger.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from simulacra.core.batch import Data
from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.mathematics.attackers import epsilon_shown
from simulacra.responsibility.finding import Finding
from simulacra.responsibility.membership import MOST, scored, scores_for

NAME = "differential privacy"
GUESSED = (0.02, 0.1, 0.5, 1.0)  # shares of the examples an attacker guesses of: the surest of them
LEVEL = 0.95


def privacy(
    model: object, train: Data, held: Data | None, spent: Mapping[str, float], *, n: int = MOST, rng: Rng | int = 0
) -> Finding:
    """What a run guarantees, and the epsilon that guesses by each of the model's scores show at the least.

    spent  "epsilon" and "delta" of the run.
    held   examples that might as well have been learned from: split off by chance, not by kind. None: no attack.
    """
    stream, delta = Rng.of(rng), spent["delta"]
    scores = {} if held is None else scores_for(model)
    n = min(n, len(train), len(held or train))
    shown, by = 0.0, ""
    for name, score in scores.items():
        assert held is not None
        sides = [scored(model, data, score, n=n, rng=stream(where)) for where, data in (("in", train), ("out", held))]
        # one bound of several is taken: each holds at its share of the level
        level = 1 - (1 - LEVEL) / (len(scores) * len(GUESSED))
        bound = max(guessing(*sides, share=share, delta=delta, level=level) for share in GUESSED)
        shown, by = max((shown, by), (bound, name))
    figures = [
        Figure(
            name="epsilon guaranteed", value=spent["epsilon"], direction="lower", kind="bound", n=len(train),
            interval_method="none: an upper bound by arithmetic",
            note=f"at delta = {delta:g}, of one example more or less",
        )
    ]  # fmt: skip
    attacked = "no attack was tried: there are no held-out examples, or no score to guess by"
    if scores:
        figures.append(
            Figure(
                name="epsilon shown by guessing", value=shown, direction="lower", kind="bound", n=n, n_real=n,
                seed=stream.seed,
                interval_method="none: a lower bound, in one run of twenty too high",
                note=f"at delta = {delta:g}, by {by or 'no score in particular'}",
            )
        )  # fmt: skip
        attacked = f"guessing who was learned from shows at least {shown:.2f}"
    broken = shown > spent["epsilon"]
    why = f"epsilon = {spent['epsilon']:.3g} at delta = {delta:g}; {attacked}"
    why += ": more than the guarantee allows, so one of the two is wrong" if broken else ""
    return Finding(
        name=NAME, verdict="attention" if broken else "pass", why=why, figures=tuple(figures), details=dict(spent)
    )


def guessing(members: Tensor, others: Tensor, *, share: float, delta: float, level: float = LEVEL) -> float:
    """The epsilon shown by guessing that the highest scores are members' and that the lowest are not.

    members, others  scores of as many examples each; share: of them all that is guessed of.
    """
    together = torch.cat([members, others])
    truth = torch.cat([torch.ones_like(members), torch.zeros_like(others)]).bool()
    order = together.argsort(stable=True)
    each = max(1, round(share * len(together) / 2))
    right = int((~truth[order[:each]]).sum()) + int(truth[order[-each:]].sum())
    return epsilon_shown(right, 2 * each, len(together), delta, level=level)
