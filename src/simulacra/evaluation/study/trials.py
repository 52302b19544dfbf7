"""Who sees what: the trials of every rater, as a function of the study's seed and the rater's number alone.

Balanced: within a rater every group comes equally often and, in pairs, each side equally often (to one); over raters
every stimulus of a system comes equally often (to one), because raters walk round one shuffled order. Nobody is asked
about a stimulus twice.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from simulacra.core.randomness import Rng
from simulacra.evaluation.study.designs import REAL, SPOILED, Design, Discern, Prefer, Timed


@dataclass(frozen=True, kw_only=True)
class Item:
    """A stimulus of the study: its meaningless name, the system it is of, the stem it had, its bytes' SHA-256."""

    id: str
    system: str
    source: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial of one rater.

    id        names it to the page; unguessable, and says nothing.
    items     ids of its stimuli, as laid out from left to right; systems likewise.
    group     what it counts for; "" for a check.
    expected  the right answers; () where there is none.
    exposure  ms for a page without a server; None: for as long as the rater likes, or by the staircase.
    """

    id: str
    position: int
    items: tuple[str, ...]
    systems: tuple[str, ...]
    group: str
    expected: tuple[str, ...]
    exposure: float | None = None

    @property
    def check(self) -> bool:
        """Whether it is there to see if the rater looks."""
        return not self.group


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that decides the trials.

    each     trials a rater has of every group; checks: attention checks a rater has.
    matched  stimuli of one trial have the same source (the same prompt, the same input) in all systems.
    """

    design: Design
    systems: tuple[str, ...]
    items: tuple[Item, ...]
    each: int
    checks: int
    seed: int
    salt: str
    matched: bool = False

    def trials(self, rater: int) -> list[Trial]:
        """The trials of the rater with this number, 0, 1, 2 ..., in the order they come."""
        rng = Rng(self.seed)("study")
        laid = [*self._dealt(rater, rng), *self._checks(rater, rng)]
        order = rng("order", rater).permutation(len(laid)).tolist()
        exposures = self._exposures(rater, [laid[i][2] for i in order], rng)
        return [
            Trial(
                id=sign(self.salt, f"trial:{rater}:{position}"),
                position=position,
                items=tuple(item.id for item in laid[i][0]),
                systems=(systems := tuple(item.system for item in laid[i][0])),
                group=laid[i][2],
                expected=self.design.expected(systems),
                exposure=exposures[position],
            )
            for position, i in enumerate(order)
        ]

    @property
    def length(self) -> int:
        """Trials a rater has, checks included."""
        return len(self.design.shown(self.systems, self.each)) + self.checks

    def problem(self) -> str:
        """Why the stimuli do not suffice, or ""."""
        uses = Counter(s for shown in self.design.shown(self.systems, self.each) for s in shown.systems)
        have = {s: len(pool) for s, pool in self._pools().items()}
        if self.matched:
            need = len(self.design.shown(self.systems, self.each))
            uses = Counter(dict.fromkeys(self.systems, need))
        for system, count in uses.items():
            if count > have[system]:
                return (
                    f"a rater would see {count} stimuli of {system!r} and there are {have[system]}"
                    f"{' beside those kept for checks' if self.checks else ''}: give more stimuli or fewer trials"
                )
        return ""

    def _pools(self) -> dict[str, list[Item]]:
        """The stimuli of every system but those whose spoiled copy is a check: a rater would know them again."""
        kept = {i.source for i in self.items if i.system == SPOILED}
        base = check_base(self.systems)
        pools: dict[str, list[Item]] = {s: [] for s in self.systems}
        for item in self.items:
            if item.system == SPOILED:
                continue
            if item.source in kept and (item.system == base or self.matched):
                continue
            pools[item.system].append(item)
        return pools

    def _dealt(self, rater: int, rng: Rng) -> list[tuple[list[Item], tuple[str, ...], str]]:
        pools = self._pools()
        shown = self.design.shown(self.systems, self.each)
        orders = {s: rng("items", "" if self.matched else s).permutation(len(pools[s])).tolist() for s in self.systems}
        uses = Counter(s for trial in shown for s in trial.systems)
        seen: Counter[str] = Counter()
        laid = []
        for number, trial in enumerate(shown):
            row = []
            for s in trial.systems:
                turn = rater * (len(shown) if self.matched else uses[s]) + (number if self.matched else seen[s])
                seen[s] += 1
                row.append(pools[s][orders[s][turn % len(pools[s])]])
            laid.append([row, trial.systems, trial.group])
        if isinstance(self.design, Discern | Prefer):
            for index, group in enumerate(self.design.groups(self.systems)):
                own = [row for row in laid if row[2] == group]
                flips = rng("sides", rater, index).permutation(len(own)).tolist()
                for flip, row in zip(flips, own, strict=True):
                    if (flip + rater) % 2:  # an odd trial out changes sides from rater to rater
                        row[0].reverse()
        return [(row[0], row[1], row[2]) for row in laid]

    def _checks(self, rater: int, rng: Rng) -> list[tuple[list[Item], tuple[str, ...], str]]:
        spoiled = [i for i in self.items if i.system == SPOILED]
        base = check_base(self.systems)
        intact = {i.source: i for i in self.items if i.system == base}
        laid = []
        for number in range(self.checks):
            item = spoiled[(rater * self.checks + number) % len(spoiled)]
            row = [item]
            if isinstance(self.design, Discern | Prefer):
                row = [intact[item.source], item]
                if (number + rater + int(rng("check side", rater).integers(2, (1,)))) % 2:
                    row.reverse()
            laid.append((row, tuple(i.system for i in row), ""))
        return laid

    def _exposures(self, rater: int, groups: Sequence[str], rng: Rng) -> list[float | None]:
        """Constant exposures, balanced within each group; None where nothing is timed."""
        if not isinstance(self.design, Timed):
            return [None] * len(groups)
        out: list[float | None] = [self.design.high] * len(groups)  # checks are shown as long as anything is
        for index, group in enumerate(self.design.groups(self.systems)):
            own = [i for i, g in enumerate(groups) if g == group]
            levels = self.design.constants(len(own))
            for place, level in zip(own, rng("exposures", rater, index).permutation(len(own)).tolist(), strict=True):
                out[place] = levels[level]
        return out


def check_base(systems: Sequence[str]) -> str:
    """The system whose stimuli are spoiled for the checks: the real one, or the first."""
    return REAL if REAL in systems else systems[0]


def sign(salt: str, text: str) -> str:
    """A name that only who knows the salt can make: HMAC-SHA256, its first 96 bits, hexadecimal."""
    return hmac.new(bytes.fromhex(salt), text.encode(), hashlib.sha256).hexdigest()[:24]
