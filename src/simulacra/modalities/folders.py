"""Many picture files as data, from a folder or out of an archive: which are pictures, of what size, of which class."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from simulacra.modalities import captions, raster
from simulacra.modalities.labelling import LABEL_FILES, is_picture, sorted_out
from simulacra.modalities.reading import Item, Options, Read, common_shape, fits_memory, named

Result = TypeVar("Result")


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
        except UnidentifiedImageError:  # its own words end in an address in memory
            self.reasons[item.path] = "no picture that can be recognised"
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
    pictures = [item for item in items if is_picture(item.path)]
    if not pictures:
        raise ValueError(f"{name}: no pictures among {len(items)} files; expected {', '.join(sorted(raster.SUFFIXES))}")
    notes = _ignored([item for item in items if not is_picture(item.path)], captioned=options.captions)
    skips = _Skips()
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        seen = _each(lambda item: skips.attempt(item, raster.look), pictures)
        _check_share(skips, len(pictures), name, options.skip)
        pictures = [item for item, s in zip(pictures, seen, strict=True) if s is not None]
        size, channels, chosen = common_shape([s for s in seen if s is not None], options)
        fits_memory(len(pictures), channels, size, name)
        resized = any((s.h, s.w) != size for s in seen if s is not None)
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
    kept = [item.path for item, g in zip(pictures, good, strict=True) if g]
    array = array if good.all() else array[good]
    written: list[str] | None = None
    if options.captions:
        everything = [item.path for item in items if is_picture(item.path)]
        array, kept, written = _captioned(array, kept, captions.captions_of(kept, everything, items, name), notes)
    found = sorted_out(array, kept, items, name, options.labels, written)
    return replace(found, notes=(*chosen, *notes, *found.notes), resized=resized)


def _captioned(
    array: np.ndarray, paths: list[str], written: Sequence[str | None], notes: list[str]
) -> tuple[np.ndarray, list[str], list[str]]:
    """Pictures, their paths and their captions, those of which nothing is written left out, and that noted."""
    known = np.array([text is not None for text in written])
    if not known.all():
        bare = [path for path, k in zip(paths, known, strict=True) if not k]
        notes.append(f"left out {len(bare)} pictures without a caption: {named(bare)}")
        array, paths = array[known], [path for path, k in zip(paths, known, strict=True) if k]
    return array, paths, [text for text in written if text is not None]


def _ignored(others: list[Item], *, captioned: bool) -> list[str]:
    """Notes on files that are no pictures."""
    read = {*LABEL_FILES, *captions.FILES}
    there = [o.path for o in others if o.path in captions.FILES]
    notes = [f"{path} is left aside (given=caption learns from it)" for path in there if not captioned]
    kinds = Counter(PurePosixPath(o.path).suffix.lower() or "no suffix" for o in others if o.path not in read)
    if kinds:
        said = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(4))
        notes.append(f"ignored {sum(kinds.values()):,} files that are no pictures: {said}")
    return notes


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
