"""What turns symbols of known probability into bytes: our own coder, and that of the library constriction.

``rans``          a stack (``mathematics.coding``), which codes every model; all of it is integer arithmetic.
``constriction``  the range coder of that library (Bamler 2022, "Understanding entropy coding with asymmetric numeral
                  systems"), of the extra ``coding``. It codes what is walked along, an exact density; bits-back needs a
                  stack and a say over its shares. It is given the same 24-bit shares, but cuts them anew by float64
                  arithmetic of its own: the same wherever that is IEEE's, as long as the library leaves its rule as it
                  is. That is not ours to promise, so what it makes of a fixed message is part of a file's probe, and
                  a file that was cut by another rule is refused. It is an option, never the default.

A backend has a writer, which takes batch after batch, and a reader, which says in which order it gives them again.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from simulacra.core.randomness import Rng
from simulacra.mathematics import coding
from simulacra.mathematics.coding import Stack, Whole, finder, of_symbols, shares
from simulacra.uses.schemes import Scheme, Walking

MOST_LANES = 64
WIDENED = 1 << 14  # bits written for each head before there are more: the end of one wastes 17 on average


@runtime_checkable
class Writer(Protocol):
    """A file being written."""

    def put(self, number: int, x: Whole, y: Whole | None, labels: Whole | None) -> None:
        """The next batch: x (b, size), y (b,); labels: shares (b, classes) of their classes. Both may be None."""
        ...

    def close(self) -> tuple[bytes, dict[str, Any]]:
        """All of it, and what the reader must be told; JSON."""
        ...


@runtime_checkable
class Reader(Protocol):
    """A file being read."""

    def order(self, batches: int) -> Iterable[int]:
        """The numbers of the batches, first to last."""
        ...

    def get(self, number: int, b: int, labels: Whole | None) -> tuple[Whole, Whole | None]:
        """x and y of a batch; labels None: there is no y."""
        ...

    def spent(self) -> bool:
        """Whether nothing is left after the last batch."""
        ...


@runtime_checkable
class Backend(Protocol):
    """Makes writers and readers."""

    name: str

    def writer(self, scheme: Scheme) -> Writer: ...

    def reader(self, scheme: Scheme, data: bytes, told: Mapping[str, Any]) -> Reader: ...

    def digest(self) -> bytes:
        """Of what another machine or version might do otherwise."""
        ...


# -- ours -------------------------------------------------------------------------------------------------------------


class Rans:
    """See above."""

    name = "rans-64/32"

    def writer(self, scheme: Scheme) -> Writer:
        return RansWriter(scheme)

    def reader(self, scheme: Scheme, data: bytes, told: Mapping[str, Any]) -> Reader:
        return RansReader(scheme, data, [int(n) for n, times in told["lanes"] for _ in range(int(times))])

    def digest(self) -> bytes:
        return coding.tables_digest()


class RansWriter:
    """A stack that gets more heads as it grows; it says how many words bits-back drew to begin with."""

    def __init__(self, scheme: Scheme) -> None:
        self.scheme, self.stack, self.lanes = scheme, Stack(1, supply=_supply(scheme)), list[int]()

    def put(self, number: int, x: Whole, y: Whole | None, labels: Whole | None) -> None:
        lanes = len(self.stack.heads)
        # twice the heads where what they would waste is little beside what is written
        if lanes < MOST_LANES and self.stack.bits >= WIDENED * lanes:
            self.stack.widen(2 * lanes)
        self.lanes.append(len(self.stack.heads))
        self.scheme.push(self.stack, number, x, y)
        if y is not None and labels is not None:
            self.stack.push(*of_symbols(labels, y))

    def close(self) -> tuple[bytes, dict[str, Any]]:
        runs = [(lanes, len(list(group))) for lanes, group in itertools.groupby(self.lanes)]
        return self.stack.to_bytes(), {"lanes": runs, "drawn": self.stack.supplied}


class RansReader:
    """The last batch comes off the stack first."""

    def __init__(self, scheme: Scheme, data: bytes, lanes: list[int]) -> None:
        self.scheme, self.lanes, self.stack = scheme, lanes, Stack.from_bytes(data, lanes[-1])

    def order(self, batches: int) -> Iterable[int]:
        return reversed(range(batches))

    def get(self, number: int, b: int, labels: Whole | None) -> tuple[Whole, Whole | None]:
        y = None if labels is None else self.stack.pop(b, finder(labels))
        x = self.scheme.pop(self.stack, number, b, y)
        self.stack.narrow(self.lanes[max(number - 1, 0)])
        return x, y

    def spent(self) -> bool:
        return self.stack.untouched(_supply(self.scheme))


def _supply(scheme: Scheme) -> Rng | None:
    return Rng(0)("compress", scheme.name) if scheme.ramp else None


# -- constriction's ---------------------------------------------------------------------------------------------------


class Constriction:
    """See above. Raises ValueError, naming the extra, where the library is not installed."""

    name = "constriction-range"

    def writer(self, scheme: Scheme) -> Writer:
        return RangeWriter(_walking(scheme))

    def reader(self, scheme: Scheme, data: bytes, told: Mapping[str, Any]) -> Reader:
        return RangeReader(_walking(scheme), data)

    def digest(self) -> bytes:
        steps = Rng(0)("digest").integers(coding.SMALLEST, (256, 5)).numpy()
        steps[:, 0] = 64 * (np.arange(256) % 9)
        coder = _stream().queue.RangeEncoder()
        _encode(coder, np.arange(256) % 5, shares(steps))
        return hashlib.sha256(coder.get_compressed().astype("<u4").tobytes()).digest()


class RangeWriter:
    """A queue: labels first, then the elements along the walk."""

    def __init__(self, walking: Walking) -> None:
        self.walking, self.coder = walking, _stream().queue.RangeEncoder()

    def put(self, number: int, x: Whole, y: Whole | None, labels: Whole | None) -> None:
        if y is not None and labels is not None:
            _encode(self.coder, y, labels)

        def choose(count: Whole, place: int) -> Whole:
            _encode(self.coder, x[:, place], count)
            return x[:, place]

        self.walking.along(number, len(x), y, choose)

    def close(self) -> tuple[bytes, dict[str, Any]]:
        return self.coder.get_compressed().astype("<u4").tobytes(), {}


class RangeReader:
    """The first batch comes first."""

    def __init__(self, walking: Walking, data: bytes) -> None:
        if len(data) % 4:
            raise ValueError(f"{len(data)} bytes are no queue of 32-bit words; the payload is damaged")
        self.walking = walking
        self.coder = _stream().queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))

    def order(self, batches: int) -> Iterable[int]:
        return range(batches)

    def get(self, number: int, b: int, labels: Whole | None) -> tuple[Whole, Whole | None]:
        y = None if labels is None else _decode(self.coder, labels)
        return self.walking.along(number, b, y, lambda count, place: _decode(self.coder, count)), y

    def spent(self) -> bool:
        return bool(self.coder.maybe_exhausted())


def _encode(coder: Any, symbol: Whole, count: Whole) -> None:
    if count.shape[1] > 1:  # the library has no distribution over one value; it costs nothing
        coder.encode(symbol.astype(np.int32), _categorical(), count / (1 << coding.BITS))


def _decode(coder: Any, count: Whole) -> Whole:
    if count.shape[1] == 1:
        return np.zeros(len(count), np.int64)
    try:
        return coder.decode(_categorical(), count / (1 << coding.BITS)).astype(np.int64)
    except AssertionError as error:
        raise ValueError("the payload is not what these probabilities were written with") from error


def _categorical() -> Any:
    return _stream().model.Categorical(perfect=False)


def _stream() -> Any:
    try:
        from constriction import stream  # pyright: ignore[reportAttributeAccessIssue]
    except ImportError as error:
        raise ValueError(
            "the backend constriction-range needs the library constriction: pip install 'simulacra[coding]'"
        ) from error
    return stream


def _walking(scheme: Scheme) -> Walking:
    if isinstance(scheme, Walking):
        return scheme
    raise ValueError(
        f"constriction's range coder takes exact densities that are walked along; this model codes by {scheme.name},"
        " which needs a stack: take the backend rans"
    )


rans, constriction = Rans(), Constriction()
BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (rans, constriction)}
