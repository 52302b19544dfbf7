"""Pictures and points in NumPy's .npy and .npz files, never unpickled."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from simulacra.modalities.images import check_labels
from simulacra.modalities.reading import MOST_BYTES, Options, Part, Read

PICTURE_KEYS = ("x", "images", "pictures", "data", "arr_0", "x_train", "train_images")
LABEL_KEYS = ("y", "labels", "label", "targets", "arr_1", "y_train", "train_labels")
TEST_KEYS = (("x_test", "y_test"), ("test_images", "test_labels"))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz by name, or that of a .npy under "x"; ValueError for what is damaged, huge or pickled."""
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                total = sum(info.file_size for info in archive.infolist())
            if total > MOST_BYTES:
                raise ValueError(f"unpacks to {total:,} bytes; the most that is read is {MOST_BYTES:,}")
        # a memory map reads a .npy's header first, and never allocates what a false header promises
        loaded = np.load(path, allow_pickle=False, mmap_mode="r" if path.suffix == ".npy" else None)
        if isinstance(loaded, np.ndarray):
            return {"x": loaded}
        with loaded:
            return {key: loaded[key] for key in loaded.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        pickled = "allow_pickle" in str(error) or "Python objects" in str(error)
        said = "it holds Python objects, which are never unpickled" if pickled else str(error).split("\n")[0]
        raise ValueError(f"{path.name}: cannot be read ({said}); expected arrays of numbers") from error


def read_picture_arrays(path: Path, arrays: dict[str, np.ndarray], options: Options) -> Read:
    """Pictures from an array file; labels and a test split from the keys or files beside that name them."""
    if not arrays:
        raise ValueError(f"{path.name}: holds no array; expected pictures or points")
    key = next((k for k in PICTURE_KEYS if k in arrays), next(iter(arrays)))
    train, notes = pictures_from(arrays[key], f"{path.name}[{key}]" if len(arrays) > 1 else path.name)
    labels, said = _labels(path, arrays, options)
    test = None
    for x_key, y_key in TEST_KEYS:
        if x_key in arrays:
            test = Part(pictures=pictures_from(arrays[x_key], f"{path.name}[{x_key}]")[0], labels=arrays.get(y_key))
    classes = _count_classes([labels, None if test is None else test.labels], path.name)
    if labels is not None:
        check_labels(labels, len(train), len(classes), path.name)
    return Read(train=Part(pictures=train, labels=labels), test=test, classes=classes, notes=(*notes, *said))


def pictures_from(
    array: np.ndarray, name: str, layout: Literal["nhwc", "nchw"] | None = None
) -> tuple[np.ndarray, list[str]]:
    """Pictures (n, c, h, w) of uint8 from (n, h, w), (n, h, w, c) or (n, c, h, w) of nearly any numbers, and notes.

    Floats lie in [0, 1], in [-1, 1] where any is negative, or are whole numbers 0 .. 255; 16-bit levels become
    8-bit ones; booleans black and white. layout says where the channels are, None sees it from the shape. Raises
    ValueError for other shapes and values, NaN among them.
    """
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise ValueError(f"{name}: shape {array.shape}; expected pictures (n, h, w), (n, h, w, c) or (n, c, h, w)")
    if array.ndim == 3:
        array = array[:, None]
    elif layout == "nhwc" or (layout is None and array.shape[3] in (1, 3, 4) and array.shape[1] not in (1, 3, 4)):
        array = array.transpose(0, 3, 1, 2)
    elif layout is None and array.shape[3] in (1, 3, 4):
        raise ValueError(
            f"{name}: shape {array.shape} may be (n, h, w, c) or (n, c, h, w); give a fourth size that is not"
        )
    elif array.shape[1] not in (1, 3, 4):
        raise ValueError(f"{name}: shape {array.shape} has no axis of 1, 3 or 4 channels in second or last place")
    levels, note = _levels(array, name)
    return np.ascontiguousarray(levels), [note] if note else []


def _levels(array: np.ndarray, name: str) -> tuple[np.ndarray, str]:
    if array.dtype == np.uint8:
        return array, ""
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255, "booleans read as black and white"
    if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
        raise ValueError(f"{name}: values of type {array.dtype}; expected numbers")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).reshape(len(array), -1).any(1).sum())
        raise ValueError(f"{name}: NaN or infinity in {bad} of {len(array)} pictures; remove them")
    low, high = float(array.min()), float(array.max())
    whole = np.issubdtype(array.dtype, np.integer) or bool((array == np.round(array)).all())
    if whole and low >= 0 and 1 < high <= 255:
        return array.astype(np.uint8), f"{array.dtype} read as 8-bit levels 0 .. 255"
    if array.dtype == np.uint16:
        return (array / 257 + 0.5).astype(np.uint8), "16-bit levels read as 8-bit ones"
    if low >= 0 and high <= 1:
        return (array * 255.0 + 0.5).astype(np.uint8), f"{array.dtype} in 0 .. 1 read as 8-bit levels"
    if low >= -1 and high <= 1:
        return ((array + 1) * 127.5 + 0.5).astype(np.uint8), f"{array.dtype} in -1 .. 1 read as 8-bit levels"
    raise ValueError(f"{name}: values from {low:g} to {high:g}; expected 0 .. 1, -1 .. 1 or whole numbers 0 .. 255")


def _labels(path: Path, arrays: dict[str, np.ndarray], options: Options) -> tuple[np.ndarray | None, list[str]]:
    if options.labels is not None:
        return _label_array(Path(options.labels)), [f"classes from {Path(options.labels).name}"]
    key = next((k for k in LABEL_KEYS if k in arrays), None)
    if key is not None:
        return arrays[key], [f"classes from the array {key!r}"]
    for beside in (path.with_name(f"{path.stem}-labels.npy"), path.with_name(f"{path.stem}_labels.npy")):
        if beside.is_file():
            return _label_array(beside), [f"classes from {beside.name}"]
    return None, []


def _label_array(path: Path) -> np.ndarray:
    if path.suffix != ".npy":
        raise ValueError(f"{path.name}: labels of an array are an array; expected a .npy of whole numbers")
    return np.asarray(read_arrays(path)["x"])


def _count_classes(labels: list[np.ndarray | None], name: str) -> tuple[str, ...]:
    tops = [int(y.max()) for y in labels if y is not None and y.size and np.issubdtype(y.dtype, np.integer)]
    if tops and max(tops) > 99_999:
        raise ValueError(f"{name}: label {max(tops)}; expected classes numbered from 0")
    return tuple(str(i) for i in range(max(tops) + 1)) if tops else ()
