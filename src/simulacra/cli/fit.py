"""``simulacra fit FAMILY DATA``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from simulacra.cli.parse import parse, positionals
from simulacra.cli.words import Loading, say
from simulacra.core import across
from simulacra.core.capabilities import ConditionalSampler, Sampler
from simulacra.core.space import Space
from simulacra.modalities.captions import is_captions
from simulacra.modalities.sources import open_data
from simulacra.nets.lora import Adapter
from simulacra.recipes.encodings import preferred
from simulacra.recipes.families import FAMILIES
from simulacra.recipes.vocabulary import SETTINGS
from simulacra.runs import Run, load
from simulacra.runs.fitting import fit, home, kept_codec
from simulacra.runs.latent import coded
from simulacra.runs.pages import write_report
from simulacra.runs.run import ENCODING
from simulacra.training.engine import replicate, shard
from simulacra.training.log import TensorBoard
from simulacra.training.progress import Progress
from simulacra.training.settings import PostHoc, Privacy


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How long, how, and where to.

    Attributes:
        steps: budget in optimiser steps.
        minutes: budget in minutes of training; whichever budget is reached first ends the run.
        examples: budget in examples seen.
        seed: every draw of the run is a function of it.
        out: the run directory; runs/FAMILY-DATA unless given.
        resume: go on where the run in that directory left off.
        parent: a run, or a diffusers directory, whose weights and settings to start from.
        adapter: learn only this beside the parent's weights, as "LoRA(rank=8, layers=attention)".
        batch: examples a step, over all processes together; the recipe's unless given.
        snapshots: how often to store averages of the weights, of which `sample --average` makes one of any width.
        precision: of the arithmetic; the recipe's unless given.
        epsilon: train with differential privacy to this epsilon; steps or examples, and a large batch, belong to it.
        delta: of the same; below 1 / (number of examples). 1e-5 unless given.
        clip: largest norm of a single example's gradient in a private run; 1 unless given.
        distribute: with several processes (torchrun -m simulacra fit ...): whole models in each, or parameters sharded.
        codec: the directory of a run that encodes this data (vae, vqvae): what is learnt are its codes.
        tensorboard: write what TensorBoard reads, too, into RUN/tensorboard.
        no_report: leave figures and report.html to `simulacra evaluate`.
    """

    steps: int | None = None
    minutes: float | None = None
    examples: int | None = None
    seed: int | None = None
    out: Path | None = None
    resume: bool = False
    parent: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    adapter: Adapter | None = None
    batch: int | None = None
    snapshots: int | None = None
    precision: Literal["float32", "bfloat16", "float64"] | None = None
    epsilon: float | None = None
    delta: float | None = None
    clip: float | None = None
    distribute: Literal["replicate", "shard"] = "replicate"
    codec: Path | None = None
    tensorboard: bool = False
    no_report: bool = False


def main(arguments: Sequence[str]) -> None:
    """Fit a family on data, and write its report."""
    if {"-h", "--help"} & set(arguments) and (not arguments or arguments[0].startswith("-")):
        say("usage: simulacra fit FAMILY DATA [OPTIONS]   (simulacra fit FAMILY --help lists a family's settings)\n")
        say(f"FAMILY is one of {', '.join(FAMILIES)}; DATA a path or a name in `simulacra data`.")
        return
    (family, *source), rest = positionals(arguments, ("FAMILY", "DATA"), "fit")
    if family not in FAMILIES:
        raise ValueError(f"no family {family!r}; expected one of {', '.join(FAMILIES)}")
    entry = FAMILIES[family]
    # twice: how the data is read must be known before the recipe for it, and that before the settings' defaults
    first = parse(_arguments(entry.config, entry.config()), rest, verb=f"fit {family} DATA", functions=SETTINGS)
    parent = None if first.options.parent is None else load(first.options.parent)
    loaded = open_data(source[0], prefer=preferred(family), **{**_as_its(parent), **first.loading.options()})
    codec = first.options.codec
    if first.options.resume and (own := kept_codec(first.options.out or home(family, loaded))) is not None:
        codec = own
    codes = None if codec is None else coded(codec, loaded)
    space = loaded.train.space if codes is None else codes.space
    if not first.options.resume and (other := _meant(family, first.settings, space, parent)) != family:
        say(f"{family} of such data is {other}; give {family} a setting of its own to keep it")
        family, entry = other, FAMILIES[other]
    config, training = entry.recipe(space, len(loaded.train))
    if parent is not None and parent.recipe.family == family:
        config = parent.recipe.config
    given = parse(_arguments(entry.config, config), rest, verb=f"fit {family} DATA", functions=SETTINGS)
    options: Options = given.options
    changes: dict[str, Any] = {
        name: value for name in ("batch", "precision") if (value := getattr(options, name)) is not None
    }
    if options.snapshots is not None:
        changes["posthoc"] = PostHoc(snapshots=options.snapshots)
    if (guarded := _private(options)) is not None:
        changes["private"] = guarded
    hooks: list[Any] = [Progress()]
    if options.tensorboard:
        hooks.insert(0, TensorBoard((options.out or home(family, loaded)) / "tensorboard"))
    run = fit(
        family,
        loaded,
        out=options.out,
        config=given.settings,
        training=dataclasses.replace(training, **changes),
        steps=options.steps,
        minutes=options.minutes,
        examples=options.examples,
        seed=options.seed,
        resume=options.resume,
        hooks=hooks,
        codec=codes,
        distribute={"replicate": replicate, "shard": shard}[options.distribute],
        parent=parent,
        adapter=options.adapter,
        say=say,
    )
    if across.rank() != 0:
        return
    if run.recipe.ended == "interrupted":
        say(f"stopped and saved; go on with: simulacra fit {family} {source[0]} --resume --out {run.path}")
        return
    if not options.no_report:
        say(f"wrote {write_report(run, say=say)}")
    say(_then(run, source[0]))


def _then(run: Run, data: Any) -> str:
    """What a run is for: the line that draws from it, or that learns from its codes."""
    if isinstance(run.model, (Sampler, ConditionalSampler)):
        return f"draw from it with: {_drawing(run)}"
    return f"learn its codes with: simulacra fit diffusion {data} --codec {run.path}"


def _meant(family: str, settings: Any, space: Space, parent: Run | None) -> str:
    """The family that a bare name stands for with such data; itself where settings or a parent of its own are given."""
    own = settings != FAMILIES[family].config() or (parent is not None and parent.recipe.family == family)
    return family if own else FAMILIES[family].rather(space) or family


def _private(options: Options) -> Privacy | None:
    """The guarantee that is asked for; ValueError where only a part of one is named."""
    parts = {name: value for name in ("delta", "clip") if (value := getattr(options, name)) is not None}
    if options.epsilon is None and parts:
        raise ValueError(f"--{next(iter(parts))} belongs to a private run; give --epsilon with it")
    return None if options.epsilon is None else Privacy(epsilon=options.epsilon, **parts)


def _drawing(run: Run) -> str:
    """The line that draws from a run."""
    y = run.recipe.space.y
    if run.recipe.data["modality"] == "pairs":
        return f'simulacra translate {run.path} "A SENTENCE"'
    if isinstance(y, Space) and not is_captions(y):
        return f"simulacra translate {run.path} INPUT --out translated.png"
    others = {"molecules": "smi", "text": "txt", "music": "mid", "frames": "mid", "tables": "csv"}
    kind = others.get(run.recipe.data["modality"], "png")
    caption = ' --y "A CAPTION"' if isinstance(y, Space) else ""
    return f"simulacra sample {run.path} -n 64{caption} --out samples.{kind}"


# how a parent's data was read, that its child's has to be read likewise
AS_ITS = ("size", "channels", "binarise", "target", "missing", "encode", "schema")


def _as_its(parent: Run | None) -> dict[str, Any]:
    """How a parent's data was read, where data of another kind may have to be read likewise to fit its weights."""
    options = {} if parent is None else parent.recipe.data.get("options", {})
    found = {name: options[name] for name in AS_ITS if name in options}
    if parent is not None and parent.recipe.data.get("modality") == "text" and ENCODING in parent.recipe.files:
        # the same tokens, whatever this text would be cut into
        found |= {"tokens": str((parent.path / ENCODING).resolve())}
        found |= {name: options[name] for name in ("block", "cut") if options.get(name) is not None}
    return found


def _arguments(kind: type[Any], default: Any) -> Any:
    """The arguments of fit for one family, as a dataclass: what to do, how to read, and the family's settings."""

    def part(what: type[Any], value: Any) -> tuple[Any, Any]:
        return Annotated[what, tyro.conf.arg(name="")], dataclasses.field(default=value)

    fields = [
        ("options", *part(Options, Options())),
        ("loading", *part(Loading, Loading())),
        ("settings", *part(kind, default)),
    ]
    return dataclasses.make_dataclass("Fit", fields, frozen=True, kw_only=True)
