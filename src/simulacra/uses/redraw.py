"""Examples drawn again from what noise leaves of them: SDEdit (Meng et al. 2022), over any denoiser.

An example is given noise, and the noise is taken out again along the probability flow. Little noise changes details;
more of it leaves the rough arrangement of a picture, such as a few strokes painted over it; at last nothing is left.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from simulacra.core.batch import Values
from simulacra.core.capabilities import Denoiser, require
from simulacra.core.randomness import Rng
from simulacra.evaluation.likelihood import resting
from simulacra.mathematics.guidance import guided
from simulacra.mathematics.solvers import Denoise, Solver, dpm_solver_2m, karras
from simulacra.nets.continuum import Continuum
from simulacra.uses.checks import check_examples, check_labels, space_of

LOW, HIGH = 0.002, 80.0  # in units of the fields' scale: Karras et al. 2022, table 1
RHO = 7.0  # their eq. 5


def level_of(strength: float) -> float:
    """The noise level that a strength in [0, 1] stands for: even in s^(1/7), as sampling's own levels are."""
    ends = LOW ** (1 / RHO), HIGH ** (1 / RHO)
    return (ends[0] + strength * (ends[1] - ends[0])) ** RHO


@torch.no_grad()
def redraw(
    model: object,
    x: Values,
    strength: float,
    *,
    y: Values | None = None,
    guidance: float = 1.0,
    steps: int = 32,
    solver: Solver = dpm_solver_2m,
    rng: Rng | int = 0,
) -> Values:
    """Each example drawn again, (n, *event): Meng et al. 2022, section 3.

    strength  how much of it is forgotten: 0 returns it as it is, 1 leaves nothing of it, a fresh example.
    y         what it is to be, where the model is conditional: a class or caption other than its own changes it.
    guidance  1 draws given y; more pushes away from examples of no known y.
    steps     of the solver at strength 1, fewer in proportion.

    Raises ValueError for a model that does not denoise, examples that are not of its space, and other strengths.
    """
    denoiser, space = require(model, Denoiser, "redraw"), space_of(model, "redraw")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength lies in 0 .. 1; got {strength:g}")
    n = check_examples(space, x)
    check_labels(space, y, n)
    if strength == 0:
        return x
    continuum = Continuum.of(space, "redraw")
    u, top = continuum.inward(x), level_of(strength)
    noise = Rng.of(rng)("redraw").normal(u.shape, dtype=u.dtype, device=u.device)
    start = (u if strength < 1 else torch.zeros_like(u)) + top * noise
    levels = karras(max(1, math.ceil(steps * strength)), LOW, top) if top > LOW else torch.tensor([top, 0.0])

    def given(y: Values | None) -> Denoise:
        def denoise(u: Tensor, s: Tensor) -> Tensor:
            return continuum.inward(denoiser.denoise(continuum.outward(u), s, y=y))

        return denoise

    with resting(model):
        look = guided(given(y), given(None), 1.0 if y is None else guidance)
        return continuum.decoded(solver(look, start, levels, Rng.of(rng)("solver")))
