"""What can be judged, wherever it comes from: a run, samples on disk, or a Python function that makes them."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simulacra.core.batch import Batch, Stored
from simulacra.core.capabilities import Sampler
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.evaluation.judge import MOST
from simulacra.evaluation.streaming import Part, of_data, of_model
from simulacra.laws import find
from simulacra.modalities.images import picture_field
from simulacra.modalities.samples import is_pictures, read_labelled
from simulacra.modalities.sources import Loaded, open_data
from simulacra.runs.recipe import NAME
from simulacra.runs.run import load


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Samples to be judged, numbered: part(first, last) makes those of these numbers, the same whoever asks.

    n     how many are to be looked at, of ``there``: how many there are (the same for what makes them at will).
    name  what it is called.
    """

    name: str
    part: Part
    n: int
    there: int


def is_function(text: str) -> bool:
    """Whether a text names a Python function, as module:function; a path that exists is a path."""
    module, _, function = text.partition(":")
    return bool(module and function.isidentifier() and not Path(text).exists() and "/" not in text)


def candidate(text: str, space: Space, *, n: int | None = None, seed: int = 0) -> Candidate:
    """What a text names, as samples of a space: a run, a folder, archive or array, or module:function.

    n  how many to look at; None: all there are (of a maker 10,000), to 10,000 chosen at random.
    ValueError for what does not exist, or is not of the space.
    """
    if is_function(text):
        return _made(text, space, MOST if n is None else n, seed)
    path = Path(text)
    if not path.exists():
        raise ValueError(
            f"{text} does not exist; expected a run, a folder of pictures, .npy or .npz, or a function as"
            " module:function"
        )
    if (path / NAME).exists():
        run = load(path)
        if run.recipe.space.fields != space.fields:
            raise ValueError(f"{text} models {_shapes(run.recipe.space)}; the real data is {_shapes(space)}")
        count = MOST if n is None else n
        return Candidate(name=path.name, part=of_model(run.model, Rng(seed)("samples")), n=count, there=count)
    stored, labels = read_labelled(path, space)
    if labels is not None:
        stored = replace(stored, y=labels)
    part, count = of_data(stored, MOST if n is None else n, Rng(seed)("chosen samples"))
    return Candidate(name=path.name, part=part, n=count, there=len(stored))


def reference(text: str, **options: Any) -> Loaded:
    """Real data that a text names: a run's own, a known name, a path, or module:function, which gives an array.

    Of a function's 10,000 examples a tenth is held out by content hash, as of a file's.
    """
    if is_function(text):
        made = _array(find(text), MOST, 0, text)
        return open_array(made, text, **options)
    if (Path(text) / NAME).exists():
        if options:
            raise ValueError(f"{text} is a run, which knows how its data is read; leave {', '.join(options)} out")
        return load(text).data()
    return open_data(text, **options)


def open_array(values: Any, name: str, **options: Any) -> Loaded:
    """An array of examples as data: what ``open_data`` makes of a file that holds it."""
    x, y = _parts(values)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "examples.npz"
        arrays: dict[str, Any] = {"x": x} if y is None else {"x": x, "y": y}
        np.savez(path, **arrays)
        loaded = open_data(str(path), **options)
    return replace(loaded, source=name, notes=(f"made by {name}", *loaded.notes))


def _made(text: str, space: Space, n: int, seed: int) -> Candidate:
    """Samples by a function: of n, or of n and a seed; or without arguments, which makes a Sampler."""
    function = find(text)
    if not _needs_arguments(function):
        model = function()
        if not isinstance(model, Sampler):
            raise ValueError(
                f"{text}() returned {type(model).__name__}; expected a model with sample(n, rng=...), or give the"
                " function an argument n: how many examples to return"
            )
        return Candidate(name=text, part=of_model(model, Rng(seed)("samples")), n=n, there=n)
    stored = _stored(_array(function, n, seed, text), space, text)
    part, count = of_data(stored, n, Rng(seed))
    return Candidate(name=text, part=part, n=count, there=len(stored))


def _needs_arguments(function: Callable[..., Any]) -> bool:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(p.default is p.empty and p.kind not in kinds for p in inspect.signature(function).parameters.values())


def _array(function: Callable[..., Any], n: int, seed: int, text: str) -> Any:
    takes = inspect.signature(function).parameters
    with torch.no_grad():
        made = function(n, **({"seed": seed} if "seed" in takes else {"rng": Rng(seed)} if "rng" in takes else {}))
    if made is None:
        raise ValueError(f"{text}({n}) returned nothing; expected an array of {n} examples, or (examples, labels)")
    return made


def _parts(values: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Examples and their labels, or None, out of an array, a tensor, a batch, or a pair of them."""
    if isinstance(values, Batch):
        values = (values.x, values.y)
    x, y = values if isinstance(values, tuple) and len(values) == 2 else (values, None)
    x, y = (t.detach().cpu().numpy() if isinstance(t, Tensor) else t for t in (x, y))
    return np.asarray(x), None if y is None else np.asarray(y)


def _stored(values: Any, space: Space, text: str) -> Stored:
    """What a function returned, as data of the space: bytes are levels, floats are the space's own values."""
    x, y = _parts(values)
    labels = None if y is None else torch.from_numpy(y.astype(np.int64))
    if not is_pictures(space):
        shape = (len(x), *space.only.shape)
        if x.shape != shape:
            raise ValueError(f"{text} returned an array of shape {x.shape}; expected {shape}")
        return Stored(space=space, x=torch.from_numpy(x.astype(np.float32)), y=labels, name=text)
    field = picture_field(space)
    c, h, w = field.shape
    if x.ndim == 3 and c == 1:
        x = x[:, None]
    if x.ndim == 4 and x.shape[1:] != (c, h, w) and x.shape[1:] == (h, w, c):
        x = np.moveaxis(x, 3, 1)
    if x.shape[1:] != (c, h, w):
        raise ValueError(f"{text} returned pictures of shape {x.shape[1:]}; expected {(c, h, w)}, as the real ones")
    levels = field.levels or 256
    if x.dtype == np.uint8:
        index = np.rint(x * ((levels - 1) / 255)).astype(np.uint8)
    else:
        wide = x.astype(np.float64)
        if not np.isfinite(wide).all():
            bad = int((~np.isfinite(wide)).reshape(len(x), -1).any(1).sum())
            raise ValueError(f"{text}: NaN or infinity in {bad} of {len(x)} pictures; look for a diverged model")
        slack = 0.05 * (field.high - field.low)
        if wide.min() < field.low - slack or wide.max() > field.high + slack:
            raise ValueError(
                f"{text} returned numbers in {wide.min():.3g} .. {wide.max():.3g}; expected {field.low:g} .."
                f" {field.high:g}, the space's own, or bytes (uint8)"
            )
        index = field.index(wide).astype(np.uint8)
    return Stored(space=replace(space, y=space.y if y is not None else None), x=torch.from_numpy(index), y=labels,
                  name=text)  # fmt: skip


def _shapes(space: Space) -> str:
    return ", ".join(f"{name} {f.shape}" for name, f in space.fields.items())
