"""What lies at a path or behind a name, and the reader that fits it."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import numpy as np

from simulacra.modalities import archives, binary, folders, hub, raster
from simulacra.modalities.fetch import folder_of
from simulacra.modalities.images import check_labels
from simulacra.modalities.names import KNOWN, Known
from simulacra.modalities.reading import Item, Options, Part, Read

CIFAR_BATCH = re.compile(r"data_batch.*\.bin(\.[gx]z)?")
CIFAR_TEST = re.compile(r"test_batch.*\.bin(\.[gx]z)?")
CIFAR_TEST_SIZE = 10_000


def find(text: str, known: Known | None) -> Path | None:
    """The path that a text means; None for what is built in or on the hub."""
    if known is not None:
        return None if known.folder is None else folder_of(text, known)
    path = Path(text).expanduser()
    try:
        if path.exists():
            return path
    except OSError as error:
        raise ValueError(f"{text}: cannot be read ({error.strerror or error})") from error
    if re.fullmatch(r"[\w.-]+/[\w.-]+", text) and not path.suffix:
        return None
    near = difflib.get_close_matches(text, KNOWN, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known names are {', '.join(KNOWN)}"
    raise ValueError(f"no data {text!r}: no such file or folder, and no known name; {hint}")


def read(text: str, path: Path | None, options: Options) -> Read:
    """The reader that fits what lies at a path, applied."""
    if path is None:
        return read_digits() if text == "digits" else hub.read_hub(text, options)
    try:
        if path.is_dir():
            return read_folder(path, options)
        if archives.is_archive(path):
            return folders.read_items(archives.items_of_archive(path), path.name, options)
        if re.search(r"\.bin(\.[gx]z)?$", path.name):
            pictures, labels = binary.read_cifar(path)
            return Read(train=Part(pictures=pictures, labels=labels), classes=KNOWN["cifar10"].classes)
        if "idx" in path.name or path.suffix in (".gz", ".idx"):
            return read_idx_pair(path, options)
        if path.suffix.lower() in raster.SUFFIXES:
            return folders.read_items([Item(path.name, path.read_bytes)], path.name, options)
    except OSError as error:
        raise ValueError(f"{text}: cannot be read ({error.strerror or error})") from error
    raise ValueError(
        f"{text}: not recognised; expected a folder of pictures, .zip, .tar, IDX, CIFAR .bin, .npy or .npz"
    )


def read_folder(folder: Path, options: Options) -> Read:
    """A folder: of IDX files, of CIFAR files, saved by ``datasets``, or of pictures."""
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        raise ValueError(f"{folder}: an empty folder; expected pictures, or subfolders of them")
    if hub.is_saved(names):
        return hub.read_hub(str(folder), options)
    idx = [n for n in names if "images" in n and "idx3" in n]
    if idx:
        train = read_idx_pair(folder / next((n for n in idx if n.startswith("train")), idx[0]), options)
        held = next((n for n in idx if n.startswith(("t10k", "test"))), None)
        if held is None or len(idx) == 1:
            return train
        test = read_idx_pair(folder / held, options)
        classes = train.classes if len(train.classes) >= len(test.classes) else test.classes
        return Read(train=train.train, test=test.train, classes=classes, notes=("IDX files",))
    if any(CIFAR_BATCH.fullmatch(n) for n in names):
        return read_cifar_folder(folder, names)
    return folders.read_items(folders.items_of_folder(folder), str(folder), options)


def read_cifar_folder(folder: Path, names: list[str]) -> Read:
    """CIFAR-10's batches and its test batch, where that is there."""
    batches = [n for n in names if CIFAR_BATCH.fullmatch(n)]
    tests = [n for n in names if CIFAR_TEST.fullmatch(n)][:1]
    parts = binary.read_cifars([folder / n for n in (*batches, *tests)])
    held = [Part(pictures=pictures, labels=labels) for pictures, labels in parts[len(batches) :]]
    train = Part(
        pictures=np.concatenate([pictures for pictures, _ in parts[: len(batches)]]),
        labels=np.concatenate([labels for _, labels in parts[: len(batches)]]),
    )
    notes = ["CIFAR-10 binary files"]
    if held and len(held[0].pictures) < CIFAR_TEST_SIZE:
        notes.append(
            f"the official test split is cut: {len(held[0].pictures):,} of {CIFAR_TEST_SIZE:,} pictures are here"
        )
    return Read(train=train, test=held[0] if held else None, classes=KNOWN["cifar10"].classes, notes=tuple(notes))


def read_idx_pair(path: Path, options: Options) -> Read:
    """IDX pictures, and the labels in the file beside them where there is one."""
    pictures = binary.read_idx(path)
    if pictures.ndim not in (3, 4):
        raise ValueError(f"{path.name}: {pictures.ndim} dimensions; expected pictures, 3 or 4")
    pictures = pictures[:, None] if pictures.ndim == 3 else pictures
    given = (
        Path(options.labels) if options.labels else path.with_name(re.sub("images.idx[34]", "labels-idx1", path.name))
    )
    if given == path or not given.exists():
        return Read(train=Part(pictures=pictures), notes=("no labels",))
    labels = binary.read_idx(given)
    top = int(labels.max()) if labels.size else 0
    classes = tuple(str(i) for i in range(top + 1))
    check_labels(labels, len(pictures), len(classes), given.name)
    return Read(train=Part(pictures=pictures, labels=labels), classes=classes, notes=("IDX files",))


def read_digits() -> Read:
    """scikit-learn's digits, grey levels 0 .. 16."""
    from sklearn.datasets import load_digits

    rows, labels = load_digits(return_X_y=True)
    pictures = np.asarray(rows).astype(np.uint8).reshape(-1, 1, 8, 8)
    part = Part(pictures=pictures, labels=np.asarray(labels))
    return Read(train=part, levels=17, notes=("17 grey levels, as scanned",))
