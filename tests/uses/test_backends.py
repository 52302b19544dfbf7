"""Coders: files of constriction's are read by it alone, as short as ours, and no fault is silent."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from worlds import Chain, Dots

from simulacra.core.randomness import Rng
from simulacra.uses import backends, container
from simulacra.uses.arithmetic import native, portable
from simulacra.uses.backends import constriction
from simulacra.uses.compress import compress, decompress, describe


@pytest.fixture
def _library():
    pytest.importorskip("constriction", reason="the extra coding is not installed")


needs_library = pytest.mark.usefixtures("_library")


@needs_library
@pytest.mark.parametrize("arithmetic", [native, portable], ids=lambda a: a.name)
@pytest.mark.parametrize("model", [Chain(), Chain(classes=2), Chain(side=4, levels=64)], ids=["3", "classes", "64"])
@pytest.mark.parametrize("n", [1, 70])
def test_what_comes_out_is_what_went_in(model, arithmetic, n):
    y = Rng(0)("y").integers(2, (n,)) if model.space.y is not None else None
    x = model.sample(n, y=y, rng=1).x
    again = decompress(model, compress(model, x, y=y, arithmetic=arithmetic, backend=constriction, batch=16))
    assert torch.equal(again.x, x)
    assert (again.y is None) if y is None else torch.equal(again.y, y)


@needs_library
def test_an_exact_density_costs_its_own_log_probability():
    model = Chain(side=6, levels=4)
    x = model.sample(400, rng=0).x
    ideal = -float(model.log_likelihood(x).nats.double().sum()) / math.log(2)
    length = 8 * len(container.unpack(compress(model, x, backend=constriction))[1])
    assert abs(length - ideal) < 64 + 1e-3 * ideal < 0.01 * ideal


@needs_library
def test_the_file_names_its_coder_and_ours_is_the_default():
    model = Chain()
    x = model.sample(5, rng=3).x
    assert describe(compress(model, x))["backend"] == "rans-64/32"
    assert describe(compress(model, x, backend=constriction))["backend"] == "constriction-range"


@needs_library
def test_without_the_library_the_extra_is_named(monkeypatch):
    model = Chain()
    x = model.sample(5, rng=3).x
    data, ours = compress(model, x, backend=constriction), compress(model, x)
    monkeypatch.setitem(sys.modules, "constriction", None)
    for attempt in (lambda: decompress(model, data), lambda: compress(model, x, backend=constriction)):
        with pytest.raises(
            ValueError, match=r"needs the library constriction: pip install 'simulacra\[coding\]'"
        ) as told:
            attempt()
        assert "\n" not in str(told.value)
    assert torch.equal(decompress(model, ours).x, x)  # ours needs nothing


@needs_library
def test_a_model_of_a_bound_is_refused():
    model = Dots()
    with pytest.raises(ValueError, match="this model codes by bits-back, which needs a stack"):
        compress(model, model.sample(3, rng=0).x, backend=constriction)


@needs_library
def test_faults_are_told():
    model = Chain()
    x = model.sample(9, rng=3).x
    data = compress(model, x, backend=constriction)
    for length in range(0, len(data), 7):
        with pytest.raises(ValueError, match=r"cut short|not a compressed file"):
            decompress(model, data[:length])
    with pytest.raises(ValueError, match="written with another model"):
        decompress(Chain(seed=1), data)
    header, payload = container.unpack(data)
    silent = 0
    for place in range(8 * len(payload)):  # behind a checksum that fits
        hurt = bytearray(payload)
        hurt[place // 8] ^= 1 << place % 8
        try:
            silent += not torch.equal(decompress(model, container.pack(header, bytes(hurt))).x, x)
        except ValueError:
            continue
    assert silent == 0
    for hurt in (payload[:-4], payload[:-1], b""):
        with pytest.raises(ValueError, match="not what was written|payload"):
            decompress(model, container.pack(header, hurt))


@needs_library
def test_a_library_that_cuts_shares_otherwise_is_refused(monkeypatch):
    model = Chain()
    data = compress(model, model.sample(5, rng=3).x, backend=constriction)
    stream = backends._stream()
    monkeypatch.setattr(backends, "_categorical", lambda: stream.model.Categorical(perfect=True))
    with pytest.raises(ValueError, match="arithmetic differs from the writer's"):
        decompress(model, data)
