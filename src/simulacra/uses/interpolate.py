"""Walk between examples in a model's latent space."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from simulacra.core.batch import Values
from simulacra.core.capabilities import Codec, Decoder, require, require_smooth
from simulacra.core.randomness import Rng
from simulacra.mathematics.walks import linear, spherical

__all__ = ["interpolate", "interpolate_latents", "linear", "spherical"]

Path = Callable[[Tensor, Tensor, Tensor], Tensor]


@torch.no_grad()
def interpolate(
    model: object, a: Values, b: Values, *, steps: int = 8, y: Tensor | None = None, path: Path = spherical
) -> Tensor:
    """Pictures on the way from each example of a to its partner in b; (n, steps, *event), ends reconstructed.

    Raises ValueError for a model without ``encode`` and ``decode`` or with categorical codes, or fewer than 2 steps.
    """
    codec = require(model, Codec, "interpolate between examples")
    require_smooth(model, "interpolate between examples")
    return _walk(codec, codec.encode(a, y=y), codec.encode(b, y=y), steps, y, path)


@torch.no_grad()
def interpolate_latents(
    model: object, n: int, *, steps: int = 8, y: Tensor | None = None, rng: Rng | int = 0, path: Path = spherical
) -> Tensor:
    """n walks between pairs of latent codes drawn from N(0, I); (n, steps, *event).

    Works for any model that decodes a Gaussian latent: a GAN's generator as well as a VAE's decoder.
    """
    decoder = require_smooth(model, "interpolate")
    rng, shape = Rng.of(rng), (n, *decoder.latent.only.shape)
    like = next(iter(model.parameters())) if isinstance(model, torch.nn.Module) else torch.zeros(())
    a, b = (rng(end).normal(shape, dtype=like.dtype, device=like.device) for end in ("from", "to"))
    return _walk(decoder, a, b, steps, y, path)


def _walk(decoder: Decoder, a: Tensor, b: Tensor, steps: int, y: Tensor | None, path: Path) -> Tensor:
    if steps < 2:
        raise ValueError(f"an interpolation needs at least its two ends; got steps={steps}")
    t = torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device)
    z = path(a.flatten(1), b.flatten(1), t)
    x = decoder.decode(z.reshape(-1, *a.shape[1:]), y=None if y is None else y.repeat_interleave(steps, dim=0))
    if not isinstance(x, Tensor):
        raise ValueError("interpolate shows examples of one field; this model's examples have several")
    return x.reshape(len(a), steps, *x.shape[1:])
