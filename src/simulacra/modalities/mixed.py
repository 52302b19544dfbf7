"""A small table whose law is known: categories that drive numbers, every marginal and conditional in closed form."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Values
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Continuous, Space

JOBS = (0.5, 0.3, 0.2)  # shares of the jobs
HOMES = ((0.9, 0.1), (0.5, 0.5), (0.2, 0.8))  # shares of the homes of each job
CENTRES = ((-2.0, 0.0), (1.0, 2.0), (3.0, -1.0))  # of (u, v) of each job
SPREADS = ((0.5, 0.8), (1.0, 0.4), (0.6, 0.6))
CORRELATIONS = (0.8, -0.5, 0.0)
INFINITE = math.inf


class Mixed:
    """Rows (job, u, v, home): the job drives a normal pair and the home, which are independent given it.

    ``core.batch.Data`` drawn afresh whenever it is asked for, and the perfect model of itself: a ``Sampler``, an exact
    ``Likelihood`` of whatever is known, and an exact ``Completer``.
    """

    completion = "exact"

    def __init__(self, *, nominal: int = 10_000) -> None:
        if nominal < 1:
            raise ValueError(f"a world's nominal size must be at least 1; got {nominal}")
        number = Continuous(low=-INFINITE, high=INFINITE, scale=2.0)
        fields = {"job": Categorical(k=3), "u": number, "v": number, "home": Categorical(k=2)}
        self.name, self.nominal = "mixed columns", nominal
        self.space = Space(fields=fields, measure="columns", missing=("job", "u", "v", "home"))
        law = f"{JOBS}{HOMES}{CENTRES}{SPREADS}{CORRELATIONS}"
        self.fingerprint = hashlib.sha256(f"{self.name}\n{nominal}\n{law}".encode()).hexdigest()

    def __len__(self) -> int:
        return self.nominal

    def batch(self, index: Tensor, rng: Rng) -> Batch:
        """As many fresh rows as there are numbers in the index (int64, (b,))."""
        return self.sample(len(index), rng=rng).to(index.device)

    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        """n rows. y must be None: the table has no classes."""
        if y is not None:
            raise ValueError("this table has no classes; expected y=None")
        blank = {name: torch.zeros(n, dtype=kind) for name, kind in _kinds().items()}
        return self.complete(blank, {name: torch.zeros(n, dtype=torch.bool) for name in blank}, rng=rng)

    def log_likelihood(
        self,
        x: Values,
        *,
        y: Values | None = None,
        known: Values | None = None,
        length: Tensor | None = None,
        rng: Rng | int | None = None,
    ) -> LogLikelihood:
        """The exact log p of what is known, nats (b,)."""
        if not isinstance(x, Mapping) or y is not None or length is not None:
            raise ValueError("this table is scored by its columns; expected a mapping of them, no y and no length")
        seen = (
            known
            if isinstance(known, Mapping)
            else {name: torch.ones_like(t, dtype=torch.bool) for name, t in x.items()}
        )
        return LogLikelihood(
            nats=self._by_job(x, seen).logsumexp(1), kind="exact", measure=self.space.measure,
            count=torch.stack(list(seen.values())).sum(0).double(), method="closed form",
        )  # fmt: skip

    def complete(self, x: Values, known: Values, *, y: Values | None = None, rng: Rng | int) -> Batch:
        """Draws of p(unknown | known)."""
        assert isinstance(x, Mapping)
        assert isinstance(known, Mapping)
        rng = Rng.of(rng)(self.name)
        job = torch.where(known["job"], x["job"], rng("job").categorical(self._by_job(x, known)))
        home = rng("home").categorical(torch.tensor(HOMES).log()[job])
        done = {"job": job, **self._numbers(x, known, job, rng), "home": torch.where(known["home"], x["home"], home)}
        return Batch(x=done)

    def _numbers(
        self, x: Mapping[str, Tensor], known: Mapping[str, Tensor], job: Tensor, rng: Rng
    ) -> dict[str, Tensor]:
        """The pair given the job and whichever of the two is known."""
        centre, spread, rho = torch.tensor(CENTRES)[job], torch.tensor(SPREADS)[job], torch.tensor(CORRELATIONS)[job]
        z = rng("numbers").normal((len(job), 2))
        mine = {name: (x[name] - centre[:, i]) / spread[:, i] for i, name in enumerate("uv")}
        u_given_v = rho * mine["v"] + (1 - rho.square()).sqrt() * z[:, 0]
        u = torch.where(known["u"], mine["u"], torch.where(known["v"], u_given_v, z[:, 0]))
        v = torch.where(known["v"], mine["v"], rho * u + (1 - rho.square()).sqrt() * z[:, 1])
        drawn = {"u": centre[:, 0] + spread[:, 0] * u, "v": centre[:, 1] + spread[:, 1] * v}
        return {name: torch.where(known[name], x[name], t.to(x[name].dtype)) for name, t in drawn.items()}

    def _by_job(self, x: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> Tensor:
        """log p(what is known, job) for each job, (b, 3)."""
        kind = x["u"].dtype
        told = [torch.tensor(JOBS, dtype=kind).log().expand(len(x["job"]), -1)]
        same = torch.arange(3) == x["job"][:, None]
        told.append(torch.where(known["job"][:, None] & ~same, -torch.inf, 0.0).to(kind))
        home = torch.tensor(HOMES, dtype=kind).log()[:, x["home"].clamp(0, 1)].T
        told.append(torch.where(known["home"][:, None], home, 0.0))
        centre, spread = torch.tensor(CENTRES, dtype=kind), torch.tensor(SPREADS, dtype=kind)
        pair = torch.stack([torch.where(known[n], x[n], 0.0) for n in "uv"], dim=1)
        z = (pair[:, None] - centre) / spread
        rho = torch.tensor(CORRELATIONS, dtype=kind)
        alone = -0.5 * z.square() - spread.log() - 0.5 * math.log(2 * math.pi)
        # log N(u, v) is log N(u) + log N(v) and what their correlation adds
        rest = 1 - rho.square()
        both = -0.5 * rest.log() - (rho * (rho * z.square().sum(-1) - 2 * z.prod(-1))) / (2 * rest)
        seen = torch.stack([known[n] for n in "uv"], dim=1)
        told.append(torch.where(seen[:, None], alone, 0.0).sum(-1))
        told.append(torch.where(seen.all(1)[:, None], both, 0.0))
        return torch.stack(told).sum(0)


def _kinds() -> dict[str, torch.dtype]:
    number = torch.get_default_dtype()
    return {"job": torch.int64, "u": number, "v": number, "home": torch.int64}
