"""Of which class is each picture, and on which side of the official split: a label file says it, or the folders do."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from simulacra.modalities import raster
from simulacra.modalities.reading import Item, Part, Read, named

TRAIN_NAMES = frozenset({"train", "training"})
TEST_NAMES = frozenset({"test", "testing", "val", "valid", "validation", "eval"})
LABEL_FILES = ("labels.csv", "labels.txt")


def is_picture(path: str) -> bool:
    """Whether a file is a picture, by its suffix; hidden files and a Mac's resource forks are none."""
    pure = PurePosixPath(path)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in pure.parts)
    return not hidden and pure.suffix.lower() in raster.SUFFIXES


def sorted_out(
    array: np.ndarray,
    paths: list[str],
    items: Sequence[Item],
    name: str,
    given: str | None,
    written: Sequence[str] | None = None,
) -> Read:
    """Pictures with their classes, from a label file or from folders, and the official split where folders are one.

    array, paths  the pictures that were read, (n, c, h, w), and their paths; written: their captions, if any.
    items         all the files they are from: a label file speaks of pictures that were skipped, too.
    given         path of a label file that has another name or lies elsewhere.
    """
    beside = {item.path: item for item in items}
    found = next((beside[label] for label in LABEL_FILES if label in beside), None)
    if given is not None:
        found = Item(Path(given).name, Path(given).read_bytes)
    if found is not None:
        everything = [item.path for item in items if is_picture(item.path)]
        labels, classes = _listed_labels(found, paths, everything, name)
        part = Part(pictures=array, labels=labels, captions=None if written is None else tuple(written))
        return Read(train=part, classes=classes, notes=(f"classes from {found.path}",))
    parts = _below_common([PurePosixPath(path).parent.parts for path in paths])
    tops = {p[0] if p else "" for p in parts}
    held = np.array([bool(p) and p[0].lower() in TEST_NAMES for p in parts])
    official = tops and {t.lower() for t in tops} <= TRAIN_NAMES | TEST_NAMES and 0 < held.sum() < len(held)
    notes = []
    if official:
        parts = [p[1:] for p in parts]
        notes.append("the folders' own split is kept: " + " and ".join(sorted(tops)))
    labels, classes, said = _folder_labels(parts)
    notes.extend(said)

    def take(mask: np.ndarray) -> Part:
        texts = None if written is None else tuple(t for t, m in zip(written, mask, strict=True) if m)
        return Part(pictures=array[mask], labels=None if labels is None else labels[mask], captions=texts)

    if official:
        return Read(train=take(~held), test=take(held), classes=classes, notes=tuple(notes))
    part = Part(pictures=array, labels=labels, captions=None if written is None else tuple(written))
    return Read(train=part, classes=classes, notes=tuple(notes))


def _folder_labels(parts: list[tuple[str, ...]]) -> tuple[np.ndarray | None, tuple[str, ...], list[str]]:
    """The class of each picture is the first folder on its way; none where all, or some, are in no such folder."""
    tops = [p[0] if p else "" for p in parts]
    classes = sorted(set(tops))
    if len(classes) < 2:
        return None, (), [f"one folder, {classes[0]!r}: no classes to tell apart"] if classes[0] else []
    if "" in classes:
        return None, (), [f"{tops.count('')} pictures lie beside the subfolders: no classes"]
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[top] for top in tops]), tuple(classes), [f"{len(classes)} classes, one a subfolder"]


def listed(file: Item, everything: Sequence[str], name: str, what: str) -> Mapping[str, str]:
    """Path -> its label or caption (``what``), from lines "file,label" (.csv, any order) or from one a line (.txt, in
    the order of every path). ValueError for another number of lines, other columns, or no text.
    """
    try:
        text = file.read().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name}: {file.path} cannot be read as text ({error}); expected UTF-8") from error
    if file.path.endswith(".csv"):
        rows = [row for row in csv.reader(io.StringIO(text)) if row]
        if any(len(row) != 2 for row in rows):
            raise ValueError(f"{name}: {file.path} must hold two columns, file and {what[:-1]}; found other lines")
        return {path.strip(): said.strip() for path, said in rows}
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) != len(everything):
        raise ValueError(
            f"{name}: {file.path} has {len(lines)} {what} for {len(everything)} pictures; expected as many"
        )
    return dict(zip(everything, lines, strict=True))


def _listed_labels(
    file: Item, paths: list[str], everything: list[str], name: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The label of each picture, and the classes there are."""
    known = listed(file, everything, name, "labels")
    missing = [path for path in paths if path not in known]
    if missing:
        raise ValueError(f"{name}: {file.path} has no line for {len(missing)} pictures: {named(missing)}")
    words = [known[path] for path in paths]
    # numbers in their own order: 10 comes after 9
    classes = sorted(set(words), key=lambda w: (0, int(w), w) if w.isdecimal() else (1, 0, w))
    index = {word: i for i, word in enumerate(classes)}
    return np.array([index[word] for word in words]), tuple(classes)


def _below_common(parts: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Paths without the folders that all of them share, save the last, which may be a class of its own."""
    first, last, deepest = min(parts), max(parts), min(len(p) for p in parts)
    shared = next((i for i in range(deepest) if first[i] != last[i]), deepest)
    cut = shared - 1 if shared == deepest and shared and all(len(p) == shared for p in parts) else shared
    return [p[cut:] for p in parts]
