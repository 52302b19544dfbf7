"""Find the style whose picture is nearest to a given one: Karras et al. 2020 (StyleGAN2), appendix D.

The style and the noise of every layer are optimised together; the noise is kept from drawing the picture by itself by
a penalty on what neighbouring places have in common, at every size of it. Other than there, nearness is the mean
squared difference over a pyramid of sizes: their perceptual distance needs a network that was trained elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from simulacra.core.batch import Values
from simulacra.core.capabilities import require
from simulacra.core.randomness import Rng
from simulacra.uses.checks import check_examples, space_of
from simulacra.uses.styles import DRAWN, Styled, drawn_styles

# Karras et al. 2020, appendix D: the rate, the share of the steps over which it rises and falls, and the noise on w
RATE, RISE, FALL, LOUD, QUIET_FROM = 0.1, 0.05, 0.25, 0.05, 0.75
REGULAR = 1e5  # weight of the noise's penalty, ibid.
COARSEST = 8  # pixels a side of the smallest noise that is looked at, ibid.


@dataclass(frozen=True, kw_only=True)
class Projected:
    """What was found for each picture.

    styles   (b, layers, width).
    noises   layer -> (b, 1, h, w), of mean 0 and variance 1.
    x        the pictures that they show, (b, *event).
    error    mean squared difference from those given, (b,).
    """

    styles: Tensor
    noises: dict[int, Tensor]
    x: Tensor
    error: Tensor


def project(model: object, x: Values, *, y: Tensor | None = None, steps: int = 1000, rng: Rng | int = 0) -> Projected:
    """The style, one for all layers, and the noises that show each picture of x (b, *event) best.

    y  int64 (b,): classes whose mean style the search begins at; the mean of all unless given.
    Raises ValueError for a model without styles, pictures of another size than its own, and fewer than 1 step.
    """
    found = require(model, Styled, "project")
    check_examples(space_of(model, "project"), x)
    assert isinstance(x, Tensor)
    if steps < 1:
        raise ValueError(f"a projection takes at least 1 step; got {steps}")
    rng, like = Rng.of(rng), found.heard_by()[0]
    x = x.to(like)
    start, spread = _prior(found, y, len(x))
    layers = len(found.heard_by())
    noises = _noises(found, start[:, None].expand(-1, layers, -1))
    w = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([w, *noises.values()], lr=RATE, betas=(0.9, 0.999))
    for step in range(steps):
        share = step / steps
        for group in optimiser.param_groups:
            group["lr"] = RATE * _pace(share)
        loud = LOUD * spread * max(0.0, 1 - share / QUIET_FROM) ** 2
        heard = w + loud * rng("w", step).normal(w.shape, dtype=w.dtype, device=w.device)
        picture = found.show(heard[:, None].expand(-1, layers, -1), noise=lambda i, h: noises[i])
        assert isinstance(picture, Tensor)
        loss = _differences(picture, x).sum() + REGULAR * sum(_likeness(n).sum() for n in noises.values())
        grown = torch.autograd.grad(loss, [w, *noises.values()], allow_unused=True)
        for p, g in zip([w, *noises.values()], grown, strict=True):
            p.grad = g
        optimiser.step()
        with torch.no_grad():
            for n in noises.values():
                n.sub_(n.mean((2, 3), keepdim=True)).div_(n.square().mean((2, 3), keepdim=True).sqrt() + 1e-8)
    with torch.no_grad():
        styles = w.detach()[:, None].expand(-1, layers, -1)
        last = found.show(styles, noise=lambda i, h: noises[i])
        assert isinstance(last, Tensor)
        error = (last - x).square().flatten(1).mean(1)
    return Projected(styles=styles, noises={i: n.detach() for i, n in noises.items()}, x=last, error=error)


@torch.no_grad()
def _prior(model: Styled, y: Tensor | None, n: int) -> tuple[Tensor, float]:
    """Where the search begins, (n, width), and the root mean square distance of styles from their mean."""
    means = model.mean_styles()
    start = means.mean(0).expand(n, -1) if y is None else means[y.to(means.device)]
    classes = len(means)
    labels = None if classes == 1 else torch.arange(DRAWN, device=means.device) % classes
    w = drawn_styles(model, DRAWN, y=labels, rng=Rng(0, ("spread",)))[:, 0]
    return start.clone(), float((w - w.mean(0)).square().sum(1).mean().sqrt())


@torch.no_grad()
def _noises(model: Styled, styles: Tensor) -> dict[int, Tensor]:
    """Normal noise for every layer that hears any, to begin with; the same for all examples."""
    found: dict[int, Tensor] = {}

    def noise(layer: int, h: Tensor) -> Tensor:
        one = Rng(0, ("fixed noise", layer)).normal((1, 1, *h.shape[2:]), dtype=h.dtype).to(h.device)
        found[layer] = one.repeat(len(h), 1, 1, 1)
        return found[layer]

    model.show(styles, noise=noise)
    return {i: n.requires_grad_() for i, n in found.items()}


def _pace(share: float) -> float:
    """The rate's share of its largest: up along a line, down along a cosine."""
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - share) / FALL))
    return down * min(1.0, (share + 1e-3) / RISE)


def _differences(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared differences (b,), averaged over the sizes of a pyramid of halvings."""
    found = [(a - b).square().flatten(1).mean(1)]
    while min(a.shape[2:]) >= 2 * COARSEST:
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        found.append((a - b).square().flatten(1).mean(1))
    return torch.stack(found).mean(0)


def _likeness(noise: Tensor) -> Tensor:
    """Squared mean products of neighbours to the right and below, summed over sizes, (b,): App. D's L_ij."""
    total = noise.new_zeros(len(noise))
    while min(noise.shape[2:]) >= COARSEST:
        for axis in (2, 3):
            total = total + (noise * noise.roll(1, axis)).mean((1, 2, 3)).square()
        # means of four times two: the variance of white noise stays 1
        noise = 2 * F.avg_pool2d(noise, 2)
    return total
