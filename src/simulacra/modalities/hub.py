"""Pictures from the hub, or from a folder saved by its library; needs the extra ``hub``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from simulacra.modalities import raster
from simulacra.modalities.reading import Options, Part, Read, common_shape, fits_memory

TRAIN_SPLITS = ("train",)
TEST_SPLITS = ("test", "validation", "valid", "val")


def is_saved(names: Sequence[str]) -> bool:
    """Whether a folder's names are those that ``datasets`` writes with ``save_to_disk``."""
    return "dataset_dict.json" in names or {"dataset_info.json", "state.json"} <= set(names)


def read_hub(name: str, options: Options) -> Read:
    """Pictures of a ``datasets`` name (OWNER/NAME) or of a folder it saved.

    The first column of pictures is taken, and the first of class labels; its test split is kept where it has one.
    Raises ValueError where the extra is missing, the data cannot be had, or holds no pictures.
    """
    try:
        import datasets
    except ImportError as error:
        raise ValueError(f"{name}: data of the hub needs the extra: pip install 'simulacra[hub]'") from error
    try:
        found = datasets.load_from_disk(name) if Path(name).is_dir() else datasets.load_dataset(name)
    except Exception as error:  # its errors are of many libraries; all of them mean that there is no data
        said = str(error).split("\n")[0]
        raise ValueError(f"{name}: cannot be had from the hub ({type(error).__name__}: {said})") from error
    if isinstance(found, datasets.Dataset):
        train, classes, notes = _part(found, name, options)
        return Read(train=train, classes=classes, notes=("saved by datasets", *notes))
    first = next((s for s in TRAIN_SPLITS if s in found), next(iter(found)))
    held = next((s for s in TEST_SPLITS if s in found and s != first), None)
    train, classes, notes = _part(found[first], name, options)
    size = train.pictures.shape[2:]
    same = Options(size=(size[0], size[1]), channels=train.pictures.shape[1], skip=options.skip)
    test = None if held is None else _part(found[held], name, same)[0]
    return Read(train=train, test=test, classes=classes, notes=(f"splits: {', '.join(map(str, found))}", *notes))


def _part(rows: Any, name: str, options: Options) -> tuple[Part, tuple[str, ...], list[str]]:
    """One split as pictures and labels, the names of the classes, and what was chosen."""
    import datasets

    column = next((n for n, f in rows.features.items() if isinstance(f, datasets.Image)), None)
    if column is None:
        raise ValueError(f"{name}: no column of pictures among {', '.join(rows.features)}; expected one of type Image")
    if not len(rows):
        raise ValueError(f"{name}: an empty split; expected at least one picture")
    named = next((n for n, f in rows.features.items() if isinstance(f, datasets.ClassLabel)), None)
    pictures: list[Image.Image] = [row[column] for row in rows.select_columns([column])]
    seen = [raster.Seen(h=p.height, w=p.width, grey=raster.is_grey(p), alpha=p.has_transparency_data) for p in pictures]
    size, channels, notes = common_shape(seen, options)
    fits_memory(len(pictures), channels, size, name)
    array = np.empty((len(pictures), channels, *size), np.uint8)
    for i, picture in enumerate(pictures):
        array[i] = raster.fitted(raster.with_channels(picture, channels), size)
    if named is None:
        return Part(pictures=array), (), notes
    return Part(pictures=array, labels=np.asarray(rows[named])), tuple(rows.features[named].names), notes
