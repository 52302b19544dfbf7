"""Remove Gaussian noise of known strength with a model of clean data."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.core.batch import Values
from simulacra.core.capabilities import Codec, Decoder, Denoiser, Modelled, require_smooth
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Field


def denoise(
    model: object,
    noisy: Tensor,
    sigma: float,
    *,
    y: Values | None = None,
    steps: int = 200,
    lr: float = 0.05,
    starts: int = 8,
    rng: Rng | int = 0,
) -> Tensor:
    """The clean example behind each noisy one: expected, or most probable under a latent prior; same shape.

    noisy   x + sigma * N(0, I), in the space's units, (b, *event).
    sigma   standard deviation of the noise, in those units; positive.

    A model that takes noise out (``Denoiser``) answers with the expected example. Another one by its latent prior:
    minimises |noisy - decode(z)|^2 / (2 sigma^2) + |z|^2 / 2 over z by Adam (the maximum a posteriori
    estimate of Bora et al. 2017, "Compressed sensing using generative models", with the identity as measurement),
    from the code of the noisy picture where the model has an encoder, otherwise from the best of ``starts`` draws.
    Raises ValueError for a model without ``decode`` or with categorical codes, or a sigma that is not positive.
    """
    if not sigma > 0:
        raise ValueError(f"sigma is the standard deviation of the noise and must be positive; got {sigma}")
    if isinstance(model, Denoiser) and isinstance(model, Modelled):
        return _expected(model, model.space.only, noisy, sigma, y)
    decoder = require_smooth(model, "denoise")
    z = _start(decoder, noisy, y, starts, Rng.of(rng)).detach().requires_grad_()
    optimiser = torch.optim.Adam([z], lr=lr)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = lr * (1 - step / steps)
        # the gradient is asked for z alone, so the model's own gradients stay as they are
        energy = _energy(decoder, z, noisy, sigma, y).sum()
        (z.grad,) = torch.autograd.grad(energy, [z])
        optimiser.step()
    with torch.no_grad():
        return _decoded(decoder, z, y)


def _expected(model: Denoiser, field: Field, noisy: Tensor, sigma: float, y: Values | None) -> Tensor:
    scale = field.scale if isinstance(field, Continuous) else 1.0
    found = model.denoise(noisy, sigma / scale, y=y)
    assert isinstance(found, Tensor)
    return found.clamp(field.low, field.high) if isinstance(field, Continuous) else found


def _energy(decoder: Decoder, z: Tensor, noisy: Tensor, sigma: float, y: Values | None) -> Tensor:
    miss = (noisy - _decoded(decoder, z, y)).flatten(1).square().sum(1) / (2 * sigma**2)
    return miss + z.flatten(1).square().sum(1) / 2


@torch.no_grad()
def _start(decoder: Decoder, noisy: Tensor, y: Values | None, starts: int, rng: Rng) -> Tensor:
    if isinstance(decoder, Codec):
        return decoder.encode(noisy, y=y)
    shape = (len(noisy), *decoder.latent.only.shape)
    draws = torch.stack([rng("start", k).normal(shape, dtype=noisy.dtype, device=noisy.device) for k in range(starts)])
    misses = torch.stack([_energy(decoder, z, noisy, 1.0, y) for z in draws])
    return draws[misses.argmin(0), torch.arange(len(noisy), device=noisy.device)]


def _decoded(decoder: Decoder, z: Tensor, y: Values | None) -> Tensor:
    x = decoder.decode(z, y=y)
    if not isinstance(x, Tensor):
        raise ValueError("denoise works on examples of one field; this model's examples have several")
    return x
