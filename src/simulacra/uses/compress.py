"""Compress examples with a model of them, without loss: the better the model, the shorter the file.

Two ways, by what the model can do (``uses.schemes``):

``Walking``   any ``Stepwise`` model: each element costs -log2 of its probability given those before it.
``BitsBack``  any ``Codec`` that is ``Factorised``: the bits that choosing a code from q(z | x) takes come off what was
              written before, so an example costs its evidence bound, -log2 p(x | z) - log2 p(z) + log2 q(z | x)
              (Townsend, Bird & Barber 2019, "Practical lossless compression with latent variables using bits back
              coding"). Codes are cut into bins that are equally likely under N(0, I).

Both sides ask the model in the same order, for the same numbers of examples at a time, so that its arithmetic is the
same; ``uses.arithmetic`` says what holds between machines. Every error is a ValueError of one line.
"""

from __future__ import annotations

import hashlib
import itertools
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Values, fingerprint
from simulacra.core.capabilities import Labelled, require
from simulacra.core.indices import choices, from_indices, to_indices
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.evaluation.likelihood import resting
from simulacra.mathematics import coding
from simulacra.mathematics.coding import Stack, Whole, finder, of_symbols, shares
from simulacra.uses.arithmetic import ARITHMETICS, Arithmetic, Rounding, native
from simulacra.uses.checks import check_examples, check_labels, device_of, space_of
from simulacra.uses.classify import scores
from simulacra.uses.container import pack, unpack
from simulacra.uses.schemes import AT_ONCE, PROBE, Scheme, scheme_of

BACKEND = "rans-64/32"
MOST_LANES = 64
WIDENED = 1 << 14  # bits written for each head before there are more: the end of one wastes 17 on average
BATCH = 64  # examples the model is asked for at a time; fewer where they are large


def compress(
    model: object, x: Values, *, y: Tensor | None = None, arithmetic: Arithmetic = native, batch: int | None = None
) -> bytes:
    """Examples as the bytes of a file that ``decompress`` reads with the same model.

    y      int64 (n,), kept beside the examples. A model of classes without y takes the class it finds likeliest.
    batch  examples the model is asked for at a time; None chooses.
    Raises ValueError for a model that is neither Stepwise nor a Factorised Codec, values off their levels, another
    shape or dtype, lengths that vary, and classes that do not exist.
    """
    space = _codable(model)
    n = check_examples(space, x)
    check_labels(space, y, n)
    if isinstance(space.y, Classes) and y is None:
        y = scores(model, x).nats.argmax(1)
    index = to_indices(space, Batch(x=x).to("cpu").x).numpy()
    size = batch or max(1, min(BATCH, AT_ONCE // (space.size * _most(space))))
    rounding = Rounding(arithmetic)
    with arithmetic.model(model) as asked, resting(asked), torch.no_grad():
        scheme = scheme_of(asked, rounding)
        stack, lanes = Stack(1, supply=_supply(scheme)), list[int]()
        first = 0
        for number, b in enumerate(_layout(n, size, scheme.ramp)):
            labels = None if y is None else y[first : first + b].to(device_of(asked))
            lanes.append(_widen(stack))
            scheme.push(stack, number, index[first : first + b], labels)
            _push_labels(stack, asked, rounding, labels)
            first += b
        probe = _probe(scheme, space, min(n, size), device_of(asked))
    header = {
        "scheme": scheme.name, "backend": BACKEND, "arithmetic": arithmetic.name, "batch": size, "lanes": _runs(lanes),
        "count": n, "labels": y is not None, "model": model_hash(model), "space": space.to_json(), "probe": probe,
        "contents": _contents(index, y), "exceptions": sorted(set(rounding.found or ())), "made": made(model),
    }  # fmt: skip
    return pack(header, stack.to_bytes())


def decompress(model: object, data: bytes) -> Batch:
    """The examples, and labels where there are any, that ``compress`` made bytes of.

    Raises ValueError for a file that is cut short or damaged, of another model, space or version, or where this
    machine's arithmetic differs: nothing is decoded wrongly in silence.
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
    arithmetic = ARITHMETICS[header["arithmetic"]]
    n, size, labelled = int(header["count"]), int(header["batch"]), bool(header["labels"])
    rounding = Rounding(arithmetic, [tuple(e) for e in header["exceptions"]])
    with arithmetic.model(model) as asked, resting(asked), torch.no_grad():
        scheme = scheme_of(asked, rounding)
        if scheme.name != header["scheme"]:
            raise ValueError(f"the file was coded by {header['scheme']}, this model codes by {scheme.name}")
        if _probe(scheme, space, min(n, size), device_of(asked)) != header["probe"]:
            raise ValueError(f"this machine's arithmetic differs from the writer's: {_differs(model, header['made'])}")
        lanes = [int(n) for n, times in header["lanes"] for _ in range(int(times))]
        stack = Stack.from_bytes(payload, lanes[-1])
        parts: list[Whole] = []
        labels: list[Tensor] = []
        for number, b in reversed(list(enumerate(_layout(n, size, scheme.ramp)))):
            y = _pop_labels(stack, asked, rounding, b) if labelled else None
            parts.append(scheme.pop(stack, number, b, y))
            labels += [] if y is None else [y.cpu()]
            stack.narrow(lanes[max(number - 1, 0)])
        whole = stack.untouched(_supply(scheme))
    index = np.concatenate(parts[::-1])
    found = torch.cat(labels[::-1]) if labels else None
    if not whole or _contents(index, found) != header["contents"]:
        raise ValueError(f"what was decoded is not what was written: {_differs(model, header['made'])}")
    return Batch(x=from_indices(space, torch.from_numpy(index)), y=found)


def _same_model(model: object, space: Space, header: Mapping[str, Any]) -> None:
    if header["backend"] != BACKEND or header["arithmetic"] not in ARITHMETICS:
        raise ValueError(
            f"the file was coded by {header['backend']}, {header['arithmetic']}; expected {BACKEND}: upgrade"
        )
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


def _most(space: Space) -> int:
    return max(choices(f) for f in space.fields.values())


def _supply(scheme: Scheme) -> Rng | None:
    return Rng(0)("compress", scheme.name) if scheme.ramp else None


def _widen(stack: Stack) -> int:
    """Twice the heads where what they would waste is little beside what is written; how many there are now."""
    lanes = len(stack.heads)
    if lanes < MOST_LANES and stack.bits >= WIDENED * lanes:
        stack.widen(2 * lanes)
    return len(stack.heads)


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Equal neighbours as (number, times)."""
    return [(n, len(list(group))) for n, group in itertools.groupby(numbers)]


def _layout(n: int, size: int, ramp: int) -> list[int]:
    """How many examples each batch has, in the order of writing."""
    found: list[int] = []
    done = 0
    while done < n:
        b = min(size, n - done, max(1, done // ramp) if ramp else size)
        found.append(b)
        done += b
    return found


def _label_shares(model: object, rounding: Rounding, b: int) -> Whole:
    log_prob = require(model, Labelled, "compress").label_log_prob()
    return shares(rounding.log_probs(log_prob, PROBE, 0)[None]).repeat(b, 0)


def _push_labels(stack: Stack, model: object, rounding: Rounding, y: Tensor | None) -> None:
    if y is not None:
        stack.push(*of_symbols(_label_shares(model, rounding, len(y)), y.cpu().numpy()))


def _pop_labels(stack: Stack, model: object, rounding: Rounding, b: int) -> Tensor:
    y = stack.pop(b, finder(_label_shares(model, rounding, b)))
    return torch.from_numpy(y).to(device_of(model))


def _probe(scheme: Scheme, space: Space, b: int, device: torch.device) -> str:
    y = torch.arange(b, device=device) % len(space.y) if isinstance(space.y, Classes) else None
    digest = hashlib.sha256(coding.tables_digest())
    for numbers in scheme.probe(b, y):
        digest.update(np.ascontiguousarray(numbers, "<i8").tobytes())
    return digest.hexdigest()[:32]


def _contents(index: Whole, y: Tensor | None) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(index, "<i8").tobytes())
    digest.update(b"" if y is None else np.ascontiguousarray(y.cpu().numpy(), "<i8").tobytes())
    return digest.hexdigest()[:32]
