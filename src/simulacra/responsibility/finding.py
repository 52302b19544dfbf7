"""What an audit says of one question: pass, attention or not measured, why, and the figures it rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from simulacra.core.figure import Figure

Verdict = Literal["pass", "attention", "not measured"]
ALARM = 0.05  # p below which a test speaks of attention: one innocent model in twenty gets such a word


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The answer to one question.

    name      the question in a few words: "copying, nearest neighbours".
    verdict   "pass": the test did not find what it looks for, which does not prove there is none; "attention": it did;
              "not measured": it could not be asked.
    why       in a sentence.
    figures   what it rests on.
    p         the test's p-value, or None where it is no test.
    details   further numbers for other programs, JSON values.
    """

    name: str
    verdict: Verdict
    why: str
    figures: tuple[Figure, ...] = ()
    p: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def to_json(self) -> dict[str, Any]:
        """A JSON value; ``Finding.from_json`` turns it back."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "why": self.why,
            "figures": [f.to_json() for f in self.figures],
            "p": self.p,
            "details": dict(self.details),
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> Finding:
        """The finding that ``to_json`` wrote."""
        return Finding(**{**value, "figures": tuple(Figure.from_json(f) for f in value["figures"])})


def unmeasured(name: str, why: str) -> Finding:
    """A question that could not be asked, and why."""
    return Finding(name=name, verdict="not measured", why=why)


def asked(name: str, question: Callable[[], list[Finding]]) -> list[Finding]:
    """The answers to a question; where it refuses (ValueError), that it was not measured, and its reason."""
    try:
        return question()
    except ValueError as error:
        return [unmeasured(name, " ".join(str(error).split()))]


def anchor(name: str) -> str:
    """Where a finding stands on the audit's page: "copying-c-t"."""
    return "-".join("".join(c if c.isalnum() else " " for c in name.casefold()).split())
