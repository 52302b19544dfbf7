"""What a rater is asked: five designs, each saying what one trial shows, which answers there are, and which are right.

    Discern   two stimuli, one of them real: which?                 chance 1/2 (two-alternative forced choice)
    Prefer    two stimuli of two systems: which is better?          with or without a tie
    Untimed   one stimulus, half of them real: real or generated?   HYPE-infinity, Zhou et al. 2019, section 3.2
    Timed     the same, shown for a moment and masked               HYPE-time, Zhou et al. 2019, section 3.1
    Rate      one stimulus on a scale of 1 to 5                     mean opinion score, ITU-T P.800, annex B

A design knows systems by name only; ``trials`` deals out stimuli and sides, ``page`` shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, Protocol, runtime_checkable

REAL = "real"
SPOILED = "spoiled"  # the system of the attention checks' stimuli: destroyed, so that nobody can mistake them
LEFT, RIGHT, TIE = "left", "right", "tie"
SIDES = (LEFT, RIGHT)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One answer: what is stored, what the button says, and the key that presses it."""

    value: str
    label: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What one trial shows: its group (what the figures are grouped by) and the systems of its stimuli."""

    group: str
    systems: tuple[str, ...]


@runtime_checkable
class Design(Protocol):
    """What a design offers.

    name       under which it is stored and asked for.
    question   the sentence above every trial.
    choices    the answers, in the order of their buttons.
    judges_reality  whether an answer can be right: then "real" must be among the systems.
    """

    name: ClassVar[str]
    judges_reality: ClassVar[bool]

    @property
    def question(self) -> str: ...

    @property
    def choices(self) -> tuple[Choice, ...]: ...

    def groups(self, systems: Sequence[str]) -> tuple[str, ...]:
        """What figures are given for: systems, or pairs "a|b"."""
        ...

    def shown(self, systems: Sequence[str], each: int) -> list[Shown]:
        """The trials of one rater before they are dealt stimuli: ``each`` of every group."""
        ...

    def expected(self, systems: Sequence[str]) -> tuple[str, ...]:
        """The right answers to stimuli of these systems, as laid out; () where there is none."""
        ...


def check_systems(design: Design, systems: Sequence[str]) -> None:
    """ValueError for systems that a design cannot ask about."""
    if len(set(systems)) != len(systems):
        raise ValueError(f"every system needs a name of its own; got {', '.join(systems)}")
    if bad := [s for s in systems if not s or "|" in s or s == SPOILED]:
        raise ValueError(f'a system\'s name is any text without "|" but "{SPOILED}"; got {bad[0]!r}')
    if design.judges_reality and REAL not in systems:
        raise ValueError(f'{design.name} compares systems with real examples; name them "{REAL}" (got {list(systems)})')
    least = 2 if design.judges_reality or isinstance(design, Prefer) else 1
    if len(systems) < least:
        raise ValueError(f"{design.name} needs at least {least} systems; got {', '.join(systems) or 'none'}")


def generated(systems: Sequence[str]) -> tuple[str, ...]:
    """The systems that are not the real data."""
    return tuple(s for s in systems if s != REAL)


@dataclass(frozen=True, kw_only=True)
class Discern:
    """Which of two is real: the share of wrong answers is the share of deceived trials, 1/2 for a perfect system."""

    name: ClassVar[str] = "2afc"
    judges_reality: ClassVar[bool] = True
    question: str = "Which of the two is real?"

    @property
    def choices(self) -> tuple[Choice, ...]:
        return _sides("This one is real")

    def groups(self, systems: Sequence[str]) -> tuple[str, ...]:
        return generated(systems)

    def shown(self, systems: Sequence[str], each: int) -> list[Shown]:
        return [Shown(group=s, systems=(REAL, s)) for s in generated(systems) for _ in range(each)]

    def expected(self, systems: Sequence[str]) -> tuple[str, ...]:
        return (SIDES[list(systems).index(REAL)],)


@dataclass(frozen=True, kw_only=True)
class Prefer:
    """Which of two is better, over all pairs of systems (the real data may be one of them).

    ties  whether "no difference" is an answer; without it the choice is forced.
    """

    name: ClassVar[str] = "preference"
    judges_reality: ClassVar[bool] = False
    question: str = "Which of the two is better?"
    ties: bool = True

    @property
    def choices(self) -> tuple[Choice, ...]:
        tie = (Choice(value=TIE, label="No difference", key="ArrowDown"),) if self.ties else ()
        left, right = _sides("This one is better")
        return (left, *tie, right)

    def groups(self, systems: Sequence[str]) -> tuple[str, ...]:
        return tuple(f"{a}|{b}" for a, b in combinations(systems, 2))

    def shown(self, systems: Sequence[str], each: int) -> list[Shown]:
        pairs = combinations(systems, 2)
        return [Shown(group=f"{a}|{b}", systems=(a, b)) for a, b in pairs for _ in range(each)]

    def expected(self, systems: Sequence[str]) -> tuple[str, ...]:
        """Only a check has a right answer: what was not spoiled is the better."""
        if SPOILED not in systems:
            return ()
        return (SIDES[1 - list(systems).index(SPOILED)],)


@dataclass(frozen=True, kw_only=True)
class Untimed:
    """Real or generated, for as long as the rater likes; half of every system's trials show something real."""

    name: ClassVar[str] = "untimed"
    judges_reality: ClassVar[bool] = True
    question: str = "Is this real or generated?"

    @property
    def choices(self) -> tuple[Choice, ...]:
        return _REAL_OR_NOT

    def groups(self, systems: Sequence[str]) -> tuple[str, ...]:
        return generated(systems)

    def shown(self, systems: Sequence[str], each: int) -> list[Shown]:
        return _half_real(systems, each)

    def expected(self, systems: Sequence[str]) -> tuple[str, ...]:
        return _real_or_generated(systems)


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Real or generated, after a glance: each rater has one staircase of exposure times for each system.

    start, low, high   ms: the first exposure, the shortest and the longest.
    down, up           ms: by how much a right answer shortens and a wrong one lengthens the next exposure. The
                       staircase settles where p * down = (1 - p) * up, which is p = 3/4 for 10 and 30
                       (Kaernbach 1991, "Simple adaptive testing with the weighted up-down method").
    mask               ms for which noise hides what is left on the eye.
    """

    name: ClassVar[str] = "timed"
    judges_reality: ClassVar[bool] = True
    question: str = "Was that real or generated?"
    start: float = 500.0
    low: float = 50.0
    high: float = 1000.0
    down: float = 10.0
    up: float = 30.0
    mask: float = 480.0

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.start <= self.high:
            raise ValueError(
                f"exposures need 0 < low <= start <= high; got low={self.low:g}, start={self.start:g},"
                f" high={self.high:g} ms"
            )
        if self.down <= 0 or self.up <= 0 or self.mask < 0:
            raise ValueError(
                f"steps must be above 0 and the mask at least 0; got down={self.down:g}, up={self.up:g},"
                f" mask={self.mask:g} ms"
            )

    @property
    def choices(self) -> tuple[Choice, ...]:
        return _REAL_OR_NOT

    @property
    def target(self) -> float:
        """The share of right answers at which the staircase settles."""
        return self.up / (self.up + self.down)

    def groups(self, systems: Sequence[str]) -> tuple[str, ...]:
        return generated(systems)

    def shown(self, systems: Sequence[str], each: int) -> list[Shown]:
        return _half_real(systems, each)

    def expected(self, systems: Sequence[str]) -> tuple[str, ...]:
        return _real_or_generated(systems)

    def exposure(self, right: Sequence[bool]) -> float:
        """The next exposure, ms, after these answers of one staircase: a function of nothing else, so that a study
        goes on where it was however often the server is stopped."""
        ms = self.start
        for answer in right:
            ms = max(self.low, ms - self.down) if answer else min(self.high, ms + self.up)
        return ms

    def constants(self, count: int) -> tuple[float, ...]:
        """Evenly spaced fixed exposures, ms: the method of constant stimuli, for a page that has no server to ask.
        Such a page could adapt only by holding the right answers, where any rater might read them."""
        step = (self.high - self.low) / max(count - 1, 1)
        return tuple(self.low + step * i for i in range(count))


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How good, from 1 (bad) to 5 (excellent): the absolute category rating of ITU-T P.800."""

    name: ClassVar[str] = "mos"
    judges_reality: ClassVar[bool] = False
    question: str = "How good is this?"

    @property
    def choices(self) -> tuple[Choice, ...]:
        names = ("Bad", "Poor", "Fair", "Good", "Excellent")
        return tuple(Choice(value=str(i), label=f"{i} {n}", key=str(i)) for i, n in enumerate(names, 1))

    def groups(self, systems: Sequence[str]) -> tuple[str, ...]:
        return tuple(systems)

    def shown(self, systems: Sequence[str], each: int) -> list[Shown]:
        return [Shown(group=s, systems=(s,)) for s in systems for _ in range(each)]

    def expected(self, systems: Sequence[str]) -> tuple[str, ...]:
        """Only a check has right answers: what was spoiled is bad or poor."""
        return ("1", "2") if SPOILED in systems else ()


DESIGNS: dict[str, type[Any]] = {d.name: d for d in (Discern, Prefer, Untimed, Timed, Rate)}

_REAL_OR_NOT = (
    Choice(value="real", label="Real", key="ArrowLeft"),
    Choice(value="generated", label="Generated", key="ArrowRight"),
)


def _sides(label: str) -> tuple[Choice, Choice]:
    return Choice(value=LEFT, label=label, key="ArrowLeft"), Choice(value=RIGHT, label=label, key="ArrowRight")


def _half_real(systems: Sequence[str], each: int) -> list[Shown]:
    """As many real trials as generated ones in every group, so that knowing the shares tells nothing."""
    return [Shown(group=s, systems=(s,) if i % 2 else (REAL,)) for s in generated(systems) for i in range(each)]


def _real_or_generated(systems: Sequence[str]) -> tuple[str, ...]:
    return ("real",) if systems[0] == REAL else ("generated",)
