"""Random changes of pictures that a gradient passes through: places moved, colours changed, by a matrix a picture.

Karras et al. 2020, "Training generative adversarial networks with limited data", appendix B (``mirror`` to
``saturation``), and Zhao et al. 2020, "Differentiable augmentation for data-efficient GAN training", section 3
(``jitter``, ``translate``, ``cutout``). Pictures are (b, c, h, w) in units in which black is -1 and white 1. One or two
channels are grey (and opacity), three or four red, green, blue (and opacity); what more channels mean is not known, so
colours of such pictures stay.

Matrices of places (b, 3, 3) act on (x, y, 1), in pixels about the picture's centre, x to the right and y downwards:
from a place of the new picture to the place of the old one that is seen there. Matrices of colours (b, 4, 4) act on
(red, green, blue, 1). Every draw has the examples as its first extent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from simulacra.core.randomness import Rng

Pictures = Float[Tensor, "batch channels height width"]
Matrices = Float[Tensor, "batch n n"]
Draw = Callable[[Pictures, Rng], Matrices]  # pictures, for their number, size, type and device -> a matrix for each

# Karras et al. 2020, appendix B: deviations of log2 of factors, of shifts as shares of the side, of brightness
SCALE, STRETCH, CONTRAST, SATURATION, BRIGHTNESS = 0.2, 0.2, 0.5, 1.0, 0.2
SHIFT = 0.125  # of the side: the largest whole shift, the deviation of a fractional one
TONES = {1: 1, 2: 1, 3: 3, 4: 3}  # how many of so many channels are colours; the last is opacity otherwise
CUT = 0.5  # side of what is cut out, as a share of the picture's: Zhao et al. 2020, section 3


def warped(x: Pictures, places: Matrices) -> Pictures:
    """Pictures whose places are moved, read bilinearly, reflected at their borders; bit-exact where nothing moves."""
    height, width = x.shape[2:]
    units = torch.tensor([2 / width, 2 / height, 1.0], dtype=x.dtype, device=x.device)
    theta = units[:, None] * places / units  # the grid's own units are halves of a side
    grid = F.affine_grid(theta[:, :2], list(x.shape), align_corners=False)
    seen = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    return _where_changed(places, seen, x)


def recoloured(x: Pictures, colours: Matrices) -> Pictures:
    """Pictures whose colours are changed; grey is an equal red, green and blue, of which the mean is kept."""
    tones = TONES.get(x.shape[1])
    if tones is None:
        return x
    linear, offset = colours[:, :3, :3], colours[:, :3, 3:]
    if tones == 1:
        linear, offset = linear.sum((1, 2), keepdim=True) / 3, offset.mean(1, keepdim=True)
    changed = (linear @ x[:, :tones].flatten(2) + offset).reshape(len(x), tones, *x.shape[2:])
    return _where_changed(colours, torch.cat([changed, x[:, tones:]], dim=1), x)


def drawn(transforms: Sequence[Draw], p: Tensor, x: Pictures, rng: Rng) -> list[Matrices]:
    """A matrix of each transform for each picture: drawn with probability p (), otherwise the identity.

    One that is listed k times is drawn at each place with probability 1 - (1 - p)^(1/k), so that it is drawn at all
    with probability p.
    """
    found: list[Tensor] = []
    for i, transform in enumerate(transforms):
        chance = 1 - (1 - p) ** (1 / list(transforms).count(transform))
        matrices = transform(x, rng(i))
        due = rng(i, "due").uniform((len(x),), device=x.device) < chance
        found.append(torch.where(due[:, None, None], matrices, torch.eye(matrices.shape[1]).to(matrices)))
    return found


def _where_changed(matrices: Tensor, changed: Tensor, x: Tensor) -> Tensor:
    same = (matrices == torch.eye(matrices.shape[1]).to(matrices)).flatten(1).all(1)
    return torch.where(same[:, None, None, None], x, changed)


# -- places -----------------------------------------------------------------------------------------------------------


def mirror(x: Pictures, rng: Rng) -> Matrices:
    """Left and right exchanged, or not, with even chances."""
    sign = 1.0 - 2 * rng("mirror").integers(2, (len(x),), device=x.device).to(x)
    return _affine((sign, 0, 0), (0, 1, 0))


def quarter_turn(x: Pictures, rng: Rng) -> Matrices:
    """None to three quarter turns; of pictures that are not square none or two."""
    turns = rng("turns").integers(4, (len(x),), device=x.device)
    turns = turns if x.shape[2] == x.shape[3] else 2 * (turns // 2)
    cosine = torch.tensor([1.0, 0.0, -1.0, 0.0], dtype=x.dtype, device=x.device)
    return _turned(cosine[turns], cosine[(turns + 3) % 4])


def shift(x: Pictures, rng: Rng) -> Matrices:
    """A shift by whole pixels, evenly within an eighth of the side each way."""
    across = _whole(x, x.shape[3], rng("across"))
    down = _whole(x, x.shape[2], rng("down"))
    return _affine((1, 0, -across.to(x)), (0, 1, -down.to(x)))


def scale(x: Pictures, rng: Rng) -> Matrices:
    """The same picture larger or smaller, by 2^(0.2 n), n standard normal."""
    factor = _power(x, SCALE, rng("scale"))
    return _affine((1 / factor, 0, 0), (0, 1 / factor, 0))


def turn(x: Pictures, rng: Rng) -> Matrices:
    """A turn by any angle, evenly."""
    angle = _angle(x, rng("turn"))
    return _turned(angle.cos(), angle.sin())


def stretch(x: Pictures, rng: Rng) -> Matrices:
    """Wider and as much lower, or the reverse, by 2^(0.2 n)."""
    factor = _power(x, STRETCH, rng("stretch"))
    return _affine((1 / factor, 0, 0), (0, factor, 0))


def drift(x: Pictures, rng: Rng) -> Matrices:
    """A shift by any fraction of pixels, normal with a deviation of an eighth of the side."""
    n = rng("drift").normal((len(x), 2), dtype=x.dtype, device=x.device) * SHIFT
    return _affine((1, 0, -n[:, 0] * x.shape[3]), (0, 1, -n[:, 1] * x.shape[2]))


# -- colours ----------------------------------------------------------------------------------------------------------


def brightness(x: Pictures, rng: Rng) -> Matrices:
    """0.2 n added to all colours."""
    added = BRIGHTNESS * rng("brightness").normal((len(x),), dtype=x.dtype, device=x.device)
    return _coloured(torch.eye(3).to(x).expand(len(x), 3, 3), added)


def contrast(x: Pictures, rng: Rng) -> Matrices:
    """All colours times 2^(0.5 n)."""
    return _coloured(torch.eye(3).to(x) * _power(x, CONTRAST, rng("contrast"))[:, None, None])


def luma_flip(x: Pictures, rng: Rng) -> Matrices:
    """Light and dark exchanged at the same hue, or not, with even chances: reflected along the grey axis."""
    sign = rng("luma").integers(2, (len(x),), device=x.device).to(x)
    return _coloured(torch.eye(3).to(x) - 2 * sign[:, None, None] * _greys(x))


def hue(x: Pictures, rng: Rng) -> Matrices:
    """Colours turned about the grey axis by any angle, evenly (Rodrigues's formula)."""
    angle = _angle(x, rng("hue"))[:, None, None]
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=x.dtype, device=x.device) / math.sqrt(3)
    return _coloured(_greys(x) + angle.cos() * (torch.eye(3).to(x) - _greys(x)) + angle.sin() * cross)


def saturation(x: Pictures, rng: Rng) -> Matrices:
    """What is not grey of the colours times 2^n."""
    factor = _power(x, SATURATION, rng("saturation"))[:, None, None]
    return _coloured(_greys(x) + factor * (torch.eye(3).to(x) - _greys(x)))


# -- whole pictures ---------------------------------------------------------------------------------------------------


def jitter(x: Pictures, rng: Rng) -> Pictures:
    """Up to 0.5 added or taken away, saturation times 0 to 2, contrast about the picture's mean times 0.5 to 1.5."""
    tones = TONES.get(x.shape[1])
    if tones is None:
        return x
    added, saturated, contrasted = rng("jitter").uniform((len(x), 3), dtype=x.dtype, device=x.device).unbind(1)
    brighter = _coloured(torch.eye(3).to(x).expand(len(x), 3, 3), added - 0.5)
    richer = _coloured(_greys(x) + 2 * saturated[:, None, None] * (torch.eye(3).to(x) - _greys(x)))
    x = recoloured(x, richer @ brighter)
    mean = x[:, :tones].mean((1, 2, 3), keepdim=True)
    stronger = mean + (x[:, :tones] - mean) * (contrasted + 0.5)[:, None, None, None]
    return torch.cat([stronger, x[:, tones:]], dim=1)


def translate(x: Pictures, rng: Rng) -> Pictures:
    """Moved by whole pixels, evenly within an eighth of the side each way; what comes in is 0, mid grey."""
    height, width = x.shape[2:]
    down, across = (_whole(x, n, rng(name)) for n, name in ((height, "down"), (width, "across")))
    rows = torch.arange(height, device=x.device) - down[:, None]
    columns = torch.arange(width, device=x.device) - across[:, None]
    each = torch.arange(len(x), device=x.device)[:, None, None]
    found = x.permute(0, 2, 3, 1)[each, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None]]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    return found.permute(0, 3, 1, 2) * inside[:, None]


def cutout(x: Pictures, rng: Rng) -> Pictures:
    """A rectangle of half the height and width made 0, its centre anywhere in the picture."""
    u = rng("centre").uniform((len(x), 2), dtype=x.dtype, device=x.device)
    cut: list[Tensor] = []
    for axis, side in enumerate(x.shape[2:]):
        places = (torch.arange(side, device=x.device).to(x) + 0.5) / side
        cut.append((places - u[:, axis : axis + 1]).abs() < CUT / 2)
    return x * ~(cut[0][:, :, None] & cut[1][:, None])[:, None]


# -- parts of them ----------------------------------------------------------------------------------------------------


def _affine(x: Sequence[Tensor | float], y: Sequence[Tensor | float]) -> Tensor:
    """The rows of x and y, and (0, 0, 1), for each example, (b, 3, 3); plain numbers are the same for all."""
    entries = (*x, *y, 0.0, 0.0, 1.0)
    like = next(e for e in entries if isinstance(e, Tensor))
    rows = torch.stack([e if isinstance(e, Tensor) else torch.full_like(like, e) for e in entries], dim=1)
    return rows.reshape(-1, 3, 3)


def _turned(cosine: Tensor, sine: Tensor) -> Tensor:
    return _affine((cosine, sine, 0), (-sine, cosine, 0))


def _coloured(linear: Tensor, added: Tensor | None = None) -> Tensor:
    """(b, 3, 3), and (b,) added to each colour, as (b, 4, 4)."""
    matrices = torch.eye(4).to(linear).repeat(len(linear), 1, 1)
    matrices[:, :3, :3] = linear
    if added is not None:
        matrices[:, :3, 3] = added[:, None]
    return matrices


def _greys(x: Tensor) -> Tensor:
    """The projection of colours onto the grey axis, (3, 3)."""
    return torch.full((3, 3), 1 / 3, dtype=x.dtype, device=x.device)


def _power(x: Tensor, deviation: float, rng: Rng) -> Tensor:
    return torch.exp2(deviation * rng.normal((len(x),), dtype=x.dtype, device=x.device))


def _angle(x: Tensor, rng: Rng) -> Tensor:
    return 2 * math.pi * rng.uniform((len(x),), dtype=x.dtype, device=x.device) - math.pi


def _whole(x: Tensor, side: int, rng: Rng) -> Tensor:
    """A whole number of pixels for each example, evenly within an eighth of the side each way."""
    most = round(side * SHIFT)
    return rng.integers(2 * most + 1, (len(x),), device=x.device) - most
