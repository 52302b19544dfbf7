"""Generative against discriminative: the experiment in full, its figures, and the tables of its page in docs.

``python -m bench versus`` runs it (a quarter of an hour of a core; what bench/out/versus holds is not run again) and
``python -m bench.versus page`` writes docs/generative_vs_discriminative.md from bench/results/versus.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OUT = HERE / "out" / "versus"
RESULTS = HERE / "results" / "versus.json"
PAGE = HERE.parent / "docs" / "generative_vs_discriminative.md"
SEED = 0

HEAD = """# Generative against discriminative

When does modelling the whole distribution pay, if all you want is the class? Ng & Jordan (2002) compared naive Bayes
with logistic regression; here their learning curves are drawn again, and density-based classifiers (a PixelCNN, a VAE,
a transformer, naive Bayes, Gaussian mixtures) stand beside discriminative peers on pictures, texts and a table.

    simulacra reproduce generative-vs-discriminative            # about a quarter of an hour of one core
    simulacra reproduce generative-vs-discriminative --quick    # seconds, to see that it runs

It writes one HTML page with every curve, its bands and its numbers. All that follows was written by
`python -m bench.versus page` from `bench/results/versus.json`; no sentence was written by hand.

Where one of a pair is called ahead, the intervals of the paired difference at all places of its curve together leave
nought out at 95 %; a crossing's interval is all that a 95 % interval of the difference does not exclude. Repetitions
are random splits of one data set: the intervals say nothing of another sample of the population. Nothing is corrected
for the number of curves.

"""


def run() -> list[Any]:
    """A row a sweep, how its pair lies as its note; the last holds the sentences of the whole."""
    from bench.harness import Row
    from simulacra.evaluation.report.versus import findings
    from simulacra.recipes.experiments import EXPERIMENTS
    from simulacra.recipes.versus.experiment import NAME

    known = EXPERIMENTS[NAME]
    found = known.run(known.full(), OUT, SEED, print)
    (OUT / "index.html").write_text(known.page(found), encoding="utf-8")
    rows = []
    for section in found.sections:
        for sweep in section.sweeps:
            one, two = sweep.pair
            ends = [float(sweep.results[who].mean(0)[-1]) for who in sweep.pair]
            lies = findings(sweep)
            rows.append(
                Row(
                    what=f"{section.title}, {sweep.task}, {sweep.asked}: {sweep.measure} of {one} (ours) and of {two}"
                    f" (peer) at {sweep.values[-1]:g}, {sweep.axis}",
                    unit=sweep.unit,
                    ours=ends[0],
                    peer=ends[1],
                    note=" ".join(f.text for f in lies),
                    rounds={
                        "section": section.title,
                        "learning": section.learning,
                        "task": sweep.task,
                        "features": sweep.features,
                        "place": lies[0].found.place,
                        "interval": lies[0].found.interval,
                        "values": sweep.values,
                        "results": {who: values.tolist() for who, values in sweep.results.items()},
                    },
                )
            )
    curves = [r for r in rows if r.rounds["section"] == "Learning curves"]
    rows.append(
        Row(
            what="Ng and Jordan's learning curves, with intervals: data sets",
            unit="",
            ours=len(curves),
            target=">= 8",
            met=len(curves) >= 8,
            note=f"{sum(r.rounds['place'] is not None for r in curves)} of them have a crossing that is seen",
            rounds={"said": known.said(found)},
        )
    )
    return rows


def page(record: dict[str, Any]) -> str:
    """docs/generative_vs_discriminative.md of a record of ``run``."""
    *rows, last = record["rows"]
    lines = ["## What was found", "", *(f"- {line}" for line in last["rounds"]["said"]), ""]
    for title in dict.fromkeys(r["rounds"]["section"] for r in rows):
        there = [r for r in rows if r["rounds"]["section"] == title]
        lines += [f"## {title}", ""]
        lines += _learning(there) if there[0]["rounds"]["learning"] else _asked(there)
    machine = "{cpu}, {cores} cores; Python {python}, torch {torch}; ".format_map(record) + record["date"][:10]
    return HEAD + "\n".join([*lines, f"Measured on {machine}.", ""])


def _learning(rows: list[dict[str, Any]]) -> list[str]:
    """A line a data set: where the curves begin, end and cross."""
    lines = [
        "| data | features | naive Bayes, error at least and most examples | logistic regression | crossing | |",
        "|---|--:|--:|--:|--:|---|",
    ]
    for r in rows:
        one, two = (_ends(r["rounds"]["results"][who]) for who in ("naive Bayes", "logistic regression"))
        at, interval = r["rounds"]["place"], r["rounds"]["interval"]
        cross = "" if at is None else f"{at:.0f} ({interval[0]:.0f} to {interval[1]:.0f})"
        told = r["note"].partition(". ")[0].rstrip(".")
        lines.append(f"| {r['rounds']['task']} | {r['rounds']['features']} | {one} | {two} | {cross} | {told} |")
    return [*lines, ""]


def _ends(values: list[list[float]]) -> str:
    first, last = (sum(row[i] for row in values) / len(values) for i in (0, -1))
    return f"{first:.3f}, {last:.3f}"


def _asked(rows: list[dict[str, Any]]) -> list[str]:
    """A table a sweep: means over repetitions, and the sentence about its pair."""
    lines: list[str] = []
    for r in rows:
        asked = r["what"].partition(": ")[0].removeprefix(f"{r['rounds']['section']}, ")
        measure = r["what"].partition(" of ")[0].rpartition(": ")[2]
        values = [f"{v:.3g}" if v < 1_000 else f"{v:,.0f}" for v in r["rounds"]["values"]]
        lines += [f"**{asked[:1].upper()}{asked[1:]}.** {r['note']}", ""]
        lines += [f"| {measure} at | {' | '.join(values)} |", "|---|" + "--:|" * len(values)]
        for who, found in r["rounds"]["results"].items():
            means = [sum(row[i] for row in found) / len(found) for i in range(len(values))]
            lines.append(f"| {who} | {' | '.join(f'{m:.3f}' for m in means)} |")
        lines.append("")
    return lines


def main() -> None:
    """The page in docs."""
    parser = argparse.ArgumentParser(prog="python -m bench.versus", description=__doc__)
    parser.add_argument("part", choices=["page"])
    parser.parse_args()
    PAGE.write_text(page(json.loads(RESULTS.read_text())), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
