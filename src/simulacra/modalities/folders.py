"""Many picture files as data, from a folder or out of an archive: which are pictures, of what size, of which class."""

from __future__ import annotations

import csv
import io
import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
from PIL import Image

from simulacra.modalities import raster
from simulacra.modalities.reading import Options, Part, Read, common_shape, fits_memory, named

TRAIN_NAMES = frozenset({"train", "training"})
TEST_NAMES = frozenset({"test", "testing", "val", "valid", "validation", "eval"})
LABEL_FILES = ("labels.csv", "labels.txt")

Result = TypeVar("Result")


@dataclass(frozen=True)
class Item:
    """A file: its path below the root, "/" between the parts, and how to read it."""

    path: str
    read: Callable[[], bytes]


@dataclass
class _Skips:
    """Pictures that could not be read, by name, and why."""

    reasons: dict[str, str] = field(default_factory=dict)

    def attempt(self, item: Item, work: Callable[[bytes], Result]) -> Result | None:
        """The work's result on an item's bytes; None, with the reason kept, where the file is no readable picture."""
        try:
            return work(item.read())
        except Image.DecompressionBombWarning:
            self.reasons[item.path] = f"more than {Image.MAX_IMAGE_PIXELS:,} pixels"
        except Exception as error:  # PIL's decoders raise nearly anything on damaged bytes; all of it is counted
            self.reasons[item.path] = str(error).split("\n")[0] or type(error).__name__
        return None


def items_of_folder(folder: Path) -> list[Item]:
    """The files below a folder, in the order of their paths. Links to folders are not followed."""

    def refuse(error: OSError) -> None:
        raise ValueError(f"{error.filename}: cannot be read ({error.strerror})") from error

    found = [Path(base) / name for base, _, names in os.walk(folder, onerror=refuse) for name in names]
    # a pipe or a socket would be waited for, for ever
    items = [Item(path.relative_to(folder).as_posix(), path.read_bytes) for path in found if path.is_file()]
    return sorted(items, key=lambda item: item.path)


def read_items(items: Sequence[Item], name: str, options: Options) -> Read:
    """The pictures among some files as data.

    Files that are no pictures by their suffix are ignored and counted; pictures that cannot be read are skipped,
    by name, up to ``options.skip`` of all. Raises ValueError beyond that share, and where no picture is left.
    """
    pictures = [item for item in items if _is_picture(item.path)]
    if not pictures:
        raise ValueError(f"{name}: no pictures among {len(items)} files; expected {', '.join(sorted(raster.SUFFIXES))}")
    notes = _ignored([item for item in items if not _is_picture(item.path)])
    skips = _Skips()
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        seen = _each(lambda item: skips.attempt(item, raster.look), pictures)
        _check_share(skips, len(pictures), name, options.skip)
        pictures = [item for item, s in zip(pictures, seen, strict=True) if s is not None]
        size, channels, chosen = common_shape([s for s in seen if s is not None], options)
        fits_memory(len(pictures), channels, size, name)
        array = np.empty((len(pictures), channels, *size), np.uint8)

        def decode(i: int) -> bool:
            done = skips.attempt(pictures[i], lambda data: raster.decode(data, size=size, channels=channels))
            if done is not None:
                array[i] = done
            return done is not None

        good = np.array(_each(decode, range(len(pictures))))
    _check_share(skips, len(seen), name, options.skip)
    if skips.reasons:
        shown = [f"{path} ({reason})" for path, reason in sorted(skips.reasons.items())]
        notes.append(f"skipped {len(shown)} of {len(seen):,} pictures that cannot be read: {named(shown)}")
    if not good.all():
        array, pictures = array[good], [item for item, g in zip(pictures, good, strict=True) if g]
    return _sorted_out(array, [item.path for item in pictures], items, name, [*chosen, *notes], options)


def _sorted_out(
    array: np.ndarray, paths: list[str], items: Sequence[Item], name: str, notes: list[str], options: Options
) -> Read:
    """Classes from a label file or from folders, and the official split where the folders are one."""
    beside = {item.path: item for item in items}
    listed = next((beside[label] for label in LABEL_FILES if label in beside), None)
    if options.labels is not None:
        listed = Item(Path(options.labels).name, Path(options.labels).read_bytes)
    if listed is not None:
        labels, classes = _listed_labels(listed, paths, name)
        return Read(
            train=Part(pictures=array, labels=labels), classes=classes, notes=(*notes, f"classes from {listed.path}")
        )
    parts = _below_common([PurePosixPath(path).parent.parts for path in paths])
    tops = {p[0] if p else "" for p in parts}
    held = np.array([bool(p) and p[0].lower() in TEST_NAMES for p in parts])
    official = tops and {t.lower() for t in tops} <= TRAIN_NAMES | TEST_NAMES and 0 < held.sum() < len(held)
    if official:
        parts = [p[1:] for p in parts]
        notes.append("the folders' own split is kept: " + " and ".join(sorted(tops)))
    labels, classes, said = _folder_labels(parts)
    notes.extend(said)
    take = lambda mask: Part(pictures=array[mask], labels=None if labels is None else labels[mask])  # noqa: E731
    if official:
        return Read(train=take(~held), test=take(held), classes=classes, notes=tuple(notes))
    return Read(train=Part(pictures=array, labels=labels), classes=classes, notes=tuple(notes))


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


def _listed_labels(listed: Item, paths: list[str], name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels from lines "file,label" (.csv, any order) or from one label a line (.txt, in the order of the paths)."""
    try:
        text = listed.read().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name}: {listed.path} cannot be read as text ({error}); expected UTF-8") from error
    if listed.path.endswith(".csv"):
        rows = [row for row in csv.reader(io.StringIO(text)) if row]
        if any(len(row) != 2 for row in rows):
            raise ValueError(f"{name}: {listed.path} must hold two columns, file and label; found other lines")
        known = {file.strip(): label.strip() for file, label in rows}
        missing = [path for path in paths if path not in known]
        if missing:
            raise ValueError(f"{name}: {listed.path} has no line for {len(missing)} pictures: {named(missing)}")
        words = [known[path] for path in paths]
    else:
        words = [line.strip() for line in text.splitlines() if line.strip()]
        if len(words) != len(paths):
            raise ValueError(
                f"{name}: {listed.path} has {len(words)} labels for {len(paths)} pictures; expected as many"
            )
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


def _is_picture(path: str) -> bool:
    pure = PurePosixPath(path)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in pure.parts)
    return not hidden and pure.suffix.lower() in raster.SUFFIXES


def _ignored(others: list[Item]) -> list[str]:
    kinds = Counter(PurePosixPath(o.path).suffix.lower() or "no suffix" for o in others if o.path not in LABEL_FILES)
    if not kinds:
        return []
    said = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(4))
    return [f"ignored {sum(kinds.values()):,} files that are no pictures: {said}"]


def _check_share(skips: _Skips, total: int, name: str, share: float) -> None:
    bad = len(skips.reasons)
    if bad > share * total:
        path, reason = min(skips.reasons.items())
        raise ValueError(
            f"{name}: {bad} of {total} pictures cannot be read, the first {path} ({reason}); at most {share:.0%} are"
            " skipped: mend or remove them, or allow more with skip="
        )


def _each(work: Callable[..., Result], things: Sequence[object]) -> list[Result]:
    """The work done on each thing, side by side: decoding releases the interpreter's lock."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(work, things))
