"""Model card and data card, in the layout of the Hugging Face hub, made from what was measured and from nothing else.

Every figure carries a link to the page it stands on, and what was not measured is listed as not measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulacra.core.figure import Figure
from simulacra.evaluation.report.figures import interval_text, value_text
from simulacra.responsibility.finding import Finding, anchor

UNSTATED = "not stated"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a card is of, in words: no path of the machine and no key belongs in it.

    name, family, learnt  of the model: its name, its family, what it learnt in a sentence.
    data      the data's name; counts of its parts; licence and consent as stated; fingerprints of its parts.
    classes   names of the labels, shares of the training data where they are known.
    settings  name -> value, of the training.
    versions  what it was made with.
    report    the page where the figures stand, relative to the card; audit, where the findings do.
    """

    name: str
    family: str
    learnt: str
    data: str
    counts: Mapping[str, int]
    licence: str | None = None
    consent: str | None = None
    fingerprints: Mapping[str, str]
    classes: Sequence[str] = ()
    shares: Sequence[float] = ()
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    report: str = "report.html"
    audit: str = "audit.html"


def model_card(subject: Subject, figures: Sequence[Figure], findings: Sequence[Finding] | None) -> str:
    """Markdown with the hub's header. figures: of the last evaluation, none where there was none; findings likewise."""
    s = subject
    lines = [*_header(s), "", f"# {_plain(s.name)}", "", s.learnt, ""]
    lines += [
        "## Model details",
        "",
        *_pairs({"Family": s.family, **s.settings, **{f"Made with {k}": v for k, v in s.versions.items()}}),
        "",
    ]
    lines += [
        "## Uses",
        "",
        "It draws new examples like its training data. What it draws should be said to be generated wherever it is"
        " shown; whether single examples come back in it stands under risks.",
        "",
        "- copying, membership, fairness, privacy: `simulacra audit RUN` measures them",
    ]
    return "\n".join(lines).rstrip() + "\n"


def data_card(subject: Subject, findings: Sequence[Finding] | None) -> str:
    """What the data is: licence, consent, parts, duplicates, shares of its groups."""
    s = subject
    lines = ["---", f"pretty_name: {json.dumps(s.data)}", *_licence(s), "---", "", f"# Data: {_plain(s.data)}", ""]
    lines += [*_pairs(_about_data(s)), ""]
    lines += ["## Parts", "", "| part | examples | SHA-256 of its contents |", "|---|---|---|"]
    lines += [f"| {_plain(k)} | {n:,} | `{s.fingerprints.get(k, UNSTATED)}` |" for k, n in s.counts.items()]
    lines += ["", "## Groups", ""]
    if s.classes and s.shares:
        lines += ["| class | share of the training data |", "|---|---|"]
        lines += [f"| {_plain(name)} | {share:.4f} |" for name, share in zip(s.classes, s.shares, strict=True)]
    else:
        lines += ["Not measured: the data has no labels."]
    lines += ["", "## Duplicates", ""]
    found = next((f for f in findings or () if f.name.startswith("duplicates")), None)
    if found is None:
        lines += ["Not measured: `simulacra audit RUN` does."]
    elif found.verdict == "not measured":
        lines += [f"Not measured: {_plain(found.why)}."]
    else:
        lines += [f"{_plain(found.why[:1].upper() + found.why[1:])} ([the audit]({s.audit}#{anchor(found.name)}))."]
    return "\n".join(lines).rstrip() + "\n"


def _header(s: Subject) -> list[str]:
    return [
        "---",
        "library_name: simulacra",
        f"tags: {json.dumps(['generative-model', s.family])}",
        *_licence(s),
        "---",
    ]


def _licence(s: Subject) -> list[str]:
    # the hub knows licences by short names; what a data set states is free text
    return ["license: other", f"license_name: {json.dumps(s.licence or UNSTATED)}"]


def _about_data(s: Subject) -> dict[str, Any]:
    return {
        "Data": s.data,
        "Examples learnt from": f"{s.counts.get('train', 0):,}",
        "Examples held out": f"{s.counts.get('held_out', 0):,}",
        "Licence, as stated": s.licence or UNSTATED,
        "Consent, as stated": s.consent or UNSTATED,
    }


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"- **{_plain(k)}**: {_plain(str(v))}" for k, v in values.items()]


def _row(f: Figure, link: str) -> str:
    rests = f"N = {f.n:,}" + ("" if f.n_real is None else f" against {f.n_real:,}")
    rests += "" if f.extractor is None else f", {f.extractor}"
    return f"| [{_plain(f.name)}]({link}) | {_plain(value_text(f))} | {_plain(interval_text(f))} | {_plain(rests)} |"


def _plain(text: str) -> str:
    """Text that cannot break a table, or smuggle markup into a card."""
    clean = " ".join(text.split())
    for mark in "\\|<>[]`*":
        clean = clean.replace(mark, f"\\{mark}")
    return clean
