"""What a report is made of: plain values, bytes of pictures, figures, log rows. ``runs`` fills it, ``page`` draws."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from simulacra.core.figure import Figure
from simulacra.evaluation.report.columns import TableView
from simulacra.evaluation.report.numbers import Number

SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"GIF87a": "image/gif", b"GIF89a": "image/gif"}


@runtime_checkable
class Verdict(Protocol):
    """What a monitor said: any object with these will do.

    name   what was watched: "mode collapse".
    level  "ok" | "note" | "attention" | "stop"; see ``page.LEVELS`` for the other words understood.
    text   the finding in plain words, a sentence.
    step   when, or None.
    ``measured``, if there is one: rows of (what was measured, how much, what it is worth), shown below the text.
    """

    @property
    def name(self) -> str: ...
    @property
    def level(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def step(self) -> int | None: ...


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A sample beside its nearest training picture.

    sample, real  PNGs of one picture each, of equal size.
    ratio         the sample's distance to its nearest training picture over the typical (median) distance of a
                  held-out picture to its own: about 1 for something new, near 0 for a copy.
    unseen        share of held-out pictures that lie as close to a training picture: what chance does; None: not known.
    """

    sample: bytes
    real: bytes
    ratio: Number
    unseen: Number | None = None


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What the training and the sampling took; whatever is None is not shown.

    wall_seconds, cpu_seconds   of training; seconds_per_sample of drawing one, in a large batch.
    machine                     processor, cores, device: what the seconds are worth.
    """

    wall_seconds: Number | None = None
    cpu_seconds: Number | None = None
    steps: int | None = None
    examples: int | None = None
    steps_per_second: Number | None = None
    parameters: int | None = None
    seconds_per_sample: Number | None = None
    machine: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """One run, ready to be shown. Whatever is empty or None has no section.

    name            the run's, unique on a page of several.
    family, data    "vae", "digits"; learnt is a sentence on what was learnt, date as it is to be read.
    samples, real   PNG grids of the same geometry: what the model drew, and held-out real pictures.
    texts, real_texts  samples and held-out examples that are text.
    sound, real_sound  WAVs of samples and of held-out examples that can be heard.
    table           of a table: its columns, pairs and rows.
    surprise        a held-out text in pieces, each with the bits it took the model.
    reconstructions, interpolations  PNG grids; the first has each original above (or before) its reconstruction.
    nearest         samples beside their nearest training pictures.
    progress        (step, PNG) pairs, the same noise drawn at each; animation a GIF of them.
    log             rows with "step", "turn" -> its loss and "turn/term" -> number; units: key or term -> unit.
    figures         what was measured.
    recipe          what the run is made of: family, config, data, fingerprint, seed, versions; any JSON value.
    data_identity   the fingerprint of the data that was judged against: figures of runs in which it differs are not
                    set side by side.
    licence, consent  of the data, as stated by whoever made it; None is shown as "not stated".
    command         the line that makes this run again.
    """

    name: str
    family: str
    data: str
    learnt: str = ""
    date: str = ""
    verdicts: Sequence[Verdict] = ()
    samples: bytes | None = None
    real: bytes | None = None
    texts: Sequence[str] = ()
    real_texts: Sequence[str] = ()
    sound: bytes | None = None
    real_sound: bytes | None = None
    table: TableView | None = None
    surprise: Sequence[tuple[str, Number]] = ()
    reconstructions: bytes | None = None
    interpolations: bytes | None = None
    nearest: Sequence[Neighbour] = ()
    progress: Sequence[tuple[int, bytes]] = ()
    animation: bytes | None = None
    log: Sequence[Mapping[str, Number]] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    figures: Sequence[Figure] = ()
    costs: Costs = Costs()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    data_identity: str = ""
    licence: str | None = None
    consent: str | None = None
    command: str = ""


@dataclass(frozen=True)
class Picture:
    """An image within the page: its data URI, its size in pixels and what it shows in words."""

    uri: str
    width: int
    height: int
    text: str

    @property
    def pixels_wanted(self) -> bool:
        """Whether it is so small that it will be enlarged, and its pixels are to stay square."""
        return self.width <= 480


def picture(data: bytes, text: str) -> Picture:
    """A PNG or a GIF as an image within the page. Raises ValueError for anything else."""
    kind = next((k for signature, k in SIGNATURES.items() if data.startswith(signature)), None)
    if kind is None or len(data) < 24:
        raise ValueError(f"a report's pictures are PNG or GIF bytes; got {len(data)} bytes that begin {data[:8]!r}")
    # PNG: IHDR is always first, big-endian; GIF: the logical screen follows the signature, little-endian
    width, height = struct.unpack(">II", data[16:24]) if kind == "image/png" else struct.unpack("<HH", data[6:10])
    return Picture(f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}", width, height, text)
