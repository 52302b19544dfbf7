"""``python -m bench.page``: docs/results.md from the figures in bench/results, so that what is written was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "results.md"

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
    text = HEAD + "\n".join(section(record) for record in records)
    notes = HERE / "notes.md"
    if notes.exists():
        text += "\n" + notes.read_text()
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text)
    print(f"wrote {PAGE.relative_to(HERE.parent)}: {sum(len(r['rows']) for r in records)} figures")


def section(record: dict[str, Any]) -> str:
    """One group's table."""
    where = "{cpu}, {cores} cores, {system}; Python {python}, torch {torch}".format_map(record)
    lines = [
        f"## `{record['command']}`",
        "",
        f"{where}; {record['date'][:10]}",
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
