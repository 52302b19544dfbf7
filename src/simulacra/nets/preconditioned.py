"""A network behind its preconditioning, c_skip x + c_out F(c_in x, c_noise), and weights taken from another."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from simulacra.mathematics.preconditioning import Coefficients, Preconditioning


def conditioned(network: nn.Module, c: Coefficients, x: Tensor, given: Tensor | None, dtype: torch.dtype) -> Tensor:
    """c_skip x + c_out F(c_in x, c_noise): x (b, *event), coefficients (b,); the network in ``dtype``."""
    skip, out, into = (k.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1)) for k in (c.skip, c.out, c.into))
    return skip * x + out * network((into * x).to(dtype), c.noise.to(dtype), None, given).to(x.dtype)


class Frozen(nn.Module):
    """A denoiser that no longer learns: another model's network, and the deviation of the data it was fitted on."""

    deviation: Tensor

    def __init__(self, network: nn.Module, preconditioning: Preconditioning) -> None:
        super().__init__()
        self.network, self.preconditioning = network.requires_grad_(False), preconditioning
        self.register_buffer("deviation", torch.ones(()))

    @torch.no_grad()
    def forward(self, x: Tensor, level: Tensor, given: Tensor | None) -> Tensor:
        """E[x_0 | x] in standard units: x (b, *event), level (b,)."""
        c = self.preconditioning(level, self.deviation.to(level))
        return conditioned(self.network, c, x, given, self.deviation.dtype)


@torch.no_grad()
def copy_part(into: nn.Module, weights: Mapping[str, Tensor], prefix: str, whose: str) -> None:
    """Fill a module with those of named weights that begin with a prefix.

    ValueError, naming ``whose`` they are, where names or shapes are not the module's.
    """
    found = {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}
    wanted = into.state_dict()
    different = sorted(found.keys() ^ wanted.keys()) or sorted(n for n in wanted if wanted[n].shape != found[n].shape)
    if different:
        raise ValueError(
            f"{whose} has another network: {prefix}{different[0]} differs; take the same backbone and space"
        )
    into.load_state_dict(found)
