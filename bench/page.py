"""``python -m bench.page``: docs/results.md from the figures in bench/results, so that what is written was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "results.md"
LONG = HERE.parent / "docs" / "coverage.md"  # the intervals' simulation, whose hundred and more rows are summed up

HEAD = """# Results

Every figure below was written by a command of this repository, named above its table; this page is made from
`bench/results/*.json` by `python -m bench.page`, and those files hold every round behind it.

How to read it. *Ours* and *peer* are measured in one session, in turns, each in a process of its own. A *ratio* is
the peer's median over ours, so above 1 ours needs less; its spread is from the smallest to the largest ratio of two
neighbouring rounds. CPU-s are user and system seconds of the process, over all its threads. Targets are those the
project set itself before measuring: **met** or **NOT met** stands beside each.

"""


def main() -> None:
    """Write the page."""
    records = []
    for path in sorted((HERE / "results").glob("*.json")):
        group, _, part = path.stem.partition("-")
        command = f"python -m bench.{group} {part}" if part else f"python -m bench {group}"
        records.append({**json.loads(path.read_text()), "command": command})
    coverage = [r for r in records if r["command"].partition("bench ")[2].startswith("coverage")]
    faults = [r for r in records if r["command"].endswith(" faults")]  # docs/judging.md has their table
    text = HEAD + "\n".join(section(r) for r in records if r not in (*coverage, *faults))
    text += "".join("\n" + summary(record) for record in coverage)
    long = "# Every interval, simulated\n\nHow to read it: [results.md](results.md).\n\n"
    LONG.write_text(long + "\n".join(section(record) for record in coverage))
    notes = HERE / "notes.md"
    if notes.exists():
        text += "\n" + notes.read_text()
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text)
    print(f"wrote {PAGE.relative_to(HERE.parent)}: {sum(len(r['rows']) for r in records)} figures")


def summary(record: dict[str, Any]) -> str:
    """The intervals' simulation in a line a figure."""
    lines = [
        f"## `{record['command']}`",
        "",
        f"{where(record)}. How often a nominal 95 % interval holds the truth, in 400 repetitions a cell (world and"
        " size), on other seeds than its rules were set with; every cell is in [coverage.md](coverage.md). With 400"
        " repetitions one cell's own standard error is 1.1 %.",
        "",
        "| figure | cells in which it is printed | held the truth there | within 92 .. 98 % | withheld cells |",
        "|---|--:|--:|--:|--:|",
    ]
    for name in dict.fromkeys(r["what"].partition(";")[0] for r in record["rows"]):
        cells = [r for r in record["rows"] if r["what"].partition(";")[0] == name]
        shown = [r for r in cells if r["met"] is not None]
        held = [float(r["ours"]) for r in shown]
        span = f"{min(held):.1%} to {max(held):.1%}" if held else ""
        within = f"{sum(r['met'] for r in shown)} of {len(shown)}" if shown else ""
        lines.append(f"| {name} | {len(shown)} | {span} | {within} | {len(cells) - len(shown)} |")
    lines += ["", "Where the two distributions are equal, the end of a distance's range, more than 98 % is right."]
    return "\n".join(lines) + "\n"


def where(record: dict[str, Any]) -> str:
    """Machine, versions and day."""
    machine = "{cpu}, {cores} cores, {system}; Python {python}, torch {torch}".format_map(record)
    return f"{machine}; {record['date'][:10]}"


def section(record: dict[str, Any]) -> str:
    """One group's table."""
    lines = [
        f"## `{record['command']}`",
        "",
        where(record),
        "",
        "| what | ours | peer | ratio (spread) | unit | target | |",
        "|---|--:|--:|--:|---|---|---|",
    ]
    lines += [row(r) for r in record["rows"]]
    return "\n".join(lines) + "\n"


def row(r: dict[str, Any]) -> str:
    """One figure's line; its note goes under its name."""
    ratio = r.get("ratio")
    spread = f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})" if ratio else ""
    verdict = {True: "met", False: "**NOT met**", None: ""}[r.get("met")]
    what = r["what"] + (f"<br><sub>{r['note']}</sub>" if r.get("note") else "")
    cells = [what, number(r["ours"]), number(r["peer"]), spread, r["unit"], r["target"], verdict]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def number(value: Any) -> str:
    """Four digits of a number; words as they are."""
    return "" if value is None else value if isinstance(value, str) else f"{value:,.4g}"


if __name__ == "__main__":
    main()
