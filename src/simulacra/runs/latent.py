"""Runs that stand on another: a codec is copied into parts/codec/, and a family learns how its codes are spread."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Data, Stored
from simulacra.core.capabilities import Codec, require
from simulacra.core.checkpoint import digest, told, write
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Continuous, Space
from simulacra.evaluation.likelihood import device_of, resting
from simulacra.modalities.sources import Loaded
from simulacra.nets.through import Through, drawn, through
from simulacra.runs.recipe import NAME
from simulacra.runs.run import PARTS, WEIGHTS, Run, load

BATCH = 256  # examples encoded at a time


@dataclass(frozen=True)
class Coded:
    """A codec's run, and data as its codes.

    codes  the data for a model of the codes: its training and held-out parts in the latent space.
    """

    run: Run
    codes: Loaded

    @property
    def space(self) -> Space:
        """Of the codes: the codec's latent space with the labels of the data, and the codes' own centre and scale."""
        return self.codes.train.space

    def join(self, inner: Any) -> Through:
        """A model of the codes as one of the data; the codec goes where that model is, as a copy in its precision."""
        weight = next(inner.parameters(), torch.empty(0))
        return through(copy.deepcopy(self.run.model).to(weight.device, weight.dtype), inner).eval()

    def keep(self, folder: Path) -> dict[str, str]:
        """Copy what loading the codec needs into parts/codec/ of a run; the files' SHA-256 by name."""
        files: dict[str, str] = {}
        for source in wanted(self.run.path):
            name = Path(PARTS) / "codec" / source.relative_to(self.run.path)
            target = folder / name
            if target.resolve() != source.resolve():
                with told(f"copy {source}"):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    content = source.read_bytes()
                write(target, content)
            files[str(name)] = digest(target)
        return files


def wanted(folder: Path) -> list[Path]:
    """The files of a run directory that loading it needs: not its samples, its log or what it would resume from."""
    own = [folder / NAME, folder / WEIGHTS]
    below = [path for name in ("space", PARTS) for path in sorted((folder / name).rglob("*")) if path.is_file()]
    return [*own, *below]


def coded(codec: str | Path, loaded: Loaded, *, rng: Rng | int = 0) -> Coded:
    """Encodes data once by the codec in a run directory: a code drawn for each example from the codec's posterior.

    Drawn rather than the most likely one, so that codes fill the space that decoding was learnt in; their centre and
    scale are taken from all of them, so that a family sees unit deviation (Rombach et al. 2022, appendix G).
    Raises ValueError for a run that is no codec, or that learnt another space.
    """
    run, stream = load(codec), Rng.of(rng)("codes")
    require(run.model, Codec, "a codec of other models")
    theirs, ours = run.model.space, loaded.train.space
    if theirs not in (ours, replace(ours, y=None)):
        raise ValueError(
            f"the codec {codec} learnt {_told(theirs)}, and this data is {_told(ours)};"
            f" fit a codec on it: simulacra fit vae {loaded.source} --out {codec}-2"
        )
    field = run.model.latent.only
    train, held = (_codes(run.model, part, stream(name))
                   for name, part in (("train", loaded.train), ("held out", loaded.held_out)))  # fmt: skip
    if isinstance(field, Continuous):
        assert isinstance(train.x, Tensor)
        x = train.x.double()
        # one centre and scale for all of the code, so that its dimensions keep their proportions
        field = replace(field, centre=float(x.mean()), scale=max(float(x.std()), 1e-6), levels=None)
    space = Space(fields={"code": field}, y=ours.y, measure="latent codes")
    named = {"train": loaded.train.name, "held_out": loaded.held_out.name}
    parts = {
        part: Stored(space=space, x=codes.x, y=codes.y, y_length=codes.y_length, name=named[part])
        for part, codes in (("train", train), ("held_out", held))
    }
    return Coded(run, replace(loaded, train=parts["train"], held_out=parts["held_out"]))


@torch.no_grad()
def _codes(model: Any, data: Data, rng: Rng) -> Batch:
    """Codes, labels and the lengths of these, of all the examples; on the CPU."""
    found: list[Batch] = []
    device = device_of(model)
    with resting(model):
        for index in torch.arange(len(data)).split(BATCH):
            rows = rng.rows(int(index[0]))
            batch = data.batch(index, rows("data")).to(device)
            given = batch.given()
            if model.space.y is None:
                given.pop("y", None)
            z, _ = drawn(model.posterior(batch.x, **given), model.latent, rows("code"))
            found.append(Batch(x=z, y=batch.y, y_length=batch.y_length).to("cpu"))
    return _joined(found)


def _joined(parts: list[Batch]) -> Batch:
    def one(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        if values[0] is None:
            return None
        if isinstance(values[0], Tensor):
            return torch.cat(values)
        return {key: torch.cat([value[key] for value in values]) for key in values[0]}

    return Batch(x=one("x"), y=one("y"), y_length=one("y_length"))


def _told(space: Space) -> str:
    """A space in a few words."""
    fields = ", ".join(
        f"{name} {'x'.join(map(str, f.shape)) or 'number'}"
        f" of {f.k if isinstance(f, Categorical) else f.levels or 'real'} values"
        for name, f in space.fields.items()
    )
    return f"{fields} ({space.measure or 'no measure'}{', with labels' if space.y is not None else ''})"
