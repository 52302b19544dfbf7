"""``fit``: data in, a run directory out."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from simulacra.core import across
from simulacra.core.batch import Data
from simulacra.core.capabilities import Learner
from simulacra.core.checkpoint import digest as sha256
from simulacra.core.checkpoint import save_tensors, told, write_json
from simulacra.core.space import Space
from simulacra.modalities.sources import Loaded, open_data
from simulacra.nets.lora import Adapter
from simulacra.recipes.encodings import preferred
from simulacra.recipes.families import FAMILIES
from simulacra.runs import adapting, transfer
from simulacra.runs.latent import Coded, coded
from simulacra.runs.recipe import NAME, Recipe, read, replace
from simulacra.runs.run import ENCODING, MUSIC, PARTS, TABLE, WEIGHTS, Run, load, parent_of
from simulacra.runs.snapshots import Snapshots
from simulacra.runs.starting import start
from simulacra.training.engine import Distribute, join, replicate
from simulacra.training.loop import Trained, train
from simulacra.training.monitors import monitors
from simulacra.training.posthoc import FOLDER, snapshots
from simulacra.training.settings import Training
from simulacra.training.state import weights, weights_and_averages

Say = Callable[[str], None]
Begin = Callable[[Any], None]  # given a model that was just built


def silent(line: str) -> None:
    """Tells nobody."""


def as_it_is(model: Any) -> None:
    """Leaves a model with its first weights."""


def fit(
    family: str,
    data: str | Loaded | Any,
    *,
    out: str | Path | None = None,
    config: Any = None,
    training: Training | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    examples: int | None = None,
    seed: int | None = None,
    resume: bool = False,
    hooks: Sequence[Any] = (),
    distribute: Distribute = replicate,
    parent: str | Path | Run | None = None,
    adapter: Adapter | None = None,
    begin: Begin = as_it_is,
    codec: str | Path | Coded | None = None,
    say: Say = silent,
) -> Run:
    """Learn the distribution of data, and write the run directory. Under ``torchrun`` all processes fit one run.

    family    a name in ``simulacra families``.
    data      a path, a known name or a DataFrame, or what ``open_data`` returned.
    out       the run directory; runs/FAMILY-DATA unless given. One that holds a run already is refused unless resume.
    config, training  settings; the parent's and the family's recipe for this data where they are None.
    steps, minutes, examples  the budget, whichever comes first; the recipe's where all are None.
    seed      every draw of the run is a function of it; the recipe's (0) where None.
    resume    go on where a stopped run left off, bit-identical to never having stopped. A larger budget goes further.
    hooks     seen by the training loop beside its monitors: progress bars, pictures.
    distribute  with several processes: ``training.engine.replicate`` or ``shard``.
    parent    a run to start from: its averaged weights, where names and shapes agree, and its settings.
    adapter   learn only this beside the parent's weights, ``nets.lora.LoRA()``; saved without them.
    begin     given the model before a new run of it, so that it may start from weights of another.
    codec     the directory of a run that encodes this data, or what ``coded`` returned: the family learns the
              distribution of its codes, and a copy of it becomes part of the run.
    say       told what is about to happen, a line at a time, in the first process only.

    Raises ValueError for a family that does not exist, data it cannot model, or a directory in use.
    """
    if family not in FAMILIES:
        raise ValueError(f"no family {family!r}; expected one of {', '.join(FAMILIES)}")
    if adapter is not None and parent is None and not resume:
        raise ValueError("an adapter is learnt beside a trained run's weights; give that run as parent= (--from)")
    join()
    loaded = data if isinstance(data, Loaded) else open_data(data, prefer=preferred(family))
    folder = Path(out) if out is not None else home(family, loaded)
    budget = {"steps": steps, "minutes": minutes, "examples": examples}
    above, codec = _stands_on(folder, loaded, parent, codec, resume)
    learnt = loaded if codec is None else codec.codes
    recipe = plan(
        family, loaded, config=config, training=training, budget=budget, seed=seed, parent=above,
        latent=None if codec is None else codec.space,
    )  # fmt: skip
    if recipe.training.private is not None:
        _stands_on_no_example(recipe, above, codec)
    started = start(settle(folder, replace(recipe, adapter=adapter), budget, resume), folder, above)
    recipe, model = started.recipe, started.model
    if not isinstance(model, Learner):
        _takes_no_steps(family, budget, above, recipe.training)
    if not resume:
        begin(model)
    said = [*describe(recipe, loaded, model, codec), *started.said]
    if across.rank() == 0:
        for line in said:
            say(line)
        with told(f"make {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
        if codec is not None:
            recipe = replace(recipe, files={**recipe.files, **codec.keep(folder)})
        recipe = keep_encoding(folder, recipe, loaded)
        recipe.write(folder)
    join_codec = (lambda model: model) if codec is None else codec.join
    # monitors look at training examples, and what they say is kept: a private run has none
    looking = recipe.training.private is None
    watching = [
        *(monitors(model, held_out=learnt.held_out, every=_watch_every(recipe.training)) if looking else ()),
        Snapshots(folder / "samples", loaded.train, join_codec, loaded.encoding),
        *hooks,
    ]
    cpu = time.process_time()
    trained = train(
        model,
        learnt.train,
        recipe.training,
        hooks=watching,
        folder=folder,
        resume=resume,
        distribute=distribute,
        begin=started.begin,
    )
    recipe = keep(folder, recipe, trained, time.process_time() - cpu)
    if recipe.adapter is not None:
        adapting.merge(trained.averaged)
    if across.processes() > 1:
        # each process goes on with a whole model of its own: what comes now is no longer shared work
        across.wait()
        return load(folder)
    return Run(folder, recipe, join_codec(trained.averaged), trained)


def _takes_no_steps(family: str, budget: dict[str, Any], above: Run | None, training: Training) -> None:
    """Raise ValueError where a model that learns in closed form is told how long, from where, or how privately."""
    if training.private is not None:
        raise ValueError(
            f"{family} learns in closed form, which is not private; take a family of steps, or leave --epsilon out"
        )
    if told := [name for name, value in budget.items() if value is not None]:
        raise ValueError(f"{family} learns in closed form, not by steps; leave --{told[0]} out")
    if above is not None:
        raise ValueError(f"{family} learns in closed form and forgets what it was; leave --from out")


def _stands_on(
    folder: Path, loaded: Loaded, parent: str | Path | Run | None, codec: str | Path | Coded | None, resume: bool
) -> tuple[Run | None, Coded | None]:
    """The run that a new one starts from, and the codec whose codes it learns; None for what there is not.

    A run that goes on has its codec with it. Raises ValueError for both, and for text cut into other tokens.
    """
    above = load(parent) if isinstance(parent, (str, Path)) else parent
    if (own := kept_codec(folder)) is not None and resume:
        codec = own
    if above is not None and (codec is not None or above.recipe.parts):
        raise ValueError("a model of codes starts from nothing so far; give a parent (--from) or a codec, not both")
    if above is not None:
        transfer.same_encoding(above, loaded)
        transfer.same_table(above, loaded)
    return above, codec if codec is None or isinstance(codec, Coded) else coded(codec, loaded)


def _stands_on_no_example(recipe: Recipe, above: Run | None, codec: Coded | None) -> None:
    """Raise ValueError where a private run would stand on weights that have learned from its examples already."""
    if codec is not None:
        raise ValueError("a codec has learned from the examples without noise; leave --codec or --epsilon out")
    fingerprint = recipe.data["fingerprints"]["train"]
    if above is not None and above.recipe.data.get("fingerprints", {}).get("train") == fingerprint:
        raise ValueError(
            f"{above.path} has learned from the same examples, and what both give away adds up; start a private run"
            " from nothing (leave --from out), or from a run of other data"
        )


def kept_codec(folder: Path) -> Path | None:
    """The codec that a run in this folder stands on; None where there is none."""
    path = folder / PARTS / "codec"
    return path if (path / NAME).is_file() else None


def home(family: str, loaded: Loaded) -> Path:
    """Where a run goes unless somebody says: runs/FAMILY-DATA."""
    return Path("runs") / f"{family}-{loaded.train.name}"


def plan(
    family: str,
    loaded: Loaded,
    *,
    config: Any = None,
    training: Training | None = None,
    budget: dict[str, Any] | None = None,
    seed: int | None = None,
    parent: Run | None = None,
    latent: Space | None = None,
) -> Recipe:
    """The recipe of a run that is about to be made; nothing is written. latent: of the codes it will learn, if any."""
    known_config, known_training = FAMILIES[family].recipe(latent or loaded.train.space, len(loaded.train))
    space = loaded.train.space
    if parent is not None:
        space = transfer.settled(space, parent.recipe.space)
        known_config = parent.recipe.config if parent.recipe.family == family else known_config
    training = training or known_training
    if budget and any(value is not None for value in budget.values()):
        training = dataclasses.replace(training, **budget)
    if seed is not None:
        training = dataclasses.replace(training, seed=seed)
    return Recipe(
        family=family,
        config=config or known_config,
        space=space,
        data={
            "name": loaded.train.name,
            "source": loaded.source,
            "options": dict(loaded.options),
            "modality": loaded.modality,
            "fingerprints": {"train": loaded.train.fingerprint, "held_out": loaded.held_out.fingerprint},
            "counts": {"train": len(loaded.train), "held_out": len(loaded.held_out)},
            "licence": loaded.licence,
            "consent": loaded.consent,
            "notes": list(loaded.notes),
        },
        training=training,
        parts={} if latent is None else {"codec": latent},
    )


def settle(folder: Path, planned: Recipe, budget: dict[str, Any], resume: bool) -> Recipe:
    """The recipe that a run will follow in this folder: the planned one, or the stored one where it goes on.

    Raises ValueError for a folder that holds something else, or a run where none is to be resumed.
    """
    stored = (folder / NAME).exists()
    if resume:
        if not stored:
            raise ValueError(f"{folder} holds no run to resume; leave --resume out to start one there")
        recipe = read(folder)
        if recipe.family != planned.family:
            raise ValueError(f"{folder} is a run of {recipe.family}, not of {planned.family}; resume it with its own")
        if dict(recipe.data["fingerprints"]) != dict(planned.data["fingerprints"]) or recipe.space != planned.space:
            raise ValueError(
                f"{folder} was fitted on other data ({recipe.data['source']}); resume it with the same data"
            )
        if set(recipe.parts) != set(planned.parts):
            raise ValueError(f"{folder} was fitted without a codec; resume it without one")
        if any(value is not None for value in budget.values()):
            recipe = replace(recipe, training=dataclasses.replace(recipe.training, **budget))
        return recipe
    if stored:
        raise ValueError(f"{folder} holds a run already; give another folder with --out, or go on with --resume")
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; give an empty or a new folder with --out")
    return planned


def keep_encoding(folder: Path, recipe: Recipe, loaded: Loaded) -> Recipe:
    """Write what cuts text into tokens, or makes fields of a table's columns; the recipe that names its hash."""
    for name, encoding in ((ENCODING, loaded.encoding), (TABLE, loaded.table), (MUSIC, loaded.music)):
        if encoding is not None:
            path = folder / name
            with told(f"make {path.parent}"):
                path.parent.mkdir(exist_ok=True)
            write_json(path, encoding.to_json())
            recipe = replace(recipe, files={**recipe.files, name: sha256(path)})
    return recipe


def keep(folder: Path, recipe: Recipe, trained: Trained, cpu_seconds: float) -> Recipe:
    """Write the weights, and the recipe that names their hash: from now on the run loads.

    cpu_seconds  that this sitting took; those of earlier ones are added.
    """
    tensors = weights_and_averages(trained.model, trained.averaged)
    if across.rank() != 0:
        return recipe
    if recipe.adapter is not None:
        tensors = adapting.small(tensors, weights(parent_of(recipe, folder).model))
    written = save_tensors(folder / WEIGHTS, tensors)
    recipe = replace(
        recipe,
        files={
            **recipe.files,
            WEIGHTS: written,
            **{f"{FOLDER}/{p.name}": sha256(p) for p in snapshots(folder).values()},
        },
        cost={
            "steps": trained.steps,
            "examples": trained.examples,
            "seconds": round(trained.seconds, 3),
            "cpu_seconds": round(trained.earlier_cpu + cpu_seconds, 3),
            "parameters": parameters(trained.model),
        },
        ended=trained.ended,
        privacy=trained.private,
        verdicts=tuple(dataclasses.asdict(verdict) for verdict in trained.verdicts),
    )
    recipe.write(folder)
    return recipe


def describe(recipe: Recipe, loaded: Loaded, model: Any, codec: Coded | None = None) -> list[str]:
    """What a run is about to do, in plain lines."""
    counts, space = recipe.data["counts"], recipe.space
    shapes = ", ".join(f"{name} {'x'.join(map(str, f.shape)) or 'number'}" for name, f in space.fields.items())
    if loaded.table is not None:
        shapes = f"{len(loaded.table.parts)} columns in {len(space.fields)} fields ({space.measure})"
    labels = f", {len(space.classes)} classes" if hasattr(space.y, "names") else ""
    training = recipe.training
    wanted = {"steps": training.steps, "minutes": training.minutes, "examples": training.examples}
    budget = " or ".join(f"{v:g} {n}" for n, v in wanted.items() if v is not None)
    # weights, gradients, Adam's two moments and the average: five numbers a parameter
    memory = 5 * 4 * parameters(model) / 2**20
    cost = [
        f"{parameters(model):,} parameters, about {memory:.1f} MB with optimiser and average",
        f"{budget}, {training.batch} examples a step, seed {training.seed};"
        f" expected: {expected_time(recipe, (loaded if codec is None else codec.codes).train)}",
    ] if isinstance(model, Learner) else [
        f"{parameters(model):,} numbers, learnt in closed form or by the family's own iteration;"
        f" seed {training.seed}"
    ]  # fmt: skip
    return [
        f"{recipe.family} on {recipe.data['name']}: {loaded.modality}, {shapes}{labels}",
        *loaded.notes,
        *(
            []
            if codec is None
            else [
                f"of their codes by {codec.run.path} ({codec.run.recipe.family}):"
                f" {'x'.join(map(str, codec.space.only.shape)) or 'a number'} each"
            ]
        ),
        f"{counts['train']:,} examples to learn from, {counts['held_out']:,} held out to judge by",
        *cost,
        *_promise(training),
    ]


def _promise(training: Training) -> list[str]:
    """What a private run will give away, in a line."""
    if training.private is None:
        return []
    p = training.private
    return [
        f"private: epsilon = {p.epsilon:g} at delta = {p.delta:g}, gradients of single examples cut to {p.clip:g};"
        " nothing is counted or measured of the data, and losses are not logged"
    ]


def _watch_every(training: Training) -> int:
    """Steps between two looks of the monitors: twenty looks at a run, none rarer than every 500 steps."""
    steps = training.steps or (training.examples or 10_000 * training.batch) // training.batch
    return max(20, min(500, steps // 20))


def parameters(model: Any) -> int:
    """Number of learnable numbers in a model: its parameters, and the buffers of one that takes no steps."""
    found = sum(p.numel() for p in model.parameters())
    return found if isinstance(model, Learner) else found + sum(t.numel() for t in model.buffers())


def expected_time(recipe: Recipe, data: Data) -> str:
    """How long the training will take, from the first steps of a copy of it, in words."""
    training = recipe.training
    if training.steps is None and training.examples is None:
        return f"{training.minutes:g} minutes"
    trial = FAMILIES[recipe.family].build(recipe.config, recipe.modelled, rng=training.seed)
    tried = 4
    settings = dataclasses.replace(training, steps=tried, minutes=None, examples=None, save_seconds=None)
    train(trial, data, dataclasses.replace(settings, steps=1))  # the first step pays for what is set up once
    began = time.perf_counter()
    train(trial, data, settings)
    each = (time.perf_counter() - began) / tried
    steps = min(
        training.steps if training.steps is not None else 1 << 62,
        -(-training.examples // training.batch) if training.examples is not None else 1 << 62,
    )
    seconds = each * steps
    if training.minutes is not None:
        seconds = min(seconds, training.minutes * 60)
    return f"about {seconds:.0f} s" if seconds < 120 else f"about {seconds / 60:.0f} minutes"


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
