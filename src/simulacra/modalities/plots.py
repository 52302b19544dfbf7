"""Points a person can look at: samples over data in the plane. Matplotlib without a display."""

from __future__ import annotations

import numpy as np
from PIL import Image

INK, PALE = "#2563eb", "#9ca3af"  # samples, data
MOST = 10_000  # points drawn of each set: more only blot
MARGIN = 0.08  # of the data's extent, around it


def scatter(samples: np.ndarray, real: np.ndarray | None = None, *, title: str = "", pixels: int = 480) -> Image.Image:
    """Points (n, d), blue, over real ones (m, d), grey, in their first two coordinates (one: over an index).

    The frame is that of the real points; samples outside it are counted in the title, so that none gets lost unseen.
    Raises ValueError for another shape and for no finite point to set the frame by.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sets = [_plane(s) for s in ((samples,) if real is None else (samples, real))]
    frame = sets[-1][np.isfinite(sets[-1]).all(1)]
    if not len(frame):
        raise ValueError("no finite point to draw; expected at least one")
    low, high = frame.min(0), frame.max(0)
    reach = max(float((high - low).max()), 1e-9) * (0.5 + MARGIN)
    middle = (low + high) / 2
    outside = int((~(np.abs(sets[0] - middle) <= reach).all(1)).sum())
    figure = Figure(figsize=(pixels / 100, pixels / 100), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if real is not None:
        axes.scatter(*sets[1][:MOST].T, s=3, c=PALE, alpha=_alpha(len(sets[1])), linewidths=0, label="data")
    axes.scatter(*sets[0][:MOST].T, s=3, c=INK, alpha=_alpha(len(sets[0])), linewidths=0, label="samples")
    axes.set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach), aspect="equal")
    axes.tick_params(labelsize=8, color=PALE)
    for spine in axes.spines.values():
        spine.set_color(PALE)
    said = [title] if title else []
    if outside:
        said.append(f"{outside:,} of {len(sets[0]):,} outside")
    axes.set_title("; ".join(said), fontsize=10)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _plane(points: np.ndarray) -> np.ndarray:
    if points.ndim != 2 or not points.size:
        raise ValueError(f"expected points (n, d); got {points.shape}")
    if points.shape[1] == 1:
        return np.stack([points[:, 0], np.linspace(-1, 1, len(points))], 1)
    return points[:, :2]


def _alpha(n: int) -> float:
    return float(np.clip(1500 / min(n, MOST), 0.15, 0.8))
