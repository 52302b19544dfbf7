"""Log-mel spectrograms: the power of a sound in bands as wide as hearing resolves, in decades."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

fft: Any = torch.fft  # its functions carry no types
FLOOR = 1e-10  # of power, before the logarithm: silence


def mel(hertz: Tensor) -> Tensor:
    """The mel scale, on which equal steps sound equal: 2595 log10(1 + f / 700) (O'Shaughnessy 1987, p. 150)."""
    return 2595 * torch.log10(1 + hertz / 700)


def hertz(mels: Tensor) -> Tensor:
    """Its inverse."""
    return 700 * (10 ** (mels / 2595) - 1)


def bands(rate: float, window: int, count: int, *, low: float = 0.0) -> Float[Tensor, "bins count"]:
    """Triangles over the bins of a spectrum, evenly spaced in mels from ``low`` to half the rate, each of height one.

    Davis & Mermelstein 1980, figure 1. ValueError where a band is narrower than a bin and would hear nothing.
    """
    top = torch.tensor(rate / 2, dtype=torch.float64)
    edges = hertz(torch.linspace(float(mel(torch.tensor(low))), float(mel(top)), count + 2, dtype=torch.float64))
    bins = torch.linspace(0, rate / 2, window // 2 + 1, dtype=torch.float64)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    found = torch.minimum(rising, falling).clamp(min=0)
    deaf = int((found.sum(0) == 0).sum())
    if deaf:
        raise ValueError(f"{deaf} of {count} mel bands are narrower than a bin of {window} samples; take fewer bands")
    return found


def log_mel(
    x: Float[Tensor, "b samples"], rate: float, *, window: int = 512, hop: int = 128, count: int = 40
) -> Float[Tensor, "b count frames"]:
    """log10 of the power in mel bands of Hann windows; ValueError for sounds shorter than a window."""
    if x.shape[1] < window:
        raise ValueError(
            f"a sound of {x.shape[1]} samples is shorter than a window of {window}; pad it, or shorten that"
        )
    hann = torch.hann_window(window, dtype=x.dtype, device=x.device)
    frames = x.unfold(1, window, hop) * hann
    spectrum: Tensor = fft.rfft(frames)
    power = spectrum.abs().square() / hann.square().sum()
    banded = power @ bands(rate, window, count).to(x)
    return banded.clamp(min=FLOOR).log10().transpose(1, 2)
