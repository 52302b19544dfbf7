"""``simulacra evaluate RUN|FOLDER|ARRAY``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console

from simulacra.cli.parse import JsonFlag, parse, positionals
from simulacra.cli.words import Loading, say, warn
from simulacra.core.capabilities import Codec
from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation.annealed import Settings, figures_of_annealing, from_posterior, from_prior
from simulacra.evaluation.extractors import values
from simulacra.evaluation.judge import figures_of_samples
from simulacra.evaluation.observed import Observed
from simulacra.evaluation.report import figures_to_json, text_table
from simulacra.evaluation.texts import figures_of_texts
from simulacra.mathematics.annealing import Annealing
from simulacra.modalities.samples import read_samples
from simulacra.modalities.sources import open_data
from simulacra.modalities.text import read_samples_of_text, texts_of
from simulacra.runs import Run, load
from simulacra.runs.extractors import extractors_for
from simulacra.runs.pages import write_report
from simulacra.runs.recipe import NAME
from simulacra.runs.run import learned_texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Loading):
    """What to judge by.

    Attributes:
        real: the data that samples from elsewhere are judged against: a path or a known name. A run knows its own.
        n: number of samples to draw from a run; as many as are held out, to 10,000, unless given.
        seed: of the samples that are drawn.
        k: codes drawn an example for an importance-weighted bound of the likelihood; 1 (the ELBO) unless given.
        ais: temperatures of annealed importance sampling, 500 or more, where the model has a latent variable: log p
            from below on held-out examples, and from both sides on the model's own.
        ais_n: examples to anneal; each costs thousands of passes through the decoder.
        sigma: deviation of the Gaussian noise through which ais sees what a generator draws, in units of the data;
            needed where the model's decoder is no distribution.
        json: print the figures as JSON.
    """

    real: str | None = None
    n: Annotated[int | None, tyro.conf.arg(aliases=["-n"])] = None
    seed: int = 0
    k: int | None = None
    ais: int | None = None
    ais_n: int = 100
    sigma: float | None = None
    json: JsonFlag = False


def main(arguments: Sequence[str]) -> None:
    """Figures with intervals, of a run or of any samples."""
    what, rest = positionals(arguments, ("RUN|FOLDER|ARRAY",), "evaluate")
    options = parse(Options, rest, verb="evaluate RUN|FOLDER|ARRAY")
    figures = _of_run(what[0], options) if (Path(what[0]) / NAME).exists() else _of_samples(what[0], options)
    if options.json:
        print(figures_to_json(figures))
    else:
        Console().print(text_table(figures))


def _of_run(path: str, options: Options) -> list[Figure]:
    run = load(path)
    if options.real is not None:
        raise ValueError("a run is judged on the held-out part of its own data; leave --real out, or give its samples")
    figures = run.evaluate(n=options.n, seed=options.seed, **({} if options.k is None else {"k": options.k}))
    if options.ais is not None:
        figures += _annealed(run, options, options.ais)
    (warn if options.json else say)(f"wrote {write_report(run, figures=figures)}")
    return figures


def _annealed(run: Run, options: Options, steps: int) -> list[Figure]:
    """Likelihoods by annealing; with sigma, those of the model seen through Gaussian noise."""
    model = run.model if options.sigma is None else Observed(run.model, options.sigma)
    near = isinstance(model, Codec)
    settings = Settings(annealing=Annealing(steps=steps), start=from_posterior if near else from_prior)
    return figures_of_annealing(
        model, run.data().held_out, n=options.ais_n, rng=Rng(options.seed)("anneal"), settings=settings
    )


def _of_samples(path: str, options: Options) -> list[Figure]:
    if not Path(path).exists():
        raise ValueError(f"{path} does not exist; expected a run, a folder of pictures, .npy, .npz or texts")
    if options.real is None:
        raise ValueError(f"samples are judged against real data; say which with --real DATA ({path} is no run)")
    loaded = open_data(options.real, **options.options())
    if loaded.encoding is not None:
        fake, held = read_samples_of_text(Path(path)), loaded.held_out
        real = texts_of(held.batch(torch.arange(len(held)), Rng(0)), loaded.encoding)
        return figures_of_texts(fake, real, train=learned_texts(loaded), seed=options.seed)
    samples = read_samples(path, loaded.train.space)
    fake = samples.batch(torch.arange(len(samples)), Rng(0)).x
    real = values(loaded.held_out, len(loaded.held_out), Rng(options.seed)("held out"))
    train = values(loaded.train, min(len(loaded.train), 60_000), Rng(options.seed)("train"))
    return figures_of_samples(fake, real, train=train, extractors=extractors_for(loaded), seed=options.seed)
