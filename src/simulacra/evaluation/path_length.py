"""Perceptual path length: how far features move for a small step between two latent codes.

    l = E |f(G(w(t))) - f(G(w(t + eps)))|^2 / eps^2,   w the great circle from a to b, t uniform

Karras et al. 2019, "A style-based generator", section 4.1, eq. 2. Theirs is in the features of VGG16 and leaves out the
farthest hundredth on either side; here features are the extractor's, and nothing is left out. Small where the latent
space is smooth; also small, trivially, for a generator that has collapsed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from simulacra.core.capabilities import Decoder, require_smooth
from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous
from simulacra.evaluation import intervals
from simulacra.evaluation.extractors import BATCH, Extractor, tensor
from simulacra.evaluation.likelihood import device_of, resting
from simulacra.evaluation.statistics import Origin
from simulacra.mathematics.walks import spherical

Walk = Callable[[Tensor, Tensor, Tensor], Tensor]
EPSILON = 1e-3  # of the way: the paper's 1e-4 loses three digits of float32 to rounding where features are few
LEAST = 500  # pairs, for an interval: the lengths' tails are long


def walkable(model: object) -> bool:
    """Whether a model decodes one field of numbers from codes that are N(0, I) a priori."""
    if not isinstance(model, Decoder) or len(model.latent.fields) != 1:
        return False
    space = getattr(model, "space", None)
    fields = list(space.fields.values()) if space is not None else []
    return isinstance(model.latent.only, Continuous) and len(fields) == 1 and isinstance(fields[0], Continuous)


@torch.no_grad()
def path_lengths(
    model: object, extractor: Extractor, n: int, *, rng: Rng | int, walk: Walk = spherical, epsilon: float = EPSILON
) -> Tensor:
    """The squared speed of features at n random places of n random ways, float64 (n,).

    A model of classes decodes both ends of a step under the same class, the classes in turn.
    ValueError for a model that does not decode continuous codes.
    """
    decoder, stream, parts = require_smooth(model, "a path length"), Rng.of(rng), list[Tensor]()
    classes = getattr(getattr(model, "space", None), "y", None)
    device = device_of(model)
    with resting(model):
        for first in range(0, n, BATCH):
            rows, size = stream.rows(first), (min(BATCH, n - first), *decoder.latent.only.shape)
            a, b = (rows(end).normal(size, device=device).flatten(1) for end in ("from", "to"))
            t = (1 - epsilon) * rows("t").uniform((size[0], 1), device=device)[:, 0]
            given = {}
            if isinstance(classes, Classes):
                given["y"] = (torch.arange(first, first + size[0], device=device)) % len(classes)
            seen = []
            for at in (t, t + epsilon):
                # a place of its own on every way: ways are walked one by one, which vmap writes for us
                z = torch.vmap(lambda p, q, s: walk(p[None], q[None], s[None])[0, 0])(a, b, at)
                seen.append(extractor(tensor(decoder.decode(z.reshape(size), **given))).double())
            parts.append((seen[0] - seen[1]).square().sum(1) / epsilon**2)
    return torch.cat(parts)


def path_length(model: object, extractor: Extractor, *, n: int = 1000, rng: Rng | int = 0) -> Figure:
    """The mean of ``path_lengths`` as a figure."""
    stream = Rng.of(rng)
    each = path_lengths(model, extractor, n, rng=stream)
    origin = Origin(extractor=extractor.name, extractor_hash=extractor.hash, seed=stream.seed)
    note = "squared, a unit of the way; collapsed generators have short paths too"
    interval = intervals.of_mean(each, least=LEAST)
    return origin.figure("path length", float(each.mean()), "lower", interval, n=n, note=note)
