"""What raters look at, read and listen to: from folders, archives and arrays to files that do not tell their origin.

Every stimulus is written anew from its decoded content: pictures as PNG of one size, sound as 16-bit WAV, text UTF-8.
Neither a name, a date, a compression's traces in a header nor a camera's data is left to tell one system from another.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from simulacra.core.randomness import Rng
from simulacra.evaluation.study.midi import SUFFIXES as MUSIC
from simulacra.evaluation.study.midi import render
from simulacra.modalities import archives, arrays, folders, raster
from simulacra.modalities.grids import as_image, png
from simulacra.modalities.reading import Item

T = TypeVar("T")
Kind = Literal["picture", "text", "sound"]
TEXT = (".txt", ".md")
SOUND = (".wav",)
SUFFIX: dict[Kind, str] = {"picture": ".png", "text": ".txt", "sound": ".wav"}
MIME: dict[str, str] = {".png": "image/png", ".txt": "text/plain; charset=utf-8", ".wav": "audio/wav"}
LONGEST_TEXT = 20_000  # characters: more is no stimulus, a person would have to read it
LEAST_SIDE = 256  # pixels: smaller pictures are enlarged by whole factors, so that every screen shows the same


@dataclass(frozen=True, kw_only=True)
class Stimulus:
    """One thing to show: its content as the file that is served, and the stem of the file it came from."""

    kind: Kind
    content: bytes
    source: str


def read(path: Path | str, *, most: int = 2000, size: int | None = None) -> list[Stimulus]:
    """The stimuli in a folder, an archive, one file or an array (.npy, .npz), in the order of their paths.

    most  so many of them, evenly spread over all there are.
    size  pictures are cropped about their centre and resized to this side.
    Raises ValueError of one line for a path without stimuli, for several kinds at once, and for damaged files.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist; expected a folder, archive or array of pictures, texts or sounds")
    if path.suffix in (".npy", ".npz"):
        found = arrays.read_arrays(path)
        return of_array(found.get("x", next(iter(found.values()))), path.name, most=most, size=size)
    if path.is_dir():
        items = folders.items_of_folder(path)
    else:
        items = archives.items_of_archive(path) if archives.is_archive(path) else [Item(path.name, path.read_bytes)]
    kinds: dict[str, Kind] = {item.path: kind for item in items if (kind := _kind(item.path))}
    if not kinds:
        raise ValueError(f"{path} has no stimuli; expected pictures, .txt, .wav or .mid files")
    if len(set(kinds.values())) > 1:
        raise ValueError(f"{path} holds {' and '.join(sorted(set(kinds.values())))} files; a system has one kind")
    chosen = _spread([i for i in items if i.path in kinds], most)
    return [_of_item(item, kinds[item.path], path.name, size) for item in chosen]


def of_array(values: np.ndarray, name: str, *, most: int = 2000, size: int | None = None) -> list[Stimulus]:
    """Pictures (n, h, w), (n, h, w, c) or (n, c, h, w) as stimuli."""
    pictures, _ = arrays.pictures_from(values, name)
    chosen = _spread(range(len(pictures)), most)
    return [
        Stimulus(kind="picture", content=_picture(as_image(pictures[i].transpose(1, 2, 0)), size), source=str(i))
        for i in chosen
    ]


def of_texts(texts: Sequence[str]) -> list[Stimulus]:
    """Texts as stimuli."""
    return [Stimulus(kind="text", content=_text(t, f"text {i}"), source=str(i)) for i, t in enumerate(texts)]


def check_alike(systems: dict[str, list[Stimulus]]) -> Kind:
    """The one kind of all systems; ValueError where a rater could tell them apart by kind or by size."""
    kinds: dict[str, Kind] = {name: stimuli[0].kind for name, stimuli in systems.items() if stimuli}
    if empty := [name for name in systems if name not in kinds]:
        raise ValueError(f"the system {empty[0]!r} has no stimuli; expected at least one")
    if len(set(kinds.values())) > 1:
        raise ValueError(f"all systems need one kind of stimulus; got {_each(kinds)}")
    kind: Kind = next(iter(kinds.values()))
    if kind == "text":
        return kind
    shapes = {name: sorted({_shape(s) for s in stimuli}) for name, stimuli in systems.items()}
    if len({tuple(s) for s in shapes.values()}) > 1:
        told = _each({name: "/".join(s[:3]) + (" ..." if len(s) > 3 else "") for name, s in shapes.items()})
        if kind == "picture":
            raise ValueError(f"raters could tell systems by the size of their pictures: {told}; give one --size")
        rates = {name: {s.split(" ")[0] for s in found} for name, found in shapes.items()}
        if len({frozenset(r) for r in rates.values()}) > 1:
            raise ValueError(f"raters could tell systems by their sampling rate: {told}; resample them to one rate")
    return kind


def spoil(stimulus: Stimulus, rng: Rng) -> Stimulus:
    """A stimulus that nobody who looks can mistake for an intact one: pixels or letters shuffled, or plain noise."""
    if stimulus.kind == "picture":
        with Image.open(io.BytesIO(stimulus.content)) as image:
            array = np.asarray(image)
        # blocks rather than pixels: a picture that was enlarged stays one of large pixels
        block = _block(array)
        small = array[::block, ::block]
        flat = small.reshape(-1, *small.shape[2:])[rng("pixels").permutation(small.shape[0] * small.shape[1]).numpy()]
        content = png(Image.fromarray(flat.reshape(small.shape).repeat(block, 0).repeat(block, 1)))
    elif stimulus.kind == "text":
        letters = stimulus.content.decode()
        content = "".join(letters[i] for i in rng("letters").permutation(len(letters)).tolist()).encode()
    else:
        samples, rate = _samples(stimulus.content)
        noise = rng("noise").normal((len(samples),)).numpy() * max(float(np.abs(samples).std()), 0.05)
        content = write_wav(noise, rate)
    return Stimulus(kind=stimulus.kind, content=content, source=stimulus.source)


def write_wav(samples: np.ndarray, rate: int) -> bytes:
    """Mono samples in -1 .. 1 as a 16-bit WAV with nothing in its header but its form."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return out.getvalue()


def _kind(path: str) -> Kind | None:
    name = PurePosixPath(path)
    if any(part.startswith(".") for part in name.parts):
        return None
    suffix = name.suffix.lower()
    if suffix in raster.SUFFIXES:
        return "picture"
    return "text" if suffix in TEXT else "sound" if suffix in SOUND + MUSIC else None


def _of_item(item: Item, kind: Kind, name: str, size: int | None) -> Stimulus:
    data, where = item.read(), f"{name}/{item.path}"
    path = PurePosixPath(item.path)
    if kind == "picture":
        try:
            with Image.open(io.BytesIO(data)) as image:
                content = _picture(ImageOps.exif_transpose(image), size)
        except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"{where}: no picture that can be read ({error}); remove or replace it") from error
    elif kind == "text":
        content = _text(data.decode("utf-8", errors="replace"), where)
    elif path.suffix.lower() in MUSIC:
        content = write_wav(*render(data, where))
    else:
        try:
            content = write_wav(*_samples(data))
        except (wave.Error, EOFError, ValueError) as error:
            raise ValueError(
                f"{where}: no WAV that can be read ({error}); expected PCM of 8, 16, 24 or 32 bits"
            ) from error
    return Stimulus(kind=kind, content=content, source=path.with_suffix("").as_posix())


def _picture(image: Image.Image, size: int | None) -> bytes:
    grey = raster.is_grey(image)
    image = raster.with_channels(image, 1 if grey else 3)
    if size is not None:
        array = raster.fitted(image, (size, size))
        image = as_image(array.transpose(1, 2, 0))
    factor = max(1, -(-LEAST_SIDE // max(image.size)))
    if factor > 1:
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    return png(Image.fromarray(np.asarray(image.convert("RGB"))))  # from its pixels: no profile, text or date


def _text(text: str, where: str) -> bytes:
    plain = text.replace("\r\n", "\n").strip()
    if not plain:
        raise ValueError(f"{where}: an empty text; remove it")
    if len(plain) > LONGEST_TEXT:
        raise ValueError(f"{where}: {len(plain):,} characters; a rater reads at most {LONGEST_TEXT:,}: cut it")
    return plain.encode()


def _samples(data: bytes) -> tuple[np.ndarray, int]:
    """A WAV's samples, mono in -1 .. 1, and its rate."""
    with wave.open(io.BytesIO(data)) as file:
        width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
        raw = np.frombuffer(file.readframes(file.getnframes()), np.uint8)
    if not len(raw) or len(raw) % (width * channels):
        raise ValueError("no whole frame")
    if width == 1:
        values = (raw.astype(np.float64) - 128) / 128  # 8-bit WAV is unsigned
    else:
        padded = np.zeros((len(raw) // width, 4), np.uint8)
        padded[:, 4 - width :] = raw.reshape(-1, width)
        values = padded.view("<i4")[:, 0].astype(np.float64) / 2**31
    return values.reshape(-1, channels).mean(1), rate


def _shape(stimulus: Stimulus) -> str:
    if stimulus.kind == "picture":
        seen = raster.look(stimulus.content)
        return f"{seen.h}x{seen.w}"
    with wave.open(io.BytesIO(stimulus.content)) as file:
        return f"{file.getframerate()}Hz {file.getnframes() / file.getframerate():.2f}s"


def _block(array: np.ndarray) -> int:
    """The largest whole factor by which a picture was enlarged: all its blocks of that side are of one colour."""
    side = min(array.shape[:2])
    for block in range(min(side // 4, LEAST_SIDE), 1, -1):
        if array.shape[0] % block or array.shape[1] % block:
            continue
        small = array[::block, ::block]
        if np.array_equal(small.repeat(block, 0).repeat(block, 1), array):
            return block
    return 1


def _spread(things: Sequence[T], most: int) -> list[T]:
    if most < 1:
        raise ValueError(f"most is how many stimuli a system has at most, at least 1; got {most}")
    n = min(most, len(things))
    return [things[i * len(things) // n] for i in range(n)]


def _each(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
