"""Where a translation looks as it is written: a heat map, its tokens downwards and the source's to the right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

CELL = 0.28  # inches of a token, and of the longest label for each of its letters
LETTER = 0.075


def heat_map(shares: np.ndarray, target: Sequence[str], source: Sequence[str], *, title: str = "") -> Image.Image:
    """Shares (target tokens, source tokens) in [0, 1] as a picture, dark where much is looked at.

    ValueError for shares of another shape than there are tokens.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if shares.shape != (len(target), len(source)):
        raise ValueError(f"expected shares of {len(target)} x {len(source)} tokens; got {shares.shape}")
    sides = [
        CELL * len(tokens) + LETTER * max(map(len, other)) for tokens, other in ((source, target), (target, source))
    ]
    figure = Figure(figsize=(sides[0] + 0.6, sides[1] + 0.6), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=max(float(shares.max()), 1e-9), aspect="equal")
    axes.set_xticks(range(len(source)), [_shown(t) for t in source], rotation=90, fontsize=9)
    axes.set_yticks(range(len(target)), [_shown(t) for t in target], fontsize=9)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_color("#9ca3af")
    if title:
        axes.set_xlabel(title, fontsize=9)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _shown(token: str) -> str:
    # a dollar sign would begin a formula
    return token.strip().replace("$", r"\$") or "\u2423"
