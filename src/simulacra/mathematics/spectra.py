"""Power spectra of pictures, averaged over directions: what upsampling and denoising leave traces in."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

fft: Any = torch.fft  # its functions carry no types


def radial_log_power(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b rings"]:
    """Log of the mean power in rings of equal spatial frequency, from 0 to the corner of the spectrum.

    Durall, Keuper & Keuper 2020, "Watch your up-convolution", section 2.1, of the mean over channels, each picture's
    own mean taken out. There are half as many rings as the shorter side has pixels, times sqrt 2, frequency 0 left out.
    """
    h, w = x.shape[2:]
    grey = x.mean(1)
    power: Tensor = fft.fft2(grey - grey.mean((1, 2), keepdim=True), norm="ortho").abs().square().flatten(1)
    rise: Tensor = fft.fftfreq(h, device=x.device)
    run: Tensor = fft.fftfreq(w, device=x.device)
    radius = (rise[:, None].square() + run[None].square()).sqrt().flatten() * min(h, w)
    rings = int(min(h, w) * math.sqrt(0.5)) + 1
    number = radius.round().long().clamp(max=rings - 1)
    total = power.new_zeros(len(x), rings).index_add_(1, number, power)
    count = power.new_zeros(rings).index_add_(0, number, torch.ones_like(power[0]))
    kept = (count > 0).nonzero()[1:, 0]  # ring 0 is the mean
    # a floor well below any quantisation noise: flat pictures have no power at all
    return (total[:, kept] / count[kept] + 1e-8).log()
