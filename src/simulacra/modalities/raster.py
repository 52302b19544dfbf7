"""One picture file <-> one uint8 array: every mode, depth and orientation PIL reads, cropped and resized properly."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = frozenset(
    f".{kind}"
    for kind in (
        "png",
        "jpg",
        "jpeg",
        "jpe",
        "jfif",
        "bmp",
        "gif",
        "webp",
        "tif",
        "tiff",
        "ppm",
        "pgm",
        "pbm",
        "pnm",
        "avif",
        "jp2",
        "tga",
    )
)
ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 swap width and height
GREY_MODES = ("1", "L", "LA", "La", "I", "F")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a picture's header says: height and width as it is meant to be looked at, grey or colour, alpha or not."""

    h: int
    w: int
    grey: bool
    alpha: bool


def look(data: bytes) -> Seen:
    """A picture's header, without decoding it."""
    with Image.open(io.BytesIO(data)) as image:
        # a PNG's EXIF would cost decoding it; where it comes before the pixels it is there already
        swapped = ("exif" in image.info or image.format != "PNG") and image.getexif().get(ORIENTATION, 1) >= 5
        w, h = image.size[::-1] if swapped else image.size
        return Seen(h=h, w=w, grey=is_grey(image), alpha=image.has_transparency_data)


def is_grey(image: Image.Image) -> bool:
    """Whether an image has a mode without colour; a palette counts as colour."""
    return image.mode in GREY_MODES or image.mode.startswith("I;16")


def decode(data: bytes, *, size: tuple[int, int], channels: int) -> np.ndarray:
    """A picture file as uint8 (channels, h, w): turned upright, cropped about its centre, resized.

    size      (h, w); the crop is the largest of that aspect ratio.
    channels  1 grey, 3 RGB, 4 RGBA. Without alpha on request, what is transparent lies over white, as on a page.
    """
    with Image.open(io.BytesIO(data)) as image:
        if image.format == "JPEG":
            # the decoder may halve a large photograph itself, as long as twice the wanted size is left
            image.draft(None, (2 * max(size), 2 * max(size)))
        image.load()
        upright = ImageOps.exif_transpose(image)
    return fitted(with_channels(upright, channels), size)


def fitted(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """The centre of an image of mode L, RGB or RGBA at a size (h, w), as uint8 (c, h, w).

    PIL's bicubic kernel widens with the reduction, which is what antialiasing means; Parmar et al. 2022, "On
    aliased resizing and surprising subtleties in GAN evaluation", found it faithful. Colours are weighted by alpha.
    """
    h, w = size
    if image.size != (w, h):
        wide, high = image.size
        crop_w, crop_h = (high * w / h, high) if wide * h > high * w else (wide, wide * h / w)
        left, top = (wide - crop_w) / 2, (high - crop_h) / 2
        image = image.resize((w, h), Image.Resampling.BICUBIC, box=(left, top, left + crop_w, top + crop_h))
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def with_channels(image: Image.Image, channels: int) -> Image.Image:
    """The image in mode L, RGB or RGBA for 1, 3 or 4 channels."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bit(image)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    if image.mode == mode:
        return image
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if channels != 4:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _eight_bit(image: Image.Image) -> Image.Image:
    """A deep grey image at 8 bits: 0 .. 65535 becomes 0 .. 255, floats 0 .. 1 likewise; ValueError beyond these."""
    values = np.asarray(image).astype(np.float64)
    top = 1.0 if image.mode == "F" else 65535.0
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > top:
        raise ValueError(f"grey values from {values.min():g} to {values.max():g}; expected 0 .. {top:g}")
    return Image.fromarray((values * (255 / top) + 0.5).astype(np.uint8))


def resized(pictures: np.ndarray, size: tuple[int, int] | None, channels: int | None = None) -> np.ndarray:
    """Pictures (n, c, h, w) of uint8 at another size (h, w) and number of channels; as they are where None."""
    n, c, h, w = pictures.shape
    high, wide = size or (h, w)
    planes: int = c if channels is None else channels
    if (high, wide) == (h, w) and planes == c:
        return pictures
    out = np.empty((n, planes, high, wide), np.uint8)
    for i, picture in enumerate(pictures):
        image = Image.fromarray(picture[0] if c == 1 else np.ascontiguousarray(picture.transpose(1, 2, 0)))
        out[i] = fitted(with_channels(image, planes), (high, wide))
    return out
