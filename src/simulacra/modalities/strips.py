"""Rows of pictures with a caption each: as one image, and as a page with a slider a row. No network is needed."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image, ImageDraw, ImageFont

from simulacra.modalities.grids import PAPER, as_image, beside, png, strips

INK = 40  # of the captions, dark grey
SIZE = 15  # of their letters, pixels
GAP = 6  # pixels between pictures: rows of strokes on black would run into one another
MOST_PIXELS = 1 << 25  # of a page's pictures together: a browser holds a larger one badly


def captioned(rows: Sequence[np.ndarray], captions: Sequence[str]) -> Image.Image:
    """One row of pictures uint8 (n, h, w, c) under another, its caption to the left."""
    if len(rows) != len(captions):
        raise ValueError(f"every row needs one caption; got {len(captions)} for {len(rows)} rows")
    image = strips(rows, gap=GAP)
    font = ImageFont.load_default(SIZE)
    width = round(max(font.getlength(text) for text in captions)) + 2 * GAP
    margin = Image.new("L", (width, image.height), PAPER)
    draw = ImageDraw.Draw(margin)
    for i, text in enumerate(captions):
        draw.text((GAP, (i + 0.5) * image.height / len(rows)), text, fill=INK, font=font, anchor="lm")
    return beside([margin, image], gap=0)


def page(frames: np.ndarray, captions: Sequence[str], at: Sequence[float], *, title: str, about: str = "") -> str:
    """A page, HTML, with one slider for each row of frames uint8 (rows, steps, h, w, c).

    All frames are one picture inside it. at: what the slider stands for at each step.
    Raises ValueError for captions or steps that do not fit the frames, or more pixels than a browser bears.
    """
    if frames.ndim != 5 or frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 (rows, steps, h, w, c); got {frames.dtype} {frames.shape}")
    rows, steps, h, w, c = frames.shape
    if len(captions) != rows or len(at) != steps:
        raise ValueError(
            f"{rows} rows of {steps} frames need as many captions and steps; got {len(captions)}, {len(at)}"
        )
    if rows * steps * h * w > MOST_PIXELS:
        raise ValueError(f"{rows} x {steps} frames of {h}x{w} are too many pixels for a page; take fewer rows or steps")
    sheet = frames.transpose(0, 2, 1, 3, 4).reshape(rows * h, steps * w, c)
    middle = int(np.abs(np.asarray(at)).argmin())
    environment = Environment(
        loader=PackageLoader("simulacra.modalities", "templates"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("strips.html").render(
        title=title,
        about=about,
        sheet="data:image/png;base64," + base64.b64encode(png(as_image(sheet))).decode(),
        captions=list(captions),
        at=[round(float(v), 3) for v in at],
        rows=rows,
        steps=steps,
        height=h,
        width=w,
        middle=middle,
    )
