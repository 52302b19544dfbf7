"""Compress examples with a model of them, without loss: the better the model, the shorter the file.

Two ways, by what the model can do (``uses.schemes``):

``walk``       any ``Stepwise`` model: each element costs -log2 of its probability given those before it.
``bits-back``  any ``Codec`` that is ``Factorised``, its posterior normal at once or group after group (``Successive``):
               an example costs its evidence bound (``uses.bits_back``).

and a backend (``uses.backends``), which turns them into bytes and is named in the file. Both sides ask the model in the
same order, for the same numbers of examples at a time, so that its arithmetic is the same; ``uses.arithmetic`` says
what holds between machines. Every error is a ValueError of one line.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Values, fingerprint
from simulacra.core.capabilities import Labelled, Stepwise, require
from simulacra.core.indices import choices, from_indices, to_indices
from simulacra.core.space import Classes, Continuous, Space
from simulacra.evaluation.likelihood import resting
from simulacra.mathematics.coding import Whole, shares
from simulacra.uses.arithmetic import ARITHMETICS, PROBE, Arithmetic, Rounding, native
from simulacra.uses.backends import BACKENDS, Backend, rans
from simulacra.uses.bits_back import AT_ONCE
from simulacra.uses.checks import check_examples, check_labels, device_of, space_of
from simulacra.uses.classify import scores
from simulacra.uses.container import pack, unpack
from simulacra.uses.schemes import Scheme, plan_of, scheme_of

BATCH = 64  # examples the model is asked for at a time; fewer where they are large


def compress(
    model: object,
    x: Values,
    *,
    y: Tensor | None = None,
    arithmetic: Arithmetic = native,
    backend: Backend = rans,
    batch: int | None = None,
) -> bytes:
    """Examples as the bytes of a file that ``decompress`` reads with the same model.

    y        int64 (n,), kept beside the examples. A model of classes without y takes the class it finds likeliest.
    backend  ``rans``, or ``constriction`` for exact densities where that library is installed.
    batch    examples the model is asked for at a time; None chooses.
    Raises ValueError for a model that is neither Stepwise nor a Factorised Codec, values off their levels, another
    shape or dtype, lengths that vary, classes that do not exist, and a backend that cannot code this model.
    """
    space = _codable(model)
    n = check_examples(space, x)
    check_labels(space, y, n)
    if isinstance(space.y, Classes) and y is None:
        y = scores(model, x).nats.argmax(1)
    index = to_indices(space, Batch(x=x).to("cpu").x).numpy()
    labels = None if y is None else y.cpu().numpy()
    size = batch or max(1, min(BATCH, AT_ONCE // _held(model, space)))
    rounding = Rounding(arithmetic)
    with arithmetic.model(model) as asked, resting(asked), torch.no_grad():
        plan = plan_of(asked, index[:size], None if labels is None else labels[:size])
        scheme = scheme_of(asked, rounding, plan)
        writer, first = backend.writer(scheme), 0
        for number, b in enumerate(_layout(n, size, scheme.ramp)):
            rows = slice(first, first + b)
            own = None if labels is None else labels[rows]
            writer.put(number, index[rows], own, _label_shares(asked, rounding, b, labels is not None))
            first += b
        payload, told = writer.close()
        probe = _probe(scheme, backend, space, min(n, size))
    header = {
        "scheme": scheme.name, "backend": backend.name, "arithmetic": arithmetic.name, "batch": size, "plan": plan,
        "coder": told, "count": n, "labels": y is not None, "model": model_hash(model), "space": space.to_json(),
        "probe": probe, "contents": _contents(index, labels), "exceptions": sorted(set(rounding.found or ())),
        "made": made(model),
    }  # fmt: skip
    return pack(header, payload)


def decompress(model: object, data: bytes) -> Batch:
    """The examples, and labels where there are any, that ``compress`` made bytes of, by the backend it names.

    Raises ValueError for a file that is cut short or damaged, of another model, space or version, where this machine's
    arithmetic differs, or its backend is not installed: nothing is decoded wrongly in silence.
    """
    header, payload = unpack(data)
    space = _codable(model)
    try:
        return _read(model, space, header, payload)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"the file's header lacks what it must say ({error}); it was not written by compress"
        ) from error


def describe(data: bytes) -> Mapping[str, Any]:
    """What a file's header says, without a model."""
    return unpack(data)[0]


def model_hash(model: object) -> str:
    """Of a model's class, space and every weight and buffer; of one that is no module, its class and space alone."""
    weights = dict(sorted(model.state_dict().items())) if isinstance(model, nn.Module) else {}
    told = f"{type(model).__qualname__} {space_of(model, 'compress').to_json()} {fingerprint(weights)}"
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def made(model: object) -> dict[str, Any]:
    """What a model's arithmetic may depend on."""
    return {
        "torch": torch.__version__, "device": device_of(model).type, "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }  # fmt: skip


def _read(model: object, space: Space, header: Mapping[str, Any], payload: bytes) -> Batch:
    _same_model(model, space, header)
    arithmetic, backend = ARITHMETICS[header["arithmetic"]], BACKENDS[header["backend"]]
    n, size, labelled = int(header["count"]), int(header["batch"]), bool(header["labels"])
    rounding = Rounding(arithmetic, [tuple(e) for e in header["exceptions"]])
    with arithmetic.model(model) as asked, resting(asked), torch.no_grad():
        scheme = scheme_of(asked, rounding, header["plan"])
        if scheme.name != header["scheme"]:
            raise ValueError(f"the file was coded by {header['scheme']}, this model codes by {scheme.name}")
        if _probe(scheme, backend, space, min(n, size)) != header["probe"]:
            raise ValueError(f"this machine's arithmetic differs from the writer's: {_differs(model, header['made'])}")
        reader = backend.reader(scheme, payload, header["coder"])
        layout = _layout(n, size, scheme.ramp)
        parts: dict[int, tuple[Whole, Whole | None]] = {}
        for number in reader.order(len(layout)):
            parts[number] = reader.get(number, layout[number], _label_shares(asked, rounding, layout[number], labelled))
        whole = reader.spent()
    index = np.concatenate([parts[number][0] for number in range(len(layout))])
    labels = [y for _, (_, y) in sorted(parts.items()) if y is not None]
    found = np.concatenate(labels) if labels else None
    if not whole or _contents(index, found) != header["contents"]:
        raise ValueError(f"what was decoded is not what was written: {_differs(model, header['made'])}")
    y = None if found is None else torch.from_numpy(found)
    return Batch(x=from_indices(space, torch.from_numpy(index)), y=y)


def _same_model(model: object, space: Space, header: Mapping[str, Any]) -> None:
    for what, known in (("backend", BACKENDS), ("arithmetic", ARITHMETICS)):
        if header[what] not in known:
            raise ValueError(f"the file's {what} is {header[what]}; expected {' or '.join(known)}: upgrade")
    if header["space"] != space.to_json():
        raise ValueError("the file holds examples of another space than this model's; decompress with its own model")
    if header["model"] != model_hash(model):
        raise ValueError(
            f"the file was written with another model ({header['model'][:12]}, this one is {model_hash(model)[:12]});"
            " decompress with the same run, fitted no further"
        )


def _differs(model: object, then: Mapping[str, Any]) -> str:
    now = made(model)
    changed = [f"{name} {then.get(name)} then and {now[name]} now" for name in now if then.get(name) != now[name]]
    what = ", ".join(changed) or "the same versions, another processor or library"
    return f"{what}; decompress where it was written, or compress with the portable arithmetic"


def _codable(model: object) -> Space:
    space = space_of(model, "compress")
    for name, f in space.fields.items():
        if f.varying:
            raise ValueError(f"{name} varies in length; only examples of one extent are compressed")
        if isinstance(f, Continuous) and f.levels is None:
            raise ValueError(f"{name} holds real numbers, which have no shortest form; expected categories, or levels=")
    if isinstance(space.y, Space):
        raise ValueError("this model needs a condition of its own for each example; only classes can be written beside")
    return space


def _held(model: object, space: Space) -> int:
    """Probabilities of one example that are held at a time: those of an element along a walk, else all of them."""
    most = max(choices(f) for f in space.fields.values())
    return most if isinstance(model, Stepwise) else most * space.size


def _layout(n: int, size: int, ramp: int) -> list[int]:
    """How many examples each batch has, in the order of writing."""
    found: list[int] = []
    done = 0
    while done < n:
        b = min(size, n - done, max(1, done // ramp) if ramp else size)
        found.append(b)
        done += b
    return found


def _label_shares(model: object, rounding: Rounding, b: int, labelled: bool) -> Whole | None:
    if not labelled:
        return None
    log_prob = require(model, Labelled, "compress").label_log_prob()
    return shares(rounding.log_probs(log_prob, PROBE, 0)[None]).repeat(b, 0)


def _probe(scheme: Scheme, backend: Backend, space: Space, b: int) -> str:
    y = np.arange(b) % len(space.y) if isinstance(space.y, Classes) else None
    digest = hashlib.sha256(backend.digest())
    for numbers in scheme.probe(b, y):
        digest.update(np.ascontiguousarray(numbers, "<i8").tobytes())
    return digest.hexdigest()[:32]


def _contents(index: Whole, y: Whole | None) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(index, "<i8").tobytes())
    digest.update(b"" if y is None else np.ascontiguousarray(y, "<i8").tobytes())
    return digest.hexdigest()[:32]
