"""The mixed table: its density, marginals and conditionals."""

from __future__ import annotations

import itertools

import torch
from scipy import stats

from simulacra.core.randomness import Rng
from simulacra.modalities.mixed import CENTRES, CORRELATIONS, HOMES, JOBS, SPREADS, Mixed

WORLD = Mixed()


def known(n: int, *names: str) -> dict[str, torch.Tensor]:
    return {name: torch.full((n,), name in names) for name in WORLD.space.fields}


def test_the_density_is_that_of_the_law_written_down():
    x = WORLD.sample(50, rng=3).map(lambda t: t.double() if t.is_floating_point() else t).x
    assert isinstance(x, dict)
    for i, nats in enumerate(WORLD.log_likelihood(x).nats.tolist()):
        j = int(x["job"][i])
        (su, sv), rho = SPREADS[j], CORRELATIONS[j]
        pair = stats.multivariate_normal(CENTRES[j], [[su**2, rho * su * sv], [rho * su * sv, sv**2]])
        p = JOBS[j] * HOMES[j][int(x["home"][i])] * pair.pdf([float(x["u"][i]), float(x["v"][i])])
        assert abs(nats - float(torch.tensor(p, dtype=torch.float64).log())) < 1e-6  # the constants are float32


def test_what_is_not_known_is_summed_out():
    n, grid = 400, torch.linspace(-12, 12, 400, dtype=torch.float64)
    total = torch.zeros(())
    for job, home in itertools.product(range(3), range(2)):
        x = {
            "job": torch.full((n,), job),
            "home": torch.full((n,), home),
            "u": torch.full((n,), 0.7).double(),
            "v": grid,
        }
        total = total + WORLD.log_likelihood(x).nats.exp().sum() * float(grid[1] - grid[0])
    assert torch.allclose(WORLD.log_likelihood(x, known=known(n, "u")).nats[0].exp(), total, rtol=1e-6)


def test_draws_follow_the_conditionals():
    n = 20_000
    x = {
        "job": torch.zeros(n, dtype=torch.int64),
        "u": torch.full((n,), 0.3),
        "v": torch.zeros(n),
        "home": torch.ones(n).long(),
    }
    seen = known(n, "u", "home")
    done = WORLD.complete(x, seen, rng=0).x
    assert isinstance(done, dict)
    assert torch.equal(done["u"], x["u"])
    by_job = torch.stack([
        WORLD.log_likelihood({**x, "job": torch.full((n,), j)}, known={**seen, "job": torch.full((n,), True)}).nats[0]
        for j in range(3)
    ]).softmax(0)  # fmt: skip
    counts = done["job"].bincount(minlength=3)
    assert stats.chisquare(counts.numpy(), (by_job.double() / by_job.double().sum() * n).numpy()).pvalue > 1e-4
    second = done["job"] == 1
    (cu, cv), (su, sv), rho = CENTRES[1], SPREADS[1], CORRELATIONS[1]
    given_u = stats.norm(cv + rho * sv * (0.3 - cu) / su, sv * (1 - rho**2) ** 0.5)
    assert stats.kstest(done["v"][second].numpy(), given_u.cdf).pvalue > 1e-4


def test_a_row_is_drawn_alike_among_others():
    few, many = WORLD.sample(3, rng=Rng(5)).x, WORLD.sample(9, rng=Rng(5)).x
    assert isinstance(few, dict)
    assert isinstance(many, dict)
    assert all(torch.equal(few[name], many[name][:3]) for name in few)
