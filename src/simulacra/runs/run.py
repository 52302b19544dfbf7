"""A run that was fitted: its model with the averaged weights, and what can be asked of it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Stored
from simulacra.core.capabilities import ConditionalSampler, Sampler, Searcher, require
from simulacra.core.checkpoint import digest, load_tensors, read_json
from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Space
from simulacra.evaluation.extractors import Extractor
from simulacra.evaluation.further import Statistic
from simulacra.evaluation.judge import judge
from simulacra.evaluation.molecules import figures_of_molecules
from simulacra.evaluation.music import figures_of_tunes
from simulacra.evaluation.tables.likelihood import InOwnUnits
from simulacra.evaluation.texts import figures_of_texts
from simulacra.evaluation.translation import figures_of_searching
from simulacra.mathematics.decoding import Legal
from simulacra.modalities import captions
from simulacra.modalities.encodings import encoding_from_json
from simulacra.modalities.music import frames
from simulacra.modalities.music.events import Events
from simulacra.modalities.music.frames import Upwards
from simulacra.modalities.music.grammar import Grammar
from simulacra.modalities.music.source import tunes_of
from simulacra.modalities.music.tunes import Tune
from simulacra.modalities.pairs import encode_sources, source_space
from simulacra.modalities.sources import Loaded, open_data
from simulacra.modalities.tables.encoding import TableEncoding
from simulacra.modalities.tables.reading import Frame
from simulacra.modalities.text import Blocks, texts_of
from simulacra.modalities.tokens import Encoding
from simulacra.nets.through import Through, through
from simulacra.recipes.families import FAMILIES
from simulacra.runs import adapting, exchange, hub
from simulacra.runs.extractors import extractors_for
from simulacra.runs.recipe import NAME, Recipe, read
from simulacra.runs.tables import figures_of_table
from simulacra.training.loop import Trained
from simulacra.training.posthoc import synthesise
from simulacra.training.state import load as load_weights
from simulacra.training.state import restore, weights
from simulacra.uses import reject as rejection

if TYPE_CHECKING:
    from simulacra.responsibility.latent import LatentMark

WEIGHTS = "model.safetensors"
MISSED = 0.1  # largest share of an average's profile that may be missing from one that is made afterwards
PARTS = "parts"
ENCODING = "space/encoding.json"
TABLE = "space/table.json"
MUSIC = "space/music.json"
TEXTS = 200  # drawn and held-out texts that are compared, where nobody says how many
MOLECULES = 1_000  # and molecules


class Run:
    """A run directory and the model in it.

    path     the directory.
    recipe   what the run is made of.
    model    carries the averaged weights, in eval mode.
    trained  what the training came to, for a run that was just fitted; None for one that was loaded.
    """

    def __init__(self, path: Path, recipe: Recipe, model: Any, trained: Trained | None = None) -> None:
        self.path, self.recipe, self.model, self.trained = path, recipe, model, trained
        self._loaded: Loaded | None = None
        self._table: TableEncoding | None = None

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, family={self.recipe.family!r}, data={self.recipe.data.get('name')!r})"

    def sample(
        self,
        n: int,
        *,
        y: str | int | Tensor | None = None,
        seed: int = 0,
        guide: Run | None = None,
        mark: LatentMark | None = None,
        message: Sequence[bool] = (),
        reject: float | None = None,
        **options: Any,
    ) -> Batch:
        """n new examples. y: a class by name or number, an int64 tensor (n,), or None: drawn from the labels' marginal;
        of a run of captions or sentences, one for all of them, of one that is given pictures, n of them.

        guide    a run of a weaker model of the same data: with ``guidance=`` above 1 what it does is done less of.
        mark     to put into the latent that is drawn (``responsibility.latent``), with up to 16 bits of a message.
        reject   percentile of ``uses.reject``: samples are kept by what the critic makes of them, 80 is usual.
        options  the family's own (``temperature=`` ...).

        Raises ValueError for a class that does not exist, for a guide that cannot guide this model, and for samples in
        which a mark does not stay.
        """
        if n < 1:
            raise ValueError(f"n is how many examples to draw, at least 1; got {n}")
        if guide is not None:
            if _codec_files(self) != _codec_files(guide):
                raise ValueError(f"{guide.path} stands on another codec than {self.path}; expected the same codes")
            options["guide"] = _guide(self.model, guide, options)
        given, rng = self.labels(y, n), Rng(seed)("sample")
        if mark is not None:
            if reject is not None:
                raise ValueError("rejection draws again, and a mark numbers what is drawn; leave one of them out")
            from simulacra.responsibility.latent import checked

            signed = mark.rng(rng, message)
            batch = self._drawn(n, given, signed, options)
            checked(self.model, batch.x, signed)
            return batch
        if reject is not None:
            if given is not None and not isinstance(given, Tensor):
                raise ValueError("rejection is of models of classes or of nothing; this one is given more")
            with torch.no_grad():
                return rejection.reject(self.model, n, y=given, percentile=reject, options=options, rng=rng)
        return self._drawn(n, given, rng, options)

    def _drawn(self, n: int, given: Tensor | None, rng: Rng, options: dict[str, Any]) -> Batch:
        """n examples of what they are given."""
        with torch.no_grad():
            if isinstance(self.model, ConditionalSampler) and not isinstance(self.model, Sampler):
                if given is None:
                    what = "a caption" if captions.is_captions(self.recipe.space.y) else "what it is given"
                    raise ValueError(f"this model draws for a condition: y, {what}, is needed")
                return self.model.sample_given(given, rng=rng, **options)
            draw = require(self.model, Sampler, "sample").sample
            if "legal" in inspect.signature(draw).parameters:
                # what is drawn is to be music; likelihoods know no grammar, they are of all sequences
                options.setdefault("legal", self.grammar())
            return draw(n, y=given, rng=rng, **options)

    def averaged(self, width: float) -> Run:
        """The run with weights averaged as widely as asked, made of those it stored (``training.posthoc``).

        width  standard deviation of the average as a share of the training: 0.05 to 0.15 are usual.

        ValueError where none were stored, for a width no average has, or one that those stored cannot make.
        """
        made, missed = synthesise(self.path, width, digests=self.recipe.files)
        if missed > MISSED:
            raise ValueError(
                f"the averages that {self.path} stored make none of width {width:g} ({missed:.0%} of it would be"
                " missing); take a width nearer to theirs, or fit with more snapshots"
            )
        model = copy.deepcopy(self.model)
        load_weights(learnt(model), {**weights(learnt(model)), **made})
        return Run(self.path, self.recipe, model)

    def labels(self, y: str | int | Tensor | None, n: int) -> Tensor | None:
        """A class by name or number, or a caption, as n of them; tensors and None as they are."""
        if y is None or isinstance(y, Tensor):
            return y
        space = self.recipe.space
        if captions.is_captions(space.y):
            assert isinstance(space.y, Space)
            return captions.encode([str(y)], space.y.only.shape[0])[0].expand(n, -1)
        if source_space(space) is not None and self.encoding is not None:
            return encode_sources([str(y)], space, self.encoding).expand(n, -1)
        if isinstance(space.y, Space):
            raise ValueError(f"this model is given no words but {space.y.measure or 'values'}; got y={y!r}")
        if not isinstance(self.recipe.space.y, Classes):
            raise ValueError(f"this model was fitted without labels, so it knows no class {y!r}; leave y out")
        return torch.full((n,), self.recipe.space.y.index(y))

    def data(self) -> Loaded:
        """The data it was fitted on, opened again; ValueError where it has changed or is gone."""
        if self._loaded is None:
            if not self.recipe.data["source"]:
                raise ValueError(
                    f"{self.path} was not fitted here, so its data is unknown; give data where it is asked for"
                )
            loaded = open_data(self.recipe.data["source"], **self._options())
            for part in ("train", "held_out"):
                now, then = getattr(loaded, part).fingerprint, self.recipe.data["fingerprints"][part]
                if now != then:
                    raise ValueError(
                        f"the data of this run has changed: {part} of {self.recipe.data['source']} has fingerprint"
                        f" {now[:12]}, expected {then[:12]}; restore the data, or fit again"
                    )
            if self.table is not None and self.table != loaded.table:
                raise ValueError(
                    f"{self.recipe.data['source']} is understood otherwise now than when {self.path} was fitted:"
                    " restore its schema, or fit again"
                )
            self._loaded = loaded
        return self._loaded

    def judged_by(self, source: str, **options: Any) -> Run:
        """The same run, its data text that somebody gives, cut into this run's tokens; ValueError where it is other."""
        about = self.recipe.data["options"]
        given = {name: about[name] for name in ("block", "cut") if name in about}
        loaded = open_data(source, **{**given, "tokens": str(self.path / ENCODING), **options})
        if loaded.train.space.fields != self.recipe.space.fields:
            raise ValueError(f"{source} does not fit {self.path}: it is of other tokens, or of other blocks")
        parts = {"train": loaded.train, "held_out": loaded.held_out}
        data = {
            **self.recipe.data,
            "fingerprints": {name: part.fingerprint for name, part in parts.items()},
            "counts": {name: len(part) for name, part in parts.items()},
            "notes": [*self.recipe.data["notes"], f"judged by {source}", *loaded.notes],
        }
        run = Run(self.path, replace(self.recipe, data=data), self.model, self.trained)
        run._loaded = loaded
        return run

    def _options(self) -> dict[str, Any]:
        """How its data was read; an encoding that came from a file is the one it keeps."""
        found = dict(self.recipe.data["options"])
        if str(found.get("tokens")).endswith(".json"):
            found["tokens"] = str(self.path / ENCODING)
        return found

    @property
    def scorer(self) -> Any:
        """What likelihoods are asked of: the model, or that of its columns in their own units."""
        return self.model if self.table is None else InOwnUnits(self.model, self.table)

    def evaluate(
        self,
        *,
        n: int | None = None,
        seed: int = 0,
        extractors: Sequence[Extractor] | None = None,
        further: Sequence[Statistic] = (),
        target: str | None = None,
        **options: Any,
    ) -> list[Figure]:
        """Every figure that applies to the model, on its data's held-out part.

        extractors  the features to compare; None: what suits the data (``extractors_for``).
        further  statistics beyond the usual ones, such as those of ``evaluation.every.FURTHER``.
        target  of a table: the column that classifiers tell from the others.
        options  what its ``log_likelihood`` offers beside the protocol, such as k for importance-weighted draws.
        """
        loaded = self.data()
        if loaded.table is not None:
            if extractors or further:
                raise ValueError(
                    "rows are judged column by column: no extractor sees them; leave --extractor, --all out"
                )
            stream = Rng(seed)("evaluate")
            return figures_of_table(self.model, loaded, n=n, target=target, rng=stream, options=options)
        figures = judge(
            self.model,
            loaded.held_out,
            train=loaded.train,
            extractors=extractors_for(loaded) if extractors is None else extractors,
            n=n,
            rng=Rng(seed)("evaluate"),
            options=options,
            further=further,
        )
        if (tunes := tunes_reader(loaded.modality, loaded.music)) is not None and isinstance(self.model, Sampler):
            figures += self._tune_figures(loaded, tunes, n or TEXTS, seed)
        if loaded.encoding is not None and isinstance(self.model, Sampler):
            figures += self._text_figures(loaded, n, seed)
        if loaded.encoding is not None and isinstance(self.model, Searcher):
            figures += figures_of_searching(self.model, loaded.held_out, loaded.encoding, n=n)
        return figures

    @property
    def encoding(self) -> Encoding | None:
        """What cuts this run's texts into tokens and puts them together; None where it is not of text."""
        return None if (found := self._kept(ENCODING)) is None else encoding_from_json(found)

    @property
    def table(self) -> TableEncoding | None:
        """What makes rows of this run's examples; None where it is not of a table."""
        if self._table is None and (found := self._kept(TABLE)) is not None:
            self._table = TableEncoding.from_json(found)
        return self._table

    @property
    def music(self) -> Events | None:
        """What makes tunes of this run's events; None where it is not of music."""
        return None if (found := self._kept(MUSIC)) is None else Events.from_json(found)

    def _kept(self, name: str) -> dict[str, Any] | None:
        """A file of the run, if it has it; ValueError where it is not the one that was written."""
        if name not in self.recipe.files:
            return None
        path = self.path / name
        if digest(path) != self.recipe.files[name]:
            raise ValueError(f"{path} is not the file that was written; restore it from a copy, or fit again")
        return read_json(path)

    def grammar(self, room: int | None = None) -> Legal | None:
        """What may come next where examples are music, up to so many tokens; None for everything else."""
        events, frames_of_keys = self.music, self.recipe.data.get("modality") == "frames"
        if events is None and not frames_of_keys:
            return None
        room = self.recipe.space.only.shape[0] if room is None else room
        return Upwards(room=room) if events is None else Grammar(events=events, room=room)

    def tunes(self, batch: Batch) -> list[Tune]:
        """The tunes of a batch of this run's events; ValueError for a run that is not of music."""
        if (read := tunes_reader(self.recipe.data["modality"], self.music)) is None:
            raise ValueError(f"{self.path} is a run of {self.recipe.space.measure}, which is no music")
        return read(batch)

    def rows(self, batch: Batch) -> Frame:
        """The rows of a batch of this run's examples, a DataFrame; ValueError for a run that is not of a table."""
        if self.table is None:
            raise ValueError(f"{self.path} is a run of {self.recipe.space.measure}, which is no table")
        return self.table.decode(batch)

    def texts(self, batch: Batch) -> list[str]:
        """The texts of a batch of this run's tokens; ValueError for a run that is not of text."""
        if self.encoding is None:
            raise ValueError(f"{self.path} is a run of {self.recipe.space.measure}, which are no text")
        return texts_of(batch, self.encoding)

    def _tune_figures(self, loaded: Loaded, tunes: Callable[[Batch], list[Tune]], n: int, seed: int) -> list[Figure]:
        """Of as many held-out and learned pieces as there are, up to n."""
        some = [Rng(seed)("pieces", part).permutation(len(data))[:n]
                for part, data in (("held out", loaded.held_out), ("train", loaded.train))]  # fmt: skip
        real, train = (tunes(data.batch(index, Rng(0)))
                       for data, index in zip((loaded.held_out, loaded.train), some, strict=True))  # fmt: skip
        return figures_of_tunes(self.tunes(self.sample(n, seed=seed)), real, train=train, seed=seed) if n > 2 else []

    def _text_figures(self, loaded: Loaded, n: int | None, seed: int) -> list[Figure]:
        assert loaded.encoding is not None
        molecules = loaded.modality == "molecules"
        # molecules may be more than are held out: how many of 10,000 differ is asked of however few are there
        count = n or MOLECULES if molecules else min(n or TEXTS, len(loaded.held_out))
        if count < 2:
            return []
        fake = self.texts(self.sample(count, seed=seed))
        real = texts_of(loaded.held_out.batch(Rng(seed)("held out").permutation(len(loaded.held_out))[:count], Rng(0)),
                        loaded.encoding)  # fmt: skip
        compare = figures_of_molecules if molecules else figures_of_texts
        return compare(fake, real, train=learned_texts(loaded), seed=seed)


def tunes_reader(modality: str, music: Events | None) -> Callable[[Batch], list[Tune]] | None:
    """What makes tunes of batches of music; None for everything else."""
    if modality == "frames":
        return frames.tunes_of
    return None if music is None else lambda batch: tunes_of(batch, music)


def learned_texts(loaded: Loaded) -> list[str]:
    """The texts that were learned from; running text is one."""
    assert loaded.encoding is not None
    if isinstance(loaded.train, Blocks):
        return [loaded.encoding.decode(loaded.train.tokens.tolist())]
    # as they are, not as a change would show them
    data = replace(loaded.train, change=None) if isinstance(loaded.train, Stored) else loaded.train
    return texts_of(data.batch(torch.arange(len(data)), Rng(0)), loaded.encoding)


def _codec_files(run: Run) -> dict[str, str]:
    return {name: hash_ for name, hash_ in run.recipe.files.items() if name.startswith(f"{PARTS}/")}


def _guide(model: Any, guide: Run, options: Mapping[str, Any]) -> Any:
    """The model of a run that is to guide another; ValueError where it cannot, or would change nothing."""
    draw = getattr(model, "sample", None)
    if draw is None or "guide" not in inspect.signature(draw).parameters:
        raise ValueError(f"{type(model).__name__} is not guided by other models; leave the guide out")
    if options.get("guidance", 1.0) == 1.0:
        raise ValueError("a guide changes nothing at guidance 1; give guidance=2, say")
    return learnt(guide.model)


def learnt(model: Any) -> Any:
    """What a run itself has learnt of its model: the model of codes where it stands on a codec, else all of it."""
    return model.inner if isinstance(model, Through) else model


def load(path: str | Path, *, model: Any = None) -> Run:
    """A run from its directory, or from one of diffusers.

    model  a stranger's model, built as it was when it was fitted, to be filled.

    Raises ValueError for a folder that is no run, is damaged, unfinished, or of a newer format.
    """
    folder = Path(path)
    if not (folder / NAME).is_file() and hub.is_language_model(folder):
        raise ValueError(f"{folder} is a language model as the hub has it; make it a run: simulacra import {folder}"
                         " --out RUN")  # fmt: skip
    if model is None and not (folder / NAME).is_file() and exchange.is_diffusers(folder):
        recipe, model, _ = exchange.read_diffusers(folder)
        return Run(folder, recipe, model)
    recipe = read(folder)
    if model is None:
        if recipe.family not in FAMILIES:
            raise ValueError(
                f"{folder} holds a model of the family {recipe.family!r}, which is not ours; give model="
                " the model to fill, or one of " + ", ".join(FAMILIES)
            )
        model = FAMILIES[recipe.family].build(recipe.config, recipe.modelled)
    if WEIGHTS not in recipe.files or not (folder / WEIGHTS).is_file():
        raise ValueError(f"{folder} has no finished weights; finish it with `simulacra fit --resume --out {folder}`")
    tensors = load_tensors(folder / WEIGHTS, recipe.files[WEIGHTS])
    if recipe.adapter is not None:
        base = weights(parent_of(recipe, folder).model)
        adapting.adapt(model, recipe)
        restore(model, adapting.filled(tensors, model, base))
        adapting.merge(model)
    else:
        restore(model, tensors)
    if isinstance(model, nn.Module):
        model.eval()
    return Run(folder, recipe, model if "codec" not in recipe.parts else through(_codec(folder, recipe), model).eval())


def parent_of(recipe: Recipe, folder: Path) -> Run:
    """The run that a run started from; ValueError where it is gone or no longer what it was."""
    about = recipe.lineage["parent"]
    path = folder / about["path"]
    if not path.exists():
        raise ValueError(f"{folder} stands on {path.resolve()}, which is gone; put it back, or merge first")
    parent = load(path)
    if parent.recipe.files[WEIGHTS] != about["weights"]:
        raise ValueError(f"{folder} stands on {path.resolve()}, which holds other weights now; restore it from a copy")
    return parent


def _codec(folder: Path, recipe: Recipe) -> Any:
    """The codec that a run stands on; ValueError where its files are not those that were copied there."""
    for name, expected in recipe.files.items():
        if name.startswith(f"{PARTS}/") and digest(folder / name) != expected:
            raise ValueError(f"{folder / name} is not the file that was written; restore it from a copy or fit again")
    return load(folder / PARTS / "codec").model
