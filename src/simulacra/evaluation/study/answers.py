"""What raters answered: from the database and from saved files, each rater once; and the preregistered exclusion."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulacra.core.checkpoint import read_json
from simulacra.evaluation.study.designs import Timed
from simulacra.evaluation.study.protocol import Study
from simulacra.evaluation.study.store import NAME, Store
from simulacra.evaluation.study.trials import Trial

FILE_FORMAT = 1  # of a saved file of answers


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer: the rater's number in these results, the trial, what was chosen and measured, all times in ms."""

    rater: int
    trial: Trial
    choice: str
    asked: float | None
    shown: float | None
    frame: float | None
    hidden: bool
    response: float

    @property
    def right(self) -> bool | None:
        """Whether the answer is right; None where none can be."""
        return self.choice in self.trial.expected if self.trial.expected else None


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Answers after the rule.

    answers      all that were given, checks among them; reasons: why each is left out, "" for those that count.
    raters       how many gave an answer; excluded: rater -> why all of theirs are left out.
    duplicates   saved files that repeat a rater.
    """

    answers: list[Answer]
    reasons: list[str]
    raters: int
    excluded: dict[int, str]
    duplicates: int

    @property
    def counted(self) -> list[Answer]:
        """The answers that the figures rest on: neither excluded nor a check."""
        return [a for a, why in zip(self.answers, self.reasons, strict=True) if not why and not a.trial.check]


def collect(study: Study, files: Sequence[Path] = ()) -> tuple[list[Answer], int]:
    """Every answer of a study, from its database and from saved files or folders of them; and how many files repeat.

    Raises ValueError of one line for files of another study, and for two files of one rater that contradict.
    """
    by_rater: list[list[Answer]] = []
    if (study.folder / NAME).exists():
        by_rater += _served(study)
    saved, duplicates = _saved(study, files)
    for token in sorted(saved):
        by_rater.append([_answer(len(by_rater), trial, given, None) for trial, given in saved[token]])
    return [a for answers in by_rater for a in answers], duplicates


def apply_exclusion(study: Study, answers: Sequence[Answer], duplicates: int = 0) -> Kept:
    """The answers with the reason why each is left out, by the rule that was registered with the study."""
    rule = study.exclusion
    excluded: dict[int, str] = {}
    by_rater: dict[int, list[Answer]] = {}
    for a in answers:
        by_rater.setdefault(a.rater, []).append(a)
    for rater, own in by_rater.items():
        checks = [bool(a.right) for a in own if a.trial.check]
        hasty = sum(a.response < rule.fast_ms for a in own) / len(own)
        if len(own) < rule.finished * study.plan.length:
            excluded[rater] = f"answered {len(own)} of {study.plan.length} trials"
        elif checks and sum(checks) < rule.checks * len(checks):
            excluded[rater] = f"passed {sum(checks)} of {len(checks)} attention checks"
        elif hasty > rule.hasty:
            excluded[rater] = f"gave {hasty:.0%} of the answers in less than {rule.fast_ms:g} ms"
    reasons = [excluded.get(a.rater, "") or _exposure_fault(study, a) for a in answers]
    return Kept(answers=list(answers), reasons=reasons, raters=len(by_rater), excluded=excluded, duplicates=duplicates)


def export_jsonl(kept: Kept) -> str:
    """One JSON object an answer."""
    return "".join(json.dumps(row) + "\n" for row in _rows(kept))


def export_csv(kept: Kept) -> str:
    """The same as a table for a spreadsheet."""
    out = io.StringIO()
    rows = _rows(kept)
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: "|".join(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows)
    return out.getvalue()


def _rows(kept: Kept) -> list[dict[str, Any]]:
    return [
        {
            "rater": a.rater, "position": a.trial.position, "group": a.trial.group, "check": a.trial.check,
            "systems": list(a.trial.systems), "items": list(a.trial.items), "choice": a.choice, "right": a.right,
            "asked_ms": a.asked, "shown_ms": a.shown, "frame_ms": a.frame, "hidden": a.hidden,
            "response_ms": a.response, "excluded": why,
        }
        for a, why in zip(kept.answers, kept.reasons, strict=True)
    ]  # fmt: skip


def _served(study: Study) -> list[list[Answer]]:
    store = Store(study)
    try:
        rows = store.rows()
    finally:
        store.close()
    trials: dict[int, list[Trial]] = {}
    found: dict[int, list[Answer]] = {}
    place: dict[int, int] = {}
    for number, _, position, _, choice, asked, measured in rows:
        if number not in found:
            trials[number], found[number], place[number] = study.plan.trials(number), [], len(found)
        given = {"choice": choice, "measured": measured}
        found[number].append(_answer(place[number], trials[number][position], given, asked))
    return list(found.values())


def _saved(study: Study, paths: Sequence[Path]) -> tuple[dict[str, list[tuple[Trial, dict[str, Any]]]], int]:
    """token -> trials and answers, of saved files."""
    files = [f for p in paths for f in (sorted(p.glob("*.json")) if p.is_dir() else [p])]
    if paths and not files:
        raise ValueError(f"{paths[0]} has no saved answers; expected files named answers-....json")
    found: dict[str, list[tuple[Trial, dict[str, Any]]]] = {}
    where: dict[str, Path] = {}
    duplicates = 0
    for file in files:
        token, given = _read(study, file)
        before = found.get(token)
        if before is not None:
            duplicates += 1
            shorter, longer = sorted((before, given), key=len)
            if longer[: len(shorter)] != shorter:
                raise ValueError(
                    f"{where[token]} and {file} are of one rater and contradict each other; keep one of them"
                )
            given = longer
        found[token], where[token] = given, file
    return found, duplicates


def _read(study: Study, file: Path) -> tuple[str, list[tuple[Trial, dict[str, Any]]]]:
    value = read_json(file)
    if not isinstance(value, dict) or value.get("format") != FILE_FORMAT or not isinstance(value.get("answers"), list):
        raise ValueError(f"{file} is no file of saved answers; expected one that the study's page wrote")
    if value.get("study") != study.digest:
        raise ValueError(
            f"{file} answers another study ({str(value.get('study'))[:12]}, this one is {study.digest[:12]})"
        )
    number, token = value.get("assignment"), value.get("token")
    if not isinstance(number, int) or not 0 <= number < study.raters or not isinstance(token, str) or not token:
        raise ValueError(f"{file}: assignment {number!r} is none of the study's {study.raters}; it was changed by hand")
    trials = study.plan.trials(number)
    choices = {c.value for c in study.design.choices}
    given = []
    for i, answer in enumerate(value["answers"]):
        if i >= len(trials) or answer.get("trial") != trials[i].id or answer.get("choice") not in choices:
            raise ValueError(f"{file}: answer {i + 1} belongs to no trial of its assignment; it was changed by hand")
        if not _is_time((answer.get("measured") or {}).get("response_ms")):
            raise ValueError(f"{file}: answer {i + 1} says not how long it took; it was changed by hand")
        given.append((trials[i], answer))
    return hashlib.sha256(token.encode()).hexdigest(), given


def _answer(rater: int, trial: Trial, given: dict[str, Any], asked: float | None) -> Answer:
    measured = given["measured"]
    shown, frame = measured.get("shown_ms"), measured.get("frame_ms")
    return Answer(
        rater=rater, trial=trial, choice=given["choice"], asked=trial.exposure if asked is None else asked,
        shown=float(shown) if _is_time(shown) else None, frame=float(frame) if _is_time(frame) else None,
        hidden=bool(measured.get("hidden")), response=float(measured["response_ms"]),
    )  # fmt: skip


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _exposure_fault(study: Study, a: Answer) -> str:
    if not isinstance(study.design, Timed) or a.trial.check:
        return ""
    if a.shown is None or a.frame is None or a.asked is None or not a.shown:
        return "the time shown was not measured"
    if a.hidden:
        return "the page was out of sight"
    if abs(a.shown - a.asked) > study.exclusion.frames * a.frame:
        return f"shown {a.shown:.0f} ms instead of {a.asked:.0f}"
    return ""
