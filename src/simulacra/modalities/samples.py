"""Samples written where a person asks for them, and read back to be judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simulacra.core.batch import Batch, Stored
from simulacra.core.space import Classes, Space
from simulacra.modalities import archives, arrays, folders, grids, images, plots, raster
from simulacra.modalities.reading import Item, Options

SHOWN = 1024  # pictures in one grid: a larger one cannot be looked at
READABLE = "a folder, .zip or .tar of pictures, one picture, .npy or .npz"


def write_samples(batch: Batch, space: Space, out: Path | str, *, columns: int | None = None) -> str:
    """Write examples of a space as the name of ``out`` asks; returns a line that says what was written.

    .png .jpg .gif ...  a grid (pictures, at most 1,024) or a scatter plot (points).
    .npy                uint8 (n, h, w, c) of pictures, floats (n, d) of points.
    .npz                the same under "x", and labels under "y" where there are any.
    anything else       a folder: one PNG each, in a subfolder a class where there are labels.

    Raises ValueError for a space that is neither pictures nor points, and for a folder that is not empty.
    """
    path = Path(out)
    x = batch.x
    if not isinstance(x, Tensor):
        raise ValueError(f"only examples of one field can be written; these have {list(x)}")
    if path.suffix in (".npy", ".npz"):
        return _write_array(batch, _values(x, space), path)
    if path.suffix:
        return _write_image(x, space, path, columns)
    return _write_folder(batch, images.to_uint8(x, space), space, path)


def read_samples(path: Path | str, space: Space) -> Stored:
    """Samples that ``write_samples`` (or anyone) wrote, as data of this space: a folder or archive of pictures, one
    picture, or an array. Labels are left aside; ``read_labelled`` has them.

    Pictures of another size or number of channels are refused: resizing would change what is judged. So is a grid
    of pictures, which has the size of none of them.
    """
    return read_labelled(path, replace(space, y=None))[0]


def read_labelled(path: Path | str, space: Space) -> tuple[Stored, Tensor | None]:
    """Samples as ``read_samples`` has them, and their labels as numbers of the space's own classes, int64 (n,).

    Labels are an array y of a .npz, or the names of a folder's subfolders; None where there are none, or the space has
    no classes. ValueError for classes that the space does not have.
    """
    path = Path(path)
    labels: Tensor | None = None
    if not path.exists():
        raise ValueError(f"no samples at {path}; expected {READABLE}")
    if path.suffix in (".npy", ".npz"):
        array = arrays.read_arrays(path)
        values = array.get("x", next(iter(array.values())))
        if isinstance(space.y, Classes) and "y" in array and path.suffix == ".npz":
            images.check_labels(array["y"], len(values), len(space.y), path.name)
            labels = torch.from_numpy(array["y"].astype(np.int64))
        if not is_pictures(space):
            return _points(values, space, path), labels
        c, h, w = images.picture_field(space).shape
        # small pictures fit both layouts; what we write ourselves is (n, h, w, c)
        layout = "nhwc" if values.shape[1:] == (h, w, c) else "nchw" if values.shape[1:] == (c, h, w) else None
        pictures, _ = arrays.pictures_from(values, path.name, layout)
    elif path.is_dir() or archives.is_archive(path) or path.suffix.lower() in raster.SUFFIXES:
        if not is_pictures(space):
            raise ValueError(f"{path}: points are read from a .npy or .npz of shape (n, d); got pictures")
        pictures, labels = _read_pictures(path, images.picture_field(space).shape[0], space)
    else:
        raise ValueError(f"{path}: not recognised; expected {READABLE}")
    field = images.picture_field(space)
    if pictures.shape[1:] != field.shape:
        _refuse(pictures.shape[1:], field.shape, path)
    levels = field.levels or 256
    # PNGs hold 0 .. 255 whatever the number of levels; the nearest level is the one that was written
    index = np.rint(pictures * ((levels - 1) / 255)).astype(np.uint8)
    c, h, w = field.shape
    plain = images.space(c, h, w, levels=levels)
    return Stored(space=plain, x=torch.from_numpy(index), name=path.name), labels


def show(batch: Batch, space: Space, *, real: Tensor | None = None, columns: int | None = None):
    """Examples of a space as one PIL image: a grid of pictures, or points over real ones where they are given."""
    assert isinstance(batch.x, Tensor)
    if is_pictures(space):
        return grids.grid(images.to_uint8(batch.x, space), columns=columns)
    back = None if real is None else real.detach().cpu().numpy()
    return plots.scatter(_values(batch.x, space), back)


def is_pictures(space: Space) -> bool:
    """Whether a space is one of pictures: one field (c, h, w) with levels and 1, 3 or 4 channels."""
    return (
        space.layout == "grid" and getattr(space.only, "levels", None) is not None and space.only.shape[0] in (1, 3, 4)
    )


def _read_pictures(path: Path, channels: int, space: Space) -> tuple[np.ndarray, Tensor | None]:
    """Every picture there, uint8 (n, c, h, w), as it is: none resized, none robbed of its colours; and its labels."""
    items = _items(path)
    # grey pictures may be stored in colour; whether they are grey is seen when all three channels are there
    read = folders.read_items(items, path.name, Options(channels=max(channels, 3), skip=0.0))
    if read.resized:
        raise ValueError(f"{path}: pictures of several sizes; expected one size, that of the model's own")
    # subfolders named train and test are samples like all the others here
    parts = [read.train] if read.test is None else [read.train, read.test]
    pictures = np.concatenate([part.pictures for part in parts])
    labels = None
    if isinstance(space.y, Classes) and all(part.labels is not None for part in parts):
        own = np.array([space.y.index(name) for name in read.classes])
        labels = torch.from_numpy(np.concatenate([own[part.labels] for part in parts]))
    if channels > 1:
        return pictures, labels
    if (pictures != pictures[:, :1]).any():
        raise ValueError(f"{path}: pictures in colour; expected grey ones, as the model's own")
    return pictures[:, :1], labels


def _items(path: Path) -> list[Item]:
    if path.is_dir():
        return folders.items_of_folder(path)
    return archives.items_of_archive(path) if archives.is_archive(path) else [Item(path.name, path.read_bytes)]


def _values(x: Tensor, space: Space) -> np.ndarray:
    if is_pictures(space):
        return images.to_uint8(x, space)
    if x.ndim != 2 or not x.is_floating_point():
        raise ValueError(f"expected pictures or points (n, d); got {x.dtype} {tuple(x.shape)} of {space.measure!r}")
    return x.detach().cpu().float().numpy()


def _write_array(batch: Batch, values: np.ndarray, path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values, allow_pickle=False)
    elif isinstance(batch.y, Tensor):
        np.savez_compressed(path, x=values, y=batch.y.cpu().numpy())
    else:
        np.savez_compressed(path, x=values)
    return f"{path}: {len(values):,} examples, {values.dtype} {values.shape}"


def _write_image(x: Tensor, space: Space, path: Path, columns: int | None) -> str:
    n = min(len(x), SHOWN) if is_pictures(space) else len(x)
    image = show(Batch(x=x[:n]), space, columns=columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        image.save(path)
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(f"{path}: cannot be written as {path.suffix} ({error}); try .png") from error
    left = f" (the first of {len(x):,}; a folder or .npz holds all)" if n < len(x) else ""
    return f"{path}: {n:,} {'pictures' if is_pictures(space) else 'points'}{left}, {image.width}x{image.height}"


def _write_folder(batch: Batch, pictures: np.ndarray, space: Space, path: Path) -> str:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{path} exists and is not an empty folder; give another name")
    y = batch.y if isinstance(batch.y, Tensor) and isinstance(space.y, Classes) else None
    names = [_safe(n) for n in space.classes.names] if y is not None else []
    digits = len(str(len(pictures) - 1))
    for i, picture in enumerate(pictures):
        below = path / names[int(y[i])] if y is not None else path
        below.mkdir(parents=True, exist_ok=True)
        grids.as_image(picture).save(below / f"{i:0{digits}}.png")
    return f"{path}: {len(pictures):,} pictures" + (f" in {len(names)} folders, one a class" if names else "")


def _safe(name: str) -> str:
    """A class name as the name of a folder: no separator, nothing hidden, never empty."""
    plain = "".join(c if c.isalnum() or c in "-_ ." else "-" for c in name).strip(". ")
    return plain or "class"


def _points(values: np.ndarray, space: Space, path: Path) -> Stored:
    d = space.only.shape[0]
    if values.ndim != 2 or values.shape[1] != d or not np.issubdtype(values.dtype, np.number):
        raise ValueError(f"{path.name}: {values.dtype} {values.shape}; expected points (n, {d})")
    if not np.isfinite(values).all():
        raise ValueError(
            f"{path.name}: NaN or infinity in {int((~np.isfinite(values)).any(1).sum())} rows; remove them"
        )
    return Stored(space=space, x=torch.from_numpy(values.astype(np.float32)), name=path.name)


def _refuse(got: tuple[int, ...], expected: tuple[int, ...], path: Path) -> np.ndarray:
    if got[1:] == expected[1:]:
        raise ValueError(
            f"{path}: pictures of {got[0]} channels; expected {expected[0]}, as the model's own: convert them to that"
        )
    raise ValueError(
        f"{path}: pictures of shape {tuple(got)}; expected {expected}, as the model's own: crop or resize them to that"
    )
