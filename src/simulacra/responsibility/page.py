"""An audit as one HTML file, in the manner of the reports: nothing in it is fetched from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simulacra.evaluation.report.contents import Picture, picture
from simulacra.evaluation.report.page import render_template, row
from simulacra.responsibility.finding import Finding, anchor

KINDS = {"pass": "good", "attention": "attention", "not measured": "note"}
ORDER = ("attention", "pass", "not measured")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A sample and the training picture it is most like, PNG bytes; ratio as in ``copying.Copying``."""

    sample: bytes
    real: bytes
    ratio: float


def render_audit(
    name: str,
    findings: Sequence[Finding],
    *,
    pairs: Sequence[Pair] = (),
    facts: Sequence[tuple[str, str]] = (),
    date: str,
) -> str:
    """The page. ValueError where a picture is neither PNG nor GIF."""
    measured = [f for f in findings if f.verdict != "not measured"]
    counts = {word: sum(f.verdict == word for f in findings) for word in ORDER}
    shown: list[tuple[Picture, Picture, str]] = [
        (picture(p.sample, "A sample"), picture(p.real, "The training picture it is most like"), f"{p.ratio:.2f}")
        for p in pairs
    ]
    return render_template(
        "audit.html",
        title=f"{name} · audit · simulacra",
        name=name,
        lede=f"{counts['attention']} findings ask for attention, {counts['pass']} pass,"
        f" {counts['not measured']} questions were not measured.",
        facts=list(facts),
        verdicts=[
            {"kind": KINDS[f.verdict], "name": f.name, "text": f.why, "word": word}
            for word in ORDER[:2]
            for f in measured
            if f.verdict == word
        ],
        pairs=shown,
        tables=[
            (anchor(f.name), f.name[:1].upper() + f.name[1:], [row(figure) for figure in f.figures])
            for f in measured
            if f.figures
        ],
        unmeasured=[(f.name, f.why) for f in findings if f.verdict == "not measured"],
        date=date,
    )


def table_text(findings: Sequence[Finding]) -> list[str]:
    """The findings as plain lines, attention first: verdict, name, why."""
    width = max((len(f.name) for f in findings), default=0)
    return [f"{f.verdict:<12}  {f.name:<{width}}  {f.why}" for word in ORDER for f in findings if f.verdict == word]
