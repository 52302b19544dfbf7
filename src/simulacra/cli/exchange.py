"""``merge``, ``export`` and ``import``: a run for others to read, what others wrote as a run, adapters merged away."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from simulacra.cli.parse import parse, positionals
from simulacra.cli.words import say
from simulacra.core.capabilities import Sampler
from simulacra.core.checkpoint import digest
from simulacra.core.space import Classes
from simulacra.runs import load
from simulacra.runs.exchange import read_diffusers, write_diffusers
from simulacra.runs.graphs import write_onnx
from simulacra.runs.hub import is_language_model, read_language_model
from simulacra.runs.recipe import NAME
from simulacra.runs.transfer import write_imported, write_merged

FORMATS = ("diffusers", "onnx")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Merging:
    """Where to.

    Attributes:
        out: the new run directory.
    """

    out: Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exporting:
    """Where to, and how exactly.

    Attributes:
        out: the new directory.
        dtype: of the weights there.
    """

    out: Path
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Graph:
    """Where to.

    Attributes:
        out: the new file.
    """

    out: Path = Path("model.onnx")


def main_merge(arguments: Sequence[str]) -> None:
    """The same model as a run that stands on no other."""
    found, rest = positionals(arguments, ("RUN",), "merge")
    options = parse(Merging, rest, verb="merge RUN")
    run = write_merged(load(found[0]), options.out)
    say(f"wrote {run.path}: the same outputs, standing on no other run")


def main_export(arguments: Sequence[str]) -> None:
    """A run as others read it: a directory of diffusers, or an ONNX graph of a generator."""
    found, rest = positionals(arguments, ("FORMAT", "RUN"), "export")
    if found and found[0] not in FORMATS:
        raise ValueError(f"no format {found[0]!r} to export to; expected one of {', '.join(FORMATS)}")
    if found and found[0] == "onnx":
        _graph(found[1], parse(Graph, rest, verb="export onnx RUN").out)
        return
    options = parse(Exporting, rest, verb="export diffusers RUN")
    write_diffusers(load(found[1]).model, options.out, dtype=getattr(torch, options.dtype))
    say(f"wrote {options.out}: its README.md says how to draw from it")


def _graph(path: str, out: Path) -> None:
    run = load(path)
    recipe = digest(run.path / NAME) if (run.path / NAME).is_file() else ""
    apart = write_onnx(run.model, out, {"family": run.recipe.family, "recipe": recipe})
    size = ", ".join(map(str, run.model.latent.only.shape))
    labels = ", y (batch,)" if isinstance(run.model.space.y, Classes) else ""
    say(f"wrote {out}: inputs z (batch, {size}){labels}; onnxruntime is within {apart:.1g} of torch")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Importing(Merging):
    """Where to, and for which pictures.

    Attributes:
        size: side of the pictures that an AutoencoderKL is to encode; that of its config.json unless given.
    """

    size: int | None = None


def main_import(arguments: Sequence[str]) -> None:
    """A directory of diffusers or transformers as a run: a UNet2DModel, with its scheduler where there is one, an
    AutoencoderKL, or a language model of the layout gpt2.
    """
    found, rest = positionals(arguments, ("DIR",), "import")
    options = parse(Importing, rest, verb="import DIR")
    folder = Path(found[0])
    if is_language_model(folder):
        _language_model(folder, options)
        return
    recipe, model, notes = read_diffusers(folder, size=options.size)
    for note in notes:
        say(note)
    run = write_imported(recipe, model, folder, options.out)
    then = (
        f"draw from it with: simulacra sample {run.path} -n 64 --out samples.png"
        if isinstance(run.model, Sampler)
        else f"learn its codes of your pictures with: simulacra fit diffusion DATA --codec {run.path}"
    )
    say(f"wrote {run.path}; {then}")


def _language_model(folder: Path, options: Importing) -> None:
    if options.size is not None:
        raise ValueError(f"{folder} is a model of text, which has no size; leave --size out")
    recipe, model, encoding, notes = read_language_model(folder)
    for note in notes:
        say(note)
    run = write_imported(recipe, model, folder, options.out, encoding)
    say(f'wrote {run.path}; go on from a text with: simulacra sample {run.path} --prompt "ONCE"')
    say(f"fine-tune it with: simulacra fit transformer DATA --from {run.path} --adapter LoRA")
