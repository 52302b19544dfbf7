"""A run's report: what was measured and what can be seen, gathered from its directory into one page."""

from __future__ import annotations

import datetime
import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Data
from simulacra.core.capabilities import Codec, ConditionalSampler, Decoder, Learner, Likelihood, Prompted, Sampler
from simulacra.core.checkpoint import read_json, write, write_json
from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.evaluation.differences import differences
from simulacra.evaluation.extractors import values
from simulacra.evaluation.judge import draw, nearest_training
from simulacra.evaluation.likelihood import log_likelihood
from simulacra.evaluation.report import (
    Comparison,
    Costs,
    Neighbour,
    Report,
    comparison_csv,
    comparison_json,
    differences_csv,
    render,
    render_comparison,
)
from simulacra.modalities import grids
from simulacra.modalities.captions import is_captions
from simulacra.modalities.images import to_uint8
from simulacra.modalities.molecules.pictures import grid_png
from simulacra.modalities.music.roll import rolls
from simulacra.modalities.music.synth import wav
from simulacra.modalities.pairs import source_space, sources_of
from simulacra.modalities.samples import is_pictures, show
from simulacra.modalities.sources import Loaded
from simulacra.recipes.settings import to_json
from simulacra.runs.extractors import extractors_for
from simulacra.runs.run import PARTS, Run, tunes_reader
from simulacra.runs.sentences import attention_picture, translations
from simulacra.runs.snapshots import SHOWN, animate, progress
from simulacra.runs.snapshots import draw as drawn
from simulacra.runs.tables import view_of
from simulacra.training.hooks import Verdict
from simulacra.uses.interpolate import interpolate_latents
from simulacra.uses.reconstruct import reconstruct

Say = Callable[[str], None]
FIGURES = "figures.json"
NEIGHBOURS = 12  # shown, of
SEARCHED = 100  # samples: those closest to a training picture
PAIRS = 500  # held-out examples scored by every run of a comparison
TEXTS = 20
HEARD = 4  # tunes that are shown, the first of which is heard
PAGE = 1_500  # pieces of the text that is coloured
MOST_TRAIN = 20_000  # training pictures searched for the nearest one


def write_report(run: Run, *, figures: Sequence[Figure] | None = None, say: Say = lambda line: None) -> Path:
    """Measure a run (unless figures are given), and write report.html and figures.json into its directory."""
    if figures is None:
        say("judging on the held-out part")
        figures = run.evaluate()
    write_json(run.path / FIGURES, [figure.to_json() for figure in figures])
    path = run.path / "report.html"
    write(path, render(report(run, figures)).encode())
    return path


def stored_figures(run: Run) -> list[Figure] | None:
    """The figures of the last evaluation; None where there was none."""
    path = run.path / FIGURES
    return [Figure.from_json(value) for value in read_json(path)] if path.exists() else None


def write_comparison(runs: Sequence[Run], path: Path, *, title: str, say: Say = lambda line: None) -> Path:
    """One page of several runs: the leaderboard first, then each run's own report; its rows as .csv and .json beside.

    Where all runs were judged against the same data, every pair is tested (``differences``), into .differences.csv too.
    """
    reports = []
    for run in runs:
        figures = stored_figures(run)
        if figures is None:
            say(f"judging {run.path}")
            figures = run.evaluate()
            write_json(run.path / FIGURES, [figure.to_json() for figure in figures])
        reports.append(report(run, figures))
    names = [r.name for r in reports]
    same = len({r.data_identity for r in reports}) == 1
    tests = differences({r.name: r.figures for r in reports}, _paired(names, runs) if same else None) if same else []
    comparison = Comparison(
        tests=tests,
        title=title,
        runs=reports,
        subtitle=f"{len(runs)} models of {', '.join(sorted({r.data for r in reports}))}, judged on what none has seen.",
        date=reports[0].date,
        command=f"simulacra compare {' '.join(str(run.path) for run in runs)} --out {path}",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, render_comparison(comparison).encode())
    for ending, text in ((".csv", comparison_csv), (".json", comparison_json), (".differences.csv", differences_csv)):
        write(path.with_suffix(ending), text(comparison).encode())
    return path


def _paired(names: Sequence[str], runs: Sequence[Run]) -> dict[str, dict[str, Tensor]]:
    """Negative log-likelihoods of the same held-out examples, by figure and run: what a paired test needs.

    Few examples are enough, since what they have in common falls out; runs are scored one after another.
    """
    found: dict[str, dict[str, Tensor]] = {}
    for name, run in zip(names, runs, strict=True):
        if isinstance(run.model, Likelihood):
            scored = log_likelihood(run.scorer, run.data().held_out, n=PAIRS, rng=Rng(0)("paired"))
            found.setdefault(f"negative log-likelihood of {scored.measure}", {})[name] = -scored.nats
    return {figure: each for figure, each in found.items() if len(each) > 1}


def report(run: Run, figures: Sequence[Figure]) -> Report:
    """What a run's page shows."""
    recipe, loaded = run.recipe, run.data()
    pictures = is_pictures(recipe.space)
    real = None
    if pictures:
        real = grids.png(
            show(loaded.held_out.batch(torch.arange(min(SHOWN, len(loaded.held_out))), Rng(0)), recipe.space)
        )
    # what draws for conditions is shown with those it has not learnt from
    seen = loaded.train if isinstance(run.model, Sampler) else loaded.held_out
    samples = drawn(run.model, seen) if isinstance(run.model, Sampler | ConditionalSampler) else None
    frames = progress(run.path / "samples")
    texts = run.texts(run.sample(TEXTS)) if run.encoding is not None and isinstance(run.model, Sampler) else []
    real_texts = _real_texts(run, loaded)
    looks = None
    if source_space(recipe.space) is not None:
        texts, real_texts, looks = _translations(run, loaded)
    structures = [
        grid_png(part, columns=4) if part and loaded.modality == "molecules" else None for part in (texts, real_texts)
    ]
    rolled, heard = _tunes(run, loaded)
    moving = animate(frames, run.path / "samples" / "training.gif")
    cost = dict(recipe.cost)
    return Report(
        name=run.path.name,
        family=recipe.family,
        data=str(recipe.data["name"]),
        learnt=sentence(run),
        date=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        verdicts=[Verdict(**verdict) for verdict in recipe.verdicts],
        samples=structures[0] or rolled[0] or looks if samples is None else grids.png(samples),
        real=structures[1] or rolled[1] if real is None else real,
        sound=heard[0],
        real_sound=heard[1],
        texts=texts,
        real_texts=real_texts,
        table=view_of(run.model, loaded),
        surprise=_surprise(run, loaded),
        reconstructions=_reconstructions(run, loaded.held_out) if pictures else None,
        interpolations=_interpolations(run) if pictures else None,
        nearest=_nearest(run) if pictures and isinstance(run.model, Sampler) else (),
        progress=frames[:: max(1, len(frames) // 5)] if frames else (),
        animation=moving,
        log=_log(run.path),
        figures=list(figures),
        costs=Costs(
            wall_seconds=cost.get("seconds"),
            cpu_seconds=cost.get("cpu_seconds"),
            steps=_whole(cost.get("steps")),
            examples=_whole(cost.get("examples")),
            steps_per_second=cost["steps"] / cost["seconds"] if cost.get("seconds") and cost["steps"] else None,
            parameters=_whole(cost.get("parameters")),
            seconds_per_sample=_seconds_per_sample(run.model),
            machine=machine(),
        ),
        recipe={
            "family": recipe.family,
            "config": to_json(recipe.config),
            "training": to_json(recipe.training),
            "data": dict(recipe.data),
            "versions": dict(recipe.versions),
        },
        data_identity=str(recipe.data["fingerprints"]["held_out"]),
        licence=recipe.data.get("licence"),
        consent=recipe.data.get("consent"),
        command=command(run),
    )


def command(run: Run) -> str:
    """The line that makes this run again, budget and seed stated; other settings stand in its recipe.json."""
    if (imported := run.recipe.lineage.get("imported")) is not None:
        return f"simulacra import {run.path / imported['path']} --out {run.path}"
    training = run.recipe.training
    budget = [f"--{n} {v:g}" for n in ("steps", "minutes", "examples") if (v := getattr(training, n)) is not None]
    budget = budget if isinstance(run.model, Learner) else []
    given = run.recipe.data["options"]
    size = given.get("size")
    options = [f"--size {size[0]}x{size[1]}"] if isinstance(size, tuple) else []
    others = ("binarise", "channels", "given", "held_out", "skip", "labels", "modality", "tokens", "block", "cut",
              "spelling", "transpose", "languages", "missing", "encode", "schema")  # fmt: skip
    options += [f"--{name.replace('_', '-')} {given[name]}" for name in others if name in given]
    options += [f"--target-column {given['target']}"] if "target" in given else []
    options += [f"--codec {run.path / PARTS / 'codec'}"] if "codec" in run.recipe.parts else []
    what = [run.recipe.family, run.recipe.data["source"], *options, *budget]
    return f"simulacra fit {' '.join(what)} --seed {training.seed} --out {run.path}"


def machine() -> str:
    """Processor, cores and device, in words."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        name = names[0] if names else name
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}, {device}"


def sentence(run: Run) -> str:
    """What a run learnt, in a sentence."""
    counts, space = run.recipe.data["counts"], run.recipe.space
    given = " and their class" if hasattr(space.y, "names") else ""
    if isinstance(space.y, Space):
        given = f", each given its {'caption' if is_captions(space.y) else space.y.measure or 'condition'}"
    kind = run.recipe.data["modality"]
    kind = {"text": "texts", "pairs": "sentences", "tables": "rows", "music": "pieces of music", "frames": "tunes"}.get(
        kind, kind
    )
    if "imported" in run.recipe.lineage:
        where = run.path / run.recipe.lineage["imported"]["path"]
        return f"A {run.recipe.family} read from {where}; what it learnt from is not known here."
    what = f"{counts['train']:,} {kind}{given}, as {space.measure}"
    return f"A {run.recipe.family} that learnt the distribution of {what}."


def _log(folder: Path) -> list[dict[str, Any]]:
    path = folder / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _reconstructions(run: Run, held_out: Data) -> bytes | None:
    if not isinstance(run.model, Codec):
        return None
    batch = held_out.batch(torch.arange(min(20, len(held_out))), Rng(0))
    again = reconstruct(run.model, batch.x, y=batch.y)
    assert isinstance(batch.x, Tensor)
    assert isinstance(again, Tensor)
    space = run.recipe.space
    return grids.png(grids.pairs(to_uint8(batch.x, space), to_uint8(again, space), columns=5))


def _interpolations(run: Run) -> bytes | None:
    if not isinstance(run.model, Decoder) or not isinstance(run.model.latent.only, Continuous):
        return None
    if isinstance(run.recipe.space.y, Space):
        return None  # between codes of which condition?
    rows = 5
    y = torch.arange(rows) % len(run.recipe.space.classes) if run.recipe.space.y is not None else None
    walks = interpolate_latents(run.model, rows, steps=10, y=y)
    return grids.png(grids.strips([to_uint8(walk, run.recipe.space) for walk in walks]))


def _nearest(run: Run) -> list[Neighbour]:
    """Of some samples those that lie closest to a training picture, beside it, by the examples' own values.

    How close unseen examples lie to theirs is the null: the share of those as close says what chance would do.
    """
    loaded, space = run.data(), run.recipe.space
    extract = extractors_for(loaded)[-1]
    train = values(loaded.train, min(len(loaded.train), MOST_TRAIN), Rng(0)("train"))
    held = values(loaded.held_out, min(len(loaded.held_out), 500), Rng(0)("held out"))
    fake = draw(run.model, SEARCHED, Rng(0)("nearest"))
    features = extract(train)
    found = nearest_training(extract(fake), features)
    unseen = nearest_training(extract(held), features).distance
    typical = float(unseen.median())
    closest = found.distance.argsort(stable=True)[:NEIGHBOURS]
    distance, index = found.distance[closest], found.index[closest]
    shown, real = to_uint8(fake[closest], space), to_uint8(train[index], space)
    return [
        Neighbour(
            sample=grids.png(grids.grid(shown[i : i + 1], gap=0)),
            real=grids.png(grids.grid(real[i : i + 1], gap=0)),
            ratio=float(distance[i]) / max(typical, 1e-12),
            unseen=float((unseen <= distance[i]).double().mean()),
        )
        for i in range(len(closest))
    ]


def _real_texts(run: Run, loaded: Loaded) -> list[str]:
    if run.encoding is None:
        return []
    chosen = Rng(0)("real texts").permutation(len(loaded.held_out))[:TEXTS]
    return run.texts(loaded.held_out.batch(chosen, Rng(0)))


def _translations(run: Run, loaded: Loaded) -> tuple[list[str], list[str], bytes]:
    """Held-out sources with what the model makes of them, and with their references; where the first one looks."""
    assert run.encoding is not None
    batch = loaded.held_out.batch(torch.arange(min(TEXTS, len(loaded.held_out))), Rng(0))
    sources = sources_of(batch, run.encoding)
    found = translations(run, sources)
    pairs = [[f"{s} \u2192 {t}" for s, t in zip(sources, side, strict=True)] for side in (found, run.texts(batch))]
    return pairs[0], pairs[1], grids.png(attention_picture(run, sources[0], found[0]))


def _tunes(run: Run, loaded: Loaded) -> tuple[list[bytes | None], list[bytes | None]]:
    """Piano rolls and sounds of the first tunes, drawn and held out; None where there are none."""
    if tunes_reader(loaded.modality, loaded.music) is None or not isinstance(run.model, Sampler):
        return [None, None], [None, None]
    held = loaded.held_out.batch(torch.arange(min(HEARD, len(loaded.held_out))), Rng(0))
    parts = [[t for t in run.tunes(batch) if t.notes] for batch in (run.sample(HEARD), held)]
    return [grids.png(rolls(p)) if p else None for p in parts], [wav(p[:1]) if p else None for p in parts]


def _surprise(run: Run, loaded: Loaded) -> list[tuple[str, float]]:
    """The first held-out texts in pieces, each with its bits, as many as make a page."""
    if run.encoding is None or not isinstance(run.model, Prompted):
        return []
    held, found, words = loaded.held_out, list[tuple[str, float]](), getattr(run.recipe.space.only, "names", None)
    for row in range(min(len(held), PAGE)):
        batch = held.batch(torch.tensor([row]), Rng(0))
        assert isinstance(batch.x, Tensor)
        tokens = batch.x[0, : batch.x.shape[1] if batch.length is None else int(batch.length)]
        steps = run.model.steps(1, y=batch.y)
        for token in tokens.tolist():
            found.append(
                (
                    words[token] if words else run.encoding.decode([token]),
                    -float(steps.log_probs()[0, token]) / math.log(2),
                )
            )
            steps.take(torch.tensor([token]))
        if batch.length is not None:
            found.append(("\n", 0.0))
        if len(found) >= PAGE:
            break
    return found


def _seconds_per_sample(model: Any, n: int = 100) -> float | None:
    if not isinstance(model, Sampler):
        return None
    with torch.no_grad():
        model.sample(n, rng=0)
        began = time.perf_counter()
        model.sample(n, rng=1)
    return (time.perf_counter() - began) / n
