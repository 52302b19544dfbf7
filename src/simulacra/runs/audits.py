"""A run's audit and its cards: what is gathered from its directory, and the files that are written there."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from simulacra.core.capabilities import Sampler
from simulacra.core.checkpoint import read_json, write, write_json
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes
from simulacra.evaluation.streaming import of_model
from simulacra.evaluation.tables.rows import rows_of
from simulacra.modalities import grids
from simulacra.modalities.images import to_uint8
from simulacra.modalities.samples import is_pictures
from simulacra.modalities.tables.encoding import TableEncoding
from simulacra.responsibility.audit import MOST, Audit, audit
from simulacra.responsibility.card import Subject, data_card, model_card
from simulacra.responsibility.finding import Finding
from simulacra.responsibility.page import Pair, render_audit
from simulacra.responsibility.rows import findings_of_rows
from simulacra.runs.extractors import extractors_for
from simulacra.runs.pages import sentence, stored_figures
from simulacra.runs.run import Run
from simulacra.runs.tables import frame_of

FINDINGS = "audit.json"
OF_VALUES = ("copying",)  # asked of rows in their own way
PAGE, CARD, DATA_CARD = "audit.html", "card.md", "data_card.md"


def audit_run(run: Run, *, references: Sequence[Run] = (), n: int = MOST, seed: int = 0) -> list[Finding]:
    """Audit a run against its own held-out part; writes audit.json, audit.html and both cards into its directory.

    references  runs of the same kind fitted to other examples, for calibrating membership inference.
    """
    loaded = run.data()
    rng = Rng(seed)("audit")
    found = audit(
        run.model,
        loaded.train,
        loaded.held_out,
        extractors=None if loaded.table is not None else extractors_for(loaded),
        references=[r.model for r in references],
        spent=run.recipe.privacy,
        n=n,
        rng=rng,
    )
    findings = list(found.findings)
    if loaded.table is not None and isinstance(run.model, Sampler):
        findings = [*_of_rows(run, loaded.table, n, rng), *(f for f in findings if f.name not in OF_VALUES)]
    write_json(run.path / FINDINGS, [f.to_json() for f in findings])
    counts = run.recipe.data["counts"]
    facts = [
        ("Family", run.recipe.family),
        ("Data", str(run.recipe.data["name"])),
        ("Learnt from", f"{counts['train']:,}"),
        ("Held out", f"{counts['held_out']:,}"),
    ]
    date = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    page = render_audit(run.path.name, findings, pairs=_pairs(run, found, rng), facts=facts, date=date)
    write(run.path / PAGE, page.encode())
    write_cards(run)
    return findings


def stored_findings(run: Run) -> list[Finding] | None:
    """The findings of the last audit; None where there was none."""
    path = run.path / FINDINGS
    return [Finding.from_json(value) for value in read_json(path)] if path.exists() else None


def write_cards(run: Run) -> list[Path]:
    """card.md and data_card.md, of what was measured so far."""
    subject, findings = _subject(run), stored_findings(run)
    texts = {CARD: model_card(subject, stored_figures(run) or [], findings), DATA_CARD: data_card(subject, findings)}
    for name, text in texts.items():
        write(run.path / name, text.encode())
    return [run.path / name for name in texts]


def _of_rows(run: Run, table: TableEncoding, n: int, rng: Rng) -> list[Finding]:
    loaded = run.data()
    with torch.no_grad():
        fake = table.decode(run.model.sample(n, rng=rng("rows")))
    frames = (fake, frame_of(loaded.held_out, table), frame_of(loaded.train, table))
    return findings_of_rows(*(rows_of(frame, table.schema) for frame in frames), rng=rng("attacks"))


def _subject(run: Run) -> Subject:
    recipe = run.recipe
    about, training = recipe.data, recipe.training
    names = recipe.space.y.names if isinstance(recipe.space.y, Classes) else ()
    shares: list[float] = []
    y = getattr(run.data().train, "y", None)
    if names and isinstance(y, Tensor):
        shares = (torch.bincount(y, minlength=len(names)).double() / len(y)).tolist()
    settings = {
        "Steps": int(recipe.cost.get("steps", 0)),
        "Examples an optimiser step": training.batch,
        "Seed": training.seed,
        "Parameters": f"{int(recipe.cost.get('parameters', 0)):,}",
        "Ended by": recipe.ended or "not finished",
        **_guarantee(recipe.privacy),
    }
    return Subject(
        name=run.path.name,
        family=recipe.family or "a model of its own",
        learnt=sentence(run),
        data=str(about["name"]),
        counts=about["counts"],
        licence=about.get("licence"),
        consent=about.get("consent"),
        fingerprints=about["fingerprints"],
        classes=names if shares else (),
        shares=shares,
        settings=settings,
        versions=recipe.versions,
    )


def _guarantee(spent: Mapping[str, float]) -> dict[str, str]:
    """The line of a card about a private run's guarantee; none of any other run."""
    if not spent:
        return {}
    return {
        "Differential privacy": f"epsilon = {spent['epsilon']:.4g} at delta = {spent['delta']:g}, of one training"
        " example more or less; it covers the weights and all that is made of them, not figures"
        " that look at training examples",
        "Private training": f"gradients of single examples cut to {spent['clip']:g}, noise of {spent['noise']:.4g}"
        f" times that, each example in a batch with probability {spent['rate']:.4g},"
        f" {int(spent['noised'])} noisy gradients",
    }


def _pairs(run: Run, found: Audit, rng: Rng) -> list[Pair]:
    """The pictures of the samples most like a copy, drawn again by their numbers, beside the training pictures."""
    space, copies, searched = run.recipe.space, found.copies, found.searched
    if copies is None or searched is None or not is_pictures(space):
        return []
    part = of_model(run.model, rng("samples"))
    pairs: list[Pair] = []
    for number in copies.closest().tolist():
        with torch.no_grad():
            sample = part(number, number + 1).x
        real = run.data().train.batch(searched[copies.index[number]][None], Rng(0)).x
        assert isinstance(sample, Tensor)
        assert isinstance(real, Tensor)
        png = [grids.png(grids.grid(to_uint8(x.cpu(), space), gap=0)) for x in (sample, real)]
        pairs.append(Pair(sample=png[0], real=png[1], ratio=float(copies.ratio[number])))
    return pairs
