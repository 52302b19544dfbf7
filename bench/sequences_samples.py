"""Sequences that take longer than a bench's minutes: molecules, chorales and folk tunes, learnt by published settings.

Molecules: 10,000 samples at temperature 1, nothing masked or filtered, beside the row of MOSES' CharRNN, which was
learnt from 1.6 million molecules (Polykovskiy et al. 2020; the table of its repository). Chorales: nats a frame of 88
keys on the benchmark's test part. Tunes: what the grammar drops, and how far samples lie from unseen tunes.

Each part fits ``simulacra reproduce``'s run under runs/NAME, goes on with it where it was stopped, or takes it as it
is where it is finished. ``python -m bench.sequences_samples moses | muv | chorales | independent | frames | tunes``
runs some of them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bench.harness import Row
from simulacra.core.figure import Figure
from simulacra.core.optimisers import Warmup
from simulacra.families.transformer import TransformerConfig
from simulacra.modalities.sources import open_data
from simulacra.nets.decoder import Decoder
from simulacra.recipes.known_good import for_sequences
from simulacra.recipes.published import PUBLISHED
from simulacra.runs import Run, fit, load
from simulacra.runs.recipe import NAME, read
from simulacra.training.settings import Training

RUNS = Path("runs")
DRAWN = 10_000
# MOSES' CharRNN: valid, unique@10k, novelty, scaffold similarity to the test part
CHAR_RNN = {"valid molecules": 0.9748, "unique@10000": 0.9994, "novel molecules": 0.8419, "scaffold similarity": 0.9242}
TARGETS = {"valid molecules": 0.95, "unique@10000": 0.999}
PEERS = {"transformer-jsb": 5.19, "jsb-frames": 5.19, "jsb-independent": 8.10}  # RNN-NADE, TCN
TUNES, AREA = 300, 0.85
# three blocks of 96: 1,800 steps of 8 pieces are some ten minutes of one core
TUNES_CONFIG = TransformerConfig(
    network=Decoder(depth=3), optimiser=for_sequences(Warmup(steps=30, decay=0.9, final=0.01))
)
TUNES_TRAINING = Training(steps=1_800, batch=8, log_every=50, average_half_life=1_000.0, save_seconds=120.0)


def run(parts: tuple[str, ...] = ()) -> list[Row]:
    """The rows of the parts asked for, of all of them for none."""
    rows: list[Row] = []
    for part in parts or tuple(PARTS):
        rows += PARTS[part]()
    return rows


def fitted(name: str, family: str, data: Any, **settings: Any) -> Run:
    """The finished run of a name, fitted or gone on with where there is none."""
    out = RUNS / name
    if not (out / NAME).exists() or read(out).ended != "budget":
        fit(family, data, out=out, resume=(out / NAME).exists(), say=print, **settings)
    return load(out)


def published(name: str) -> Run:
    """The run of a published setting."""
    known = PUBLISHED[name]
    data = open_data(known.data, **known.options)
    return fitted(name, known.family, data, config=known.config, training=known.training)


def molecules(name: str) -> list[Row]:
    """Every figure of 10,000 samples; as peer the published one where there is one."""
    made = published(name)
    figures = [f for f in made.evaluate(n=DRAWN, seed=1) if not f.name.startswith(("negative", "bits", "perplexity"))]
    cost = (
        f"{made.recipe.cost['cpu_seconds'] / 60:.0f} CPU-minutes of learning from {name.removeprefix('transformer-')}"
    )
    return [_row(f"{name}: {f.name}", f, TARGETS.get(f.name), CHAR_RNN.get(f.name), cost) for f in figures]


def chorales(name: str) -> list[Row]:
    """Nats a frame of a published setting."""
    made = published(name)
    found, known = PUBLISHED[name].score(made.model, made.data().held_out), PUBLISHED[name]
    note = "; ".join(f"{source}: {figure}" for source, figure in known.published.items())
    best, cost = known.target[0], made.recipe.cost["cpu_seconds"] / 60
    return [
        Row(
            what=f"{name}: {found.name}",
            unit="nats",
            ours=found.value,
            peer=PEERS[name],
            target=f"<= {best:g}",
            met=found.value <= best,
            note=f"{cost:.0f} CPU-minutes; {note}",
            rounds=found.to_json(),
        )
    ]


def tunes() -> list[Row]:
    """Samples of a model of folk tunes: events that are lost on the way to a tune and back, areas, keys."""
    name = "transformer-nottingham"
    made = fitted(name, "transformer", open_data("nottingham"), config=TUNES_CONFIG, training=TUNES_TRAINING)
    assert made.music is not None
    drawn = made.sample(TUNES, seed=1)
    rows = [row[:m] for row, m in zip(drawn.x.tolist(), drawn.length.tolist(), strict=True)]  # type: ignore[union-attr]
    again = [made.music.encode(made.music.decode(row)).tolist() for row in rows]
    lost = sum(len(row) - len(back) + (row != back) for row, back in zip(rows, again, strict=True))
    total = sum(map(len, rows))
    found = [Row(what=f"{name}: events that are not in the tune they make", unit="events", ours=lost, target="0",
                 met=lost == 0, note=f"of {total:,} in {TUNES} samples under the grammar")]  # fmt: skip
    cost = f"{made.recipe.cost['cpu_seconds'] / 60:.0f} CPU-minutes"
    for f in made.evaluate(n=TUNES, seed=1):
        if f.name.startswith("overlapping area") or f.name in ("out-of-key rate", "bars that come again"):
            found.append(_row(f"{name}: {f.name}", f, AREA if f.name == "overlapping area" else None, None, cost))
    return found


def _row(what: str, f: Figure, least: float | None, peer: float | None, note: str) -> Row:
    return Row(
        what=what,
        unit=f.unit,
        ours=f.value,
        peer=peer,
        target="" if least is None else f">= {least:g}",
        met=None if least is None else f.value >= least,
        note="; ".join(text for text in (f.note, note) if text),
        rounds=f.to_json(),
    )


PARTS = {
    "moses": lambda: molecules("transformer-moses-10k"),
    "muv": lambda: molecules("transformer-muv"),
    "chorales": lambda: chorales("transformer-jsb"),
    "independent": lambda: chorales("jsb-independent"),
    "frames": lambda: chorales("jsb-frames"),
    "tunes": tunes,
}

if __name__ == "__main__":
    from bench.harness import save, show

    asked = tuple(sys.argv[1:]) or tuple(PARTS)
    result = run(asked)
    show("sequences_samples", result)
    group = "sequences_samples" if asked == tuple(PARTS) else f"sequences-{'-'.join(asked)}"
    command = " ".join(["python -m bench.sequences_samples", *sys.argv[1:]])
    print(f"written to {save(group, result, command=command)}")
