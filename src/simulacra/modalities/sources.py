"""From what a person says ("mnist", a path, a hub's name) to data: recognised, read, split and said in plain words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from simulacra.core.batch import Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes
from simulacra.modalities import arrays, images, raster, recognise, sprites, stacked, text, toys, worlds
from simulacra.modalities.given import Caption, Given, given_by
from simulacra.modalities.loaded import Loaded
from simulacra.modalities.molecules.source import molecules, molecules_path
from simulacra.modalities.music.frames import WRITINGS, frames
from simulacra.modalities.music.source import frames_path, music, music_path
from simulacra.modalities.names import KNOWN, Known
from simulacra.modalities.pairs import pairs, pairs_path
from simulacra.modalities.reading import Options, Part, Read, fits_memory
from simulacra.modalities.split import enough, split
from simulacra.modalities.tables.source import from_frame, table, table_path

HELD_OUT_POINTS = 10_000  # drawn once from an endless world, to judge by
HELD_OUT_SPRITES = 2_000
TOYS: dict[str, Callable[[], worlds.World]] = {
    "ring": toys.ring,
    "grid": toys.grid,
    "pinwheel": toys.Pinwheel,
    "checkerboard": toys.Checkerboard,
}
MODALITIES = ("pictures", "points", "text", "pairs", "molecules", "music", "frames", "tables")
BINARISE = {"dynamic": images.dynamic_binarisation, "threshold": images.threshold_binarisation}


def open_data(
    text: str | Any,
    *,
    size: int | Sequence[int] | None = None,
    channels: int | None = None,
    modality: str | None = None,
    labels: str | None = None,
    binarise: str | None = None,
    given: str | None = None,
    held_out: float | None = None,
    skip: float = 0.05,
    tokens: str | None = None,
    block: int | None = None,
    cut: str | None = None,
    spelling: str | None = None,
    transpose: int | None = None,
    languages: str | None = None,
    target: str | None = None,
    missing: Literal["value", "unobserved"] | None = None,
    encode: str | None = None,
    schema: str | Path | None = None,
    prefer: str = "quantile",
) -> Loaded:
    """The data that ``text`` names: a known name, a path, or OWNER/NAME on the hub; or a pandas DataFrame.

    size      side, or (h, w), that pictures are cropped and resized to.
    channels  1 grey, 3 RGB, 4 RGBA.
    modality  "pictures", "points", "text", "pairs", "molecules", "music", "frames" or "tables", where that is not what
              is recognised.
    labels    a label file, where none is recognised; "none" leaves labels aside, so that p(x) is learnt.
    binarise  "dynamic" (drawn afresh each time, held-out ones once) or "threshold", for 8-bit pictures.
    given     what each picture comes with, to be learnt from: "caption", or "grey", "sketch", "low_resolution:2" made
              of it (``modalities.given``); labels are left aside then.
    held_out  share held out by content hash where there is no official test split; None: 0.1, up to 0.3 of small data.
    skip      largest share of unreadable pictures, or texts, that is skipped rather than refused.
    tokens, block, cut  of text: what it is cut into ("bytes", "characters", "bpe", "bpe:SIZE"), tokens of a block,
              and what a text is: "lines", "documents", or "blocks" of running text (``modalities.text``).
    tokens, block, spelling  of molecules: "smiles", "nested" or "selfies", the most tokens of one, and whether each is
              learnt in its "canonical" spelling, in a "random" one every time, or in "kekule" form
              (``modalities.molecules``).
    tokens, block, languages  of pairs: "bpe", "bpe:SIZE" or "bytes", the most tokens of a sentence, and from which
              language to which: "de-en" (``modalities.pairs``).
    block     of music: the most events of a piece (``modalities.music``).
    tokens, transpose  of frames of keys: "keys", one after another, or "roll", all 88 of a frame at once; semitones up
              and down that each tune is moved by, at most, afresh every time.
    target, missing, encode, schema  of tables: the column that is y; whether what is missing is a "value" or
              "unobserved"; how numbers become fields ("quantile", "bins", "mixture", or "bins:32"); the JSON file of a
              schema (``modalities.tables``). prefer: as encode, or as tokens of frames, where that is not given.

    Raises ValueError, in one line, for everything that is wrong with the text, the files or the choices.
    """
    choices = {
        "size": size if size is None or isinstance(size, int) else list(size),
        "channels": channels,
        "modality": modality,
        "labels": labels if labels in (None, "none") else str(Path(labels).expanduser().resolve()),
        "binarise": binarise,
        "given": given,
        "held_out": held_out,
        "skip": None if skip == Options().skip else skip,
        "tokens": tokens,
        "block": block,
        "cut": cut,
        "spelling": spelling,
        "transpose": transpose,
        "languages": languages,
        "target": target,
        "missing": missing,
        "encode": encode,
        "schema": None if schema is None else str(Path(schema).expanduser().resolve()),
    }
    if modality not in (None, *MODALITIES):
        raise ValueError(f"no modality {modality!r}; expected {', '.join(MODALITIES)}")
    if binarise not in (None, *BINARISE):
        raise ValueError(f"no way to binarise {binarise!r}; expected {' or '.join(BINARISE)}")
    file = None if labels == "none" else labels
    by = None if given is None else given_by(given)
    options = Options(size=_extent(size), channels=channels, skip=skip, labels=file, captions=isinstance(by, Caption))
    prefer, written = ("quantile", prefer) if prefer in WRITINGS else (prefer, "keys")
    of_text, of_table = {"tokens": tokens, "block": block, "cut": cut}, {"target": target, "encode": encode}
    of_table |= {"missing": missing, "schema": schema}
    if not isinstance(text, str):
        return from_frame(text, {**of_table, "encode": encode or prefer}, held_out)
    own = None if not isinstance(text, str) or text not in KNOWN else KNOWN[text].modality
    if None not in (own, modality) and own != modality and {own, modality} != {"pictures", "points"}:
        raise ValueError(f"{text} is known as {own}, not as {modality}; leave the modality out")
    if transpose is not None and transpose < 0:
        raise ValueError(f"tunes are moved by up to so many semitones, 0 or more; got transpose={transpose}")
    if (path := frames_path(text, modality)) is not None:
        others = {**of_table, "block": block, "cut": cut, "spelling": spelling, "held_out": held_out}
        _refuse_choices(text, options, binarise, by, size=False, others=others)
        label = text if text in KNOWN else path.name
        loaded = frames(label, path, transpose=transpose or 0, tokens=tokens or written)
    elif transpose is not None:
        raise ValueError(f"{text}: transpose means nothing for this data; leave it out")
    elif (path := pairs_path(text, modality, languages)) is not None:
        _refuse_choices(text, options, binarise, by, size=False, others={**of_table, "cut": cut, "spelling": spelling})
        loaded = pairs(text, path, languages=languages, tokens=tokens, block=block, held_out=held_out)
    elif languages is not None:
        raise ValueError(f"{text}: languages mean nothing for this data; leave them out")
    elif (path := molecules_path(text, modality)) is not None:
        _refuse_choices(text, options, binarise, by, size=False, others={**of_table, "cut": cut})
        loaded = molecules(text, path, {"tokens": tokens, "block": block, "spelling": spelling}, held_out, skip)
    elif (path := music_path(text, modality)) is not None:
        others = {**of_table, "tokens": tokens, "cut": cut, "spelling": spelling}
        _refuse_choices(text, options, binarise, by, size=False, others=others)
        loaded = music(text, path, {"block": block}, held_out, skip)
    elif (path := table_path(text, modality)) is not None:
        _refuse_choices(text, options, binarise, by, size=False, others={**of_text, "spelling": spelling})
        loaded = table(text, path, {**of_table, "encode": encode or prefer}, held_out)
    elif (path := _text_path(text, modality)) is not None:
        _refuse_choices(text, options, binarise, by, size=False, others={**of_table, "spelling": spelling})
        loaded = _text(text, path, options, tokens=tokens, block=block, cut=cut, held_out=held_out)
    else:
        _refuse(text, {**of_text, **of_table, "spelling": spelling})
        loaded = _open(text, options, modality, binarise, held_out, by)
    if labels == "none" and given is None:
        loaded = replace(loaded, train=_unlabelled(loaded.train), held_out=_unlabelled(loaded.held_out))
    known = KNOWN.get(text)
    path = Path(text).expanduser()
    return replace(
        loaded,
        source=text if known is not None or not path.exists() else str(path.resolve()),
        options={**loaded.options, **{name: value for name, value in choices.items() if value is not None}},
        licence=known.licence if known is not None else "not stated",
        consent=known.consent if known is not None else "not stated",
    )


def _unlabelled(data: Any) -> Any:
    """Stored data without its labels; an endless world has none to leave aside."""
    if not isinstance(data, Stored) or data.space.y is None:
        return data
    return replace(data, space=replace(data.space, y=None), y=None, fingerprint="")


def _extent(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    """A side, or height and width, as (h, w)."""
    if size is None or isinstance(size, int):
        return None if size is None else (size, size)
    if len(size) != 2:
        raise ValueError(f"a size is a side or height and width; got {list(size)}")
    return size[0], size[1]


def _open(
    text: str,
    options: Options,
    modality: str | None,
    binarise: str | None,
    held_out: float | None,
    given: Given | None,
) -> Loaded:
    known = KNOWN.get(text)
    if text in TOYS or text == "sprites":
        _refuse_choices(text, options, binarise, given, size=text == "sprites")
        return _world(text, TOYS[text]()) if text in TOYS else _sprites(options.size)
    path = recognise.find(text, known)
    if path is not None and path.suffix in (".npy", ".npz"):
        found = arrays.read_arrays(path)
        plain = next(iter(found.values()), None)
        if plain is not None and (modality == "points" or (modality is None and plain.ndim == 2)):
            _refuse_choices(text, options, binarise, given, size=False)
            return _points(path, plain, held_out)
        read = arrays.read_picture_arrays(path, found, options)
    else:
        read = recognise.read(text, path, options)
    if known is not None and known.stacked:
        choices = {"labels": options.labels, "held_out": held_out, "channels": options.channels}
        _refuse(text, {**choices, "binarise": binarise, "given": given})
        return _stacked(text, read, options)
    if modality == "points":
        raise ValueError(f"{text}: these are pictures; points are read from a .npy or .npz of shape (n, d)")
    how = binarise or (known.binarise if known else None)
    if how is not None and given is not None:
        raise ValueError(f"{text}: pictures made black and white are given nothing; leave given or the binarising out")
    return _finish(read, text, known, options, how, held_out, given)


def _refuse_choices(
    text: str,
    options: Options,
    binarise: str | None,
    given: Given | None,
    *,
    size: bool,
    others: Mapping[str, Any] | None = None,
) -> None:
    """ValueError for choices that would change nothing here: a person who makes one expects something else."""
    asked = {
        "size": None if size else options.size,
        "channels": options.channels,
        "labels": options.labels,
        "binarise": binarise,
        "given": given,
    }
    _refuse(text, {**asked, **(others or {})})


def _refuse(text: str, asked: Mapping[str, Any]) -> None:
    for name, value in asked.items():
        if value is not None:
            raise ValueError(f"{text}: {name} means nothing for this data; leave it out")


def _finish(
    read: Read,
    text: str,
    known: Known | None,
    options: Options,
    how: str | None,
    share: float | None,
    given: Given | None,
) -> Loaded:
    """Resized, named, given what they are to be given, split, binarised (``how``) and described."""
    name = text if known else Path(text).name or text
    classes = known.classes if known and known.classes else read.classes
    levels, notes = read.levels, list(read.notes)
    changed = options.size is not None and read.train.pictures.shape[2:] != options.size
    if levels != 256 and (changed or options.channels not in (None, 1)):
        # resizing blends grey levels, so what comes out is an 8-bit picture
        read = _at_eight_bits(read)
        levels = 256

    def data(part: Part, name: str) -> Stored:
        n, c = part.pictures.shape[:2]
        fits_memory(n, options.channels or c, options.size or part.pictures.shape[2:], name)
        pictures = raster.resized(part.pictures, options.size, options.channels)
        labels = None if given is not None else part.labels
        made = images.stored(pictures, labels, classes=classes, levels=levels, name=name)
        if given is None:
            return made
        made, said = given.pair(made, part.captions)
        notes.extend(said if part is read.train else ())
        return made

    if given is not None and classes and read.train.labels is not None:
        notes.append(f"their {len(classes)} classes are left aside, for what they are given")
    split_at: dict[str, Any] = {}  # written down, so that another default some day splits this data as before
    if read.test is not None:
        train, held = data(read.train, name), data(read.test, f"{name} (test)")
        if train.space != held.space:
            raise ValueError(
                f"{name}: train and test differ: {train.space.only.shape} and {held.space.only.shape}; give a size"
            )
        kept = f"{len(held):,} held out, the official test split"
    else:
        share = enough(len(read.train.pictures)) if share is None else share
        split_at = {"held_out": share}
        train, held = split(data(read.train, name), share=share)
        kept = f"{len(held):,} held out by content hash"
    if how is not None:
        train = BINARISE[how](train, name=train.name)
        held = (
            images.fixed_binarisation(held, name=held.name) if how == "dynamic" else BINARISE[how](held, name=held.name)
        )
        held = replace(held, space=train.space)  # centre and scale are fitted to what is learned from
        notes.append(
            "drawn black and white afresh in every batch; the held-out ones once"
            if how == "dynamic"
            else "black and white from grey level 128"
        )
    c, h, w = train.space.only.shape
    labelled = f", {len(classes)} classes" if isinstance(train.space.y, Classes) else ""
    first = f"{len(train) + len(held):,} pictures of {c}x{h}x{w}{labelled}; {kept}"
    return Loaded(train=train, held_out=held, modality="pictures", notes=(first, *notes), options=split_at)


def _at_eight_bits(read: Read) -> Read:
    factor = 255 / (read.levels - 1)
    wide = (read.train.pictures * factor + 0.5).astype(np.uint8)
    return Read(train=replace(read.train, pictures=wide), classes=read.classes, notes=read.notes)


def _text_path(name: str, modality: str | None) -> Path | None:
    """Where text lies that a name means, known or by its path; None for anything else."""
    known = KNOWN.get(name)
    if known is not None:
        return recognise.find(name, known) if known.modality == "text" and modality in (None, "text") else None
    if name in TOYS or name == "sprites":
        return None
    found = recognise.find(name, None)
    if modality == "text" and found is None:
        raise ValueError(f"{name}: texts are read from files; expected a path")
    return found if found is not None and (modality == "text" or (modality is None and text.is_text(found))) else None


def _text(
    name: str,
    path: Path,
    options: Options,
    *,
    tokens: str | None,
    block: int | None,
    cut: str | None,
    held_out: float | None,
) -> Loaded:
    """Text of a file, a folder or a known name."""
    known, raw = KNOWN.get(name), tokens == "bytes"
    if known is None:
        read, label = text.read_texts(path, raw=raw, skip=options.skip), path.name
    else:
        missing = [file for file in known.files if not (path / file).is_file()]
        if missing:
            raise ValueError(f"{name}: {missing[0]} is not in {path}; {known.by_hand}")
        train, *test = (text.read_texts(path / file, raw=raw).train for file in known.files)
        read, label = text.Texts(train=train, test=test[0] if test else None), name
    cut = cut or (known.cut if known is not None else None)
    found = text.encoded(read, label, tokens=tokens, block=block, cut=cut, share=held_out)
    return Loaded(
        train=found.train,
        held_out=found.held_out,
        modality="text",
        notes=found.notes,
        options=found.options,
        encoding=found.encoding,
    )


def _world(name: str, world: worlds.World) -> Loaded:
    """An endless world to learn from, and points drawn once from it to judge by."""
    x = world.sample(HELD_OUT_POINTS, rng=Rng(0)("held out")).x
    held = Stored(space=world.space, x=x, name=f"{name} (held out)")
    note = f"points in the plane, drawn afresh for every batch; {HELD_OUT_POINTS:,} held out"
    return Loaded(train=world, held_out=held, modality="points", notes=(note,))


def _sprites(size: tuple[int, int] | None) -> Loaded:
    """The sprites, drawn when they are asked for, but for a tenth of them, of which some are drawn once to judge by."""
    if size is not None and size[0] != size[1]:
        raise ValueError(f"sprites are square; got size {size[0]}x{size[1]}")
    side = size[0] if size else 64
    order = Rng(0)("sprites held out").permutation(sprites.COUNT)
    tenth = sprites.COUNT // 10
    train = sprites.Sprites(side=side, numbers=order[tenth:].sort().values)
    held = Stored(space=train.space, x=train.draw(order[:HELD_OUT_SPRITES]), name="sprites (held out)")
    note = f"{len(train):,} drawn shapes of 1x{side}x{side}; of the other {tenth:,}, {len(held):,} to judge by"
    return Loaded(train=train, held_out=held, modality="pictures", notes=(note,))


def _stacked(name: str, read: Read, options: Options) -> Loaded:
    """Stacks of the training pictures to learn from, and of the test pictures to judge by."""
    test = read.test
    if test is None:
        raise ValueError(f"{name}: the official test pictures are not there; fetch all four files of mnist")

    def stack(part: Part, count: int, name: str) -> stacked.Stacked:
        pictures = raster.resized(part.pictures, options.size, None)
        grey = images.stored(pictures, part.labels, classes=read.classes, name="mnist")
        return stacked.Stacked(grey, count=count, name=name)

    train = stack(read.train, stacked.COUNT, name)
    held = stack(test, stacked.HELD_OUT, f"{name} (test)").kept()
    c, h, w = train.space.only.shape
    note = f"{len(train):,} stacks of {c}x{h}x{w}, {train.kinds**3:,} modes; {len(held):,} of the test digits held out"
    return Loaded(train=train, held_out=held, modality="pictures", notes=(note,))


def _points(path: Path, array: np.ndarray, share: float | None) -> Loaded:
    """Rows of an array as points (n, d)."""
    if array.ndim != 2 or 0 in array.shape or not np.issubdtype(array.dtype, np.number):
        raise ValueError(f"{path.name}: {array.dtype} {array.shape}; expected points, numbers of shape (n, d)")
    values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(
            f"{path.name}: NaN or infinity in {int((~np.isfinite(values)).any(1).sum())} rows; remove them"
        )
    spread = float(values.std()) or 1.0
    space = worlds.points(array.shape[1], centre=float(values.mean()), scale=spread)
    share = enough(len(values)) if share is None else share
    train, held = split(Stored(space=space, x=torch.from_numpy(values), name=path.name), share=share)
    note = f"{len(array):,} points of {array.shape[1]} coordinates; {len(held):,} held out by content hash"
    return Loaded(train=train, held_out=held, modality="points", notes=(note,), options={"held_out": share})
