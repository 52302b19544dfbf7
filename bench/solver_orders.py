"""Orders of diffusion's solvers against an analytic flow, and whether an oracle leads each to the only point."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

ORDERS = {"euler": 0.95, "heun": 1.9, "dpm_solver_2m": 1.85, "dpm_solver_3m": 2.5}
COUNTS = (16, 32, 64, 128, 256, 512)


def solvers() -> list[Any]:
    """The order of every solver on a mixture whose denoiser is known, and where an oracle leads each in ten steps."""
    from bench.harness import Row

    rows = []
    for name, least in ORDERS.items():
        errors = order_errors(name)
        slopes = [math.log2(a / b) for a, b in pairwise(errors)]
        # least squares of log error on log steps; the steps double, so their logarithms are whole numbers
        order = -statistics.linear_regression(range(len(errors)), [math.log2(e) for e in errors]).slope
        said = ", ".join(f"{n}: {e:.2g}" for n, e in zip(COUNTS, errors, strict=True))
        rows.append(
            Row(
                what=f"{name}: order on a mixture of three Gaussians, rho = 7, fitted from 16 to 512 steps",
                unit="",
                ours=order,
                target=f">= {least:g}",
                met=order >= least,
                note=f"error (rms) at {said}; orders of the doublings {', '.join(f'{s:.2f}' for s in slopes)}",
                rounds={"steps": COUNTS, "errors": errors, "orders": slopes},
            )
        )
    worst = max(oracle_deviation().values())
    rows.append(
        Row(
            what="six samplers, 10 steps, an oracle that knows the one picture there is: largest deviation from it",
            unit="",
            ours=worst,
            target="<= 1e-10",
            met=worst <= 1e-10,
            note="Karras' and geometric spacing",
        )
    )
    return rows


def order_errors(
    name: str, *, high: float = 10.0, low: float = 0.05, points: int = 64, reference: int = 4096
) -> list[float]:
    """Root mean square errors at ``COUNTS`` steps between two levels, against ``reference`` steps of the best."""
    import torch

    from simulacra.core.randomness import Rng
    from simulacra.mathematics import solvers as s
    from simulacra.modalities.toys import GaussianMixture

    high, low = 10.0, 0.05
    world = GaussianMixture.isotropic(torch.tensor([[-1.0, 0.5], [1.5, -0.5], [0.0, 2.0]]), 0.4)
    x = high * Rng(0)("x").normal((points, 2), dtype=torch.float64)
    # the last level is 0, where no solver is more than one Euler step: the order is that of the way to ``low``
    truth = s.dpm_solver_3m(world.denoise, x, s.karras(reference, low, high)[:-1])
    solve = getattr(s, name)
    ends = (solve(world.denoise, x, s.karras(n, low, high)[:-1]) for n in COUNTS)
    return [float((end - truth).square().mean().sqrt()) for end in ends]


def oracle_deviation(steps: int = 10) -> dict[str, float]:
    """How far from the one point of the data each sampler ends."""
    import torch

    from simulacra.core.randomness import Rng
    from simulacra.mathematics import solvers as s

    point = torch.tensor([[0.3, -1.2]], dtype=torch.float64)
    samplers = {n: getattr(s, n) for n in ORDERS} | {"ancestral": s.Ancestral(), "stochastic": s.Stochastic()}
    found = {}
    for name, solve in samplers.items():
        for spacing in (s.karras, s.geometric):
            x = 80 * Rng(2)("x").normal((16, 2), dtype=torch.float64)
            end = solve(lambda x, level: point.expand_as(x), x, spacing(steps, 0.002, 80.0), Rng(3))
            found[f"{name}, {spacing.__name__}"] = float((end - point).abs().max())
    return found
