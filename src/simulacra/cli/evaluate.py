"""``simulacra evaluate RUN|FOLDER|ARRAY|MODULE:FUNCTION``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console

from simulacra.cli.parse import JsonFlag, parse, positionals
from simulacra.cli.words import Loading, say, warn
from simulacra.core import across
from simulacra.core.batch import Batch
from simulacra.core.capabilities import Codec, Sampler, require
from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical
from simulacra.evaluation.annealed import Settings, figures_of_annealing, from_posterior, from_prior
from simulacra.evaluation.every import FURTHER
from simulacra.evaluation.extractors import Extractor
from simulacra.evaluation.judge import LEAST, MOST, figures_of_part, frechet_of_all
from simulacra.evaluation.molecules import figures_of_molecules
from simulacra.evaluation.music import figures_of_tunes
from simulacra.evaluation.observed import Observed
from simulacra.evaluation.prediction import prediction, token_rows
from simulacra.evaluation.report import figures_to_json, text_table
from simulacra.evaluation.streaming import Part, of_data, of_model
from simulacra.evaluation.tables.judged import figures_of_rows
from simulacra.evaluation.tasks import convolutional, labelled, logistic, tasks
from simulacra.evaluation.texts import figures_of_texts
from simulacra.mathematics.annealing import Annealing
from simulacra.modalities.molecules.reading import read_drawn
from simulacra.modalities.music.source import read_tunes
from simulacra.modalities.music.tunes import Tune
from simulacra.modalities.sources import Loaded
from simulacra.modalities.tables.encoding import TableEncoding
from simulacra.modalities.tables.reading import is_table, read_table
from simulacra.modalities.text import read_samples_of_text, texts_of
from simulacra.modalities.tokens import Encoding
from simulacra.runs import Run, load
from simulacra.runs.candidates import candidate, is_function, reference
from simulacra.runs.extractors import extractors_for, named_extractors
from simulacra.runs.pages import write_report
from simulacra.runs.recipe import NAME, read
from simulacra.runs.run import MOLECULES, TEXTS, learned_texts, tunes_reader
from simulacra.runs.tables import frame_of
from simulacra.training.engine import join

TASK_SAMPLES = 10_000  # that a classifier learns from or is tried on
WHAT = "RUN|FOLDER|ARRAY|MODULE:FUNCTION"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Loading):
    """What to judge by.

    Attributes:
        real: what is judged against: a path, a known name, a run (its data) or MODULE:FUNCTION. A run knows its own.
        n: number of samples to look at; as many as are held out, to 10,000, unless given.
        extractor: the features to compare, with commas between several: pixels, classifier, regressor (where
            labels are numbers), encoder (trained without labels), inception=FILE, dinov2=FOLDER, clip=FOLDER. What
            suits the data unless given.
        all: also the figures that are rarer or slower, and those of every class.
        tasks: also what samples are good for: a classifier learns from them and is tried on real data, the other way
            round, and from both; minutes. Of text, molecules and music: n-grams learn to predict the next token.
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
    extractor: str | None = None
    all: bool = False
    tasks: bool = False
    seed: int = 0
    k: int | None = None
    ais: int | None = None
    ais_n: int = 100
    sigma: float | None = None
    json: JsonFlag = False


def main(arguments: Sequence[str]) -> None:
    """Figures with intervals, of a run or of any samples: on disk, or made by a Python function.

    Under ``torchrun`` each process looks at its share of the samples; the figures are the same.

    MODULE:FUNCTION is called as function(n), with seed= or rng= where it takes them, and returns an array of examples
    or (examples, labels); without arguments, it returns a model that has sample(n, rng=...).
    """
    what, rest = positionals(arguments, (WHAT,), "evaluate")
    options = parse(Options, rest, verb=f"evaluate {WHAT}")
    join("cpu")  # features are gathered on the CPU, wherever a model draws
    own = (Path(what[0]) / NAME).exists() and (options.real is None or _imported_text(what[0]))
    figures = _of_run(what[0], options) if own else _of_samples(what[0], options)
    if across.rank() != 0:
        return
    if options.json:
        print(figures_to_json(figures))
    else:
        Console().print(text_table(figures))


def _imported_text(path: str) -> bool:
    """Whether a run is of text that was not learnt here: it is judged by text that somebody gives."""
    about = read(Path(path)).data
    return not about["source"] and about["modality"] == "text"


def _of_run(path: str, options: Options) -> list[Figure]:
    run = load(path)
    if options.real is not None:
        run = run.judged_by(options.real, **options.options())
    figures = run.evaluate(
        n=options.n,
        seed=options.seed,
        extractors=None if options.extractor is None else _extractors(run.data(), options),
        further=FURTHER if options.all else (),
        target=options.target_column,
        **({} if options.k is None else {"k": options.k}),
    )
    if options.tasks and run.table is None:
        model = require(run.model, Sampler, "tasks")
        loaded = run.data()
        if loaded.train.space.layout == "sequence":
            drawn = run.sample(min(TASK_SAMPLES, len(loaded.train)), seed=options.seed)
            figures += _predicted(token_rows(drawn, _end(loaded)), loaded, options)
        else:
            figures += _tasks(of_model(model, Rng(options.seed)("tasks")), TASK_SAMPLES, loaded, options)
    if options.ais is not None:
        figures += _annealed(run, options, options.ais)
    if across.rank() == 0:
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


def _of_samples(text: str, options: Options) -> list[Figure]:
    if not is_function(text) and not Path(text).exists():
        raise ValueError(
            f"{text} does not exist; expected a run, a folder of pictures, .npy, .npz, texts, molecules, tunes or"
            " MODULE:FUNCTION"
        )
    for name in ("k", "ais", "sigma"):
        if getattr(options, name) is not None:
            raise ValueError(f"--{name} is of a run's likelihood on its own data; leave it out, or leave --real out")
    if options.real is None:
        raise ValueError(f"samples are judged against real data; say which with --real DATA ({text} is no run)")
    loaded = reference(options.real, **options.options())
    if loaded.table is not None:
        return _of_rows(text, loaded, loaded.table, options)
    if (tunes := tunes_reader(loaded.modality, loaded.music)) is not None:
        return _of_tunes(text, loaded, tunes, options)
    if loaded.encoding is not None:
        of = _of_molecules if loaded.modality == "molecules" else _of_texts
        return of(text, loaded, loaded.encoding, options)
    real = min(MOST, len(loaded.held_out))
    # what is drawn at will is drawn as often as there are real examples; of what lies on disk, all is looked at
    n = options.n or (MOST if _on_disk(text) else max(LEAST, real))
    found = candidate(text, loaded.train.space, n=n, seed=options.seed)
    extractors = _extractors(loaded, options)
    figures = figures_of_part(
        found.part,
        found.n,
        loaded.held_out,
        m=real,
        train=loaded.train,
        extractors=extractors,
        rng=options.seed,
        further=FURTHER if options.all else (),
    )
    if options.tasks:
        figures += _tasks(found.part, min(found.n, TASK_SAMPLES), loaded, options)
    if found.there > found.n:
        everything = candidate(text, loaded.train.space, n=found.there, seed=options.seed)
        figures += frechet_of_all(
            everything.part, found.there, loaded.held_out, extractors=extractors, seed=options.seed
        )
    return figures


def _of_texts(text: str, loaded: Loaded, encoding: Encoding, options: Options) -> list[Figure]:
    held = loaded.held_out
    real = texts_of(held.batch(torch.arange(len(held)), Rng(0)), encoding)
    if is_function(text):
        raise ValueError(f"{text} is a function, and texts are read from files; write them to FILE.txt or FILE.jsonl")
    if _on_disk(text):
        fake = read_samples_of_text(Path(text))
    else:
        run = load(text)
        fake = run.texts(run.sample(options.n or TEXTS, seed=options.seed))
    figures = figures_of_texts(fake, real, train=learned_texts(loaded), seed=options.seed)
    return figures + _predicted_texts(fake, encoding, loaded, options)


def _of_tunes(text: str, loaded: Loaded, tunes: Callable[[Batch], list[Tune]], options: Options) -> list[Figure]:
    if is_function(text):
        raise ValueError(f"{text} is a function, and tunes are read from files; write them to a folder of .mid")
    real, train = (tunes(d.batch(torch.arange(len(d)), Rng(0))) for d in (loaded.held_out, loaded.train))
    if _on_disk(text):
        fake = read_tunes(Path(text))
    else:
        run = load(text)
        fake = run.tunes(run.sample(options.n or TEXTS, seed=options.seed))
    if options.tasks:
        raise ValueError("--tasks on tunes is of a run and its own data; leave --real out, or leave --tasks out")
    return figures_of_tunes(fake, real, train=train, seed=options.seed)


def _of_molecules(text: str, loaded: Loaded, encoding: Encoding, options: Options) -> list[Figure]:
    held = loaded.held_out
    count = options.n or MOLECULES
    if is_function(text):
        raise ValueError(f"{text} is a function, and molecules are read from files; write them to FILE.smi or FILE.csv")
    if _on_disk(text):
        fake = read_drawn(Path(text))
        count = max(count, len(fake))
    else:
        run = load(text)
        fake = run.texts(run.sample(count, seed=options.seed))
    some = Rng(options.seed)("held out").permutation(len(held))[:count]
    real = texts_of(held.batch(some, Rng(0)), encoding)
    figures = figures_of_molecules(fake, real, train=learned_texts(loaded), seed=options.seed)
    return figures + _predicted_texts(fake, encoding, loaded, options)


def _of_rows(text: str, loaded: Loaded, table: TableEncoding, options: Options) -> list[Figure]:
    if not is_table(Path(text)):
        raise ValueError(f"{text}: rows are judged from a file; expected a .csv or a .parquet")
    fake = read_table(text).frame
    real, train = frame_of(loaded.held_out, table), frame_of(loaded.train, table)
    return figures_of_rows(fake, real, train, table.schema, target=options.target_column, rng=options.seed)


def _tasks(part: Part, n: int, loaded: Loaded, options: Options) -> list[Figure]:
    space = loaded.train.space
    n = min(n, len(loaded.train))
    fake = labelled(part, n, "samples")
    train = labelled(*of_data(loaded.train, n, Rng(options.seed)("train")), "real data")
    held = labelled(*of_data(loaded.held_out, TASK_SAMPLES, Rng(options.seed)("held out")), "held-out data")
    learner = convolutional if space.layout == "grid" else logistic
    return tasks(fake, train, held, classes=len(space.classes), learner=learner, rng=options.seed)


def _predicted_texts(texts: Sequence[str], encoding: Encoding, loaded: Loaded, options: Options) -> list[Figure]:
    """What texts are good for, cut into the tokens of the data; nothing unless tasks are asked for."""
    if not options.tasks:
        return []
    ends = [_end(loaded)] if loaded.train.space.only.varying else []
    rows, lost = list[list[int]](), list[str]()
    for text in texts:
        try:
            rows.append([*encoding.encode(text).tolist(), *ends])
        except ValueError as error:
            lost.append(str(error))
    if lost:
        warn(f"{len(lost):,} of {len(texts):,} samples cannot be written in the data's {encoding.words}, so nothing"
             f" learns from them; the first: {lost[0]}")  # fmt: skip
    return _predicted(rows, loaded, options)


def _predicted(fake: Sequence[Sequence[int]], loaded: Loaded, options: Options) -> list[Figure]:
    """What sequences of tokens are good for: n-grams learn from them and predict held-out ones."""
    end = _end(loaded)
    train, held = (
        token_rows(data.batch(Rng(options.seed)(name).permutation(len(data))[:TASK_SAMPLES], Rng(0)), end)
        for name, data in (("train", loaded.train), ("held out", loaded.held_out))
    )
    return prediction(fake, train, held, k=end + 1, rng=options.seed)


def _end(loaded: Loaded) -> int:
    """What stands for the end of a sequence: the number after those of all tokens."""
    field = loaded.train.space.only
    if not isinstance(field, Categorical):
        raise ValueError(f"next tokens are predicted for sequences of tokens, not of {field}; leave --tasks out")
    return field.k


def _on_disk(text: str) -> bool:
    return Path(text).exists() and not (Path(text) / NAME).exists()


def _extractors(loaded: Loaded, options: Options) -> list[Extractor]:
    if options.extractor is None:
        return extractors_for(loaded)
    return named_extractors(loaded, [name for name in options.extractor.split(",") if name])
