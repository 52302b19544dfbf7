"""Exact toy models for the uses: everything asked of them can be written down."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from simulacra.core.batch import Batch
from simulacra.core.indices import to_indices
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space


class Chain(nn.Module):
    """A Markov chain over the pixels of a small picture, in raster order; one transition matrix a class."""

    def __init__(self, side: int = 3, levels: int = 3, classes: int = 0, seed: int = 0, sharpness: float = 2.0) -> None:
        super().__init__()
        field = Continuous(low=-1.0, high=1.0, levels=levels, shape=(1, side, side))
        names = Classes(names=tuple("abcdefgh"[:classes])) if classes else None
        self.space = Space(fields={"picture": field}, y=names, measure=f"{levels}-level pixels")
        logits = sharpness * Rng(seed)("logits").normal((max(classes, 1), levels + 1, levels), dtype=torch.float64)
        # row ``levels`` is where a chain begins
        self.register_buffer("log_p", logits.log_softmax(-1).to(torch.get_default_dtype()))
        self.prior: Tensor
        self.log_p: Tensor
        self.register_buffer("prior", torch.arange(1, max(classes, 1) + 1).double().log().log_softmax(0))

    def label_log_prob(self) -> Tensor:
        return self.prior

    def rows(self, n: int, y: Tensor | None) -> Tensor:
        return self.log_p[torch.zeros(n, dtype=torch.int64) if y is None else y]

    def log_likelihood(self, x, *, y=None, known=None, length=None, rng=None) -> LogLikelihood:
        index = to_indices(self.space, x)
        before = torch.cat([torch.full_like(index[:, :1], self.log_p.shape[-1]), index[:, :-1]], 1)
        log_p = self.rows(len(index), y)
        nats = log_p[torch.arange(len(index))[:, None], before, index].sum(1)
        return LogLikelihood(nats=nats, kind="exact", measure=self.space.measure, count=index.shape[1])

    def walk(self, n: int, *, y=None) -> Steps:
        return Steps(self.rows(n, y), self.space.size)

    def sample(self, n: int, *, y=None, rng: Rng | int) -> Batch:
        walk = self.walk(n, y=y)
        index = torch.zeros(n, self.space.size, dtype=torch.int64)
        for step in walk.order.tolist():
            index[:, step] = Rng.of(rng)("x", step).categorical(walk.log_probs())
            walk.take(index[:, step])
        field = self.space.only
        return Batch(x=field.value(index.to(torch.get_default_dtype())).reshape(n, *field.shape), y=y)

    def everything(self) -> Tensor:
        """Every picture there is."""
        field = self.space.only
        index = torch.tensor(list(itertools.product(range(field.levels), repeat=self.space.size)))
        return field.value(index.to(torch.get_default_dtype())).reshape(-1, *field.shape)


class Steps:
    def __init__(self, log_p: Tensor, size: int) -> None:
        self.log_p, self.order = log_p, torch.arange(size)
        self.last = torch.full((len(log_p),), log_p.shape[-1])

    def log_probs(self) -> Tensor:
        return self.log_p[torch.arange(len(self.last)), self.last]

    def take(self, value: Tensor) -> None:
        self.last = value


class Dots(nn.Module):
    """Black and white pixels, independent given a normal code; a linear encoder beside it. The bound is all it has."""

    def __init__(self, size: int = 12, latent: int = 2, seed: int = 0) -> None:
        super().__init__()
        rng = Rng(seed)
        self.space = Space(
            fields={"picture": Continuous(low=0.0, high=1.0, levels=2, shape=(1, 1, size))}, measure="binary pixels"
        )
        self.latent = Space(fields={"z": Continuous(low=-math.inf, high=math.inf, shape=(latent,))})
        self.W = nn.Parameter(2 * rng("W").normal((latent, size)))
        self.V = nn.Parameter(2 / size * self.W.detach().T.clone())

    def posterior(self, x, *, y=None) -> Independent:
        mean = (x.flatten(1) - 0.5) @ self.V
        return Independent(Normal(mean, torch.full_like(mean, 0.5)), 1)

    def encode(self, x, *, y=None) -> Tensor:
        return self.posterior(x).mean

    def decode(self, z, *, y=None) -> Tensor:
        return torch.sigmoid(z @ self.W).reshape(len(z), 1, 1, -1)

    def choice_log_probs(self, z, *, y=None) -> Tensor:
        logits = z @ self.W
        return torch.nn.functional.logsigmoid(torch.stack([-logits, logits], -1))

    @torch.no_grad()
    def elbo(self, x: Tensor, rng: Rng, draws: int) -> Tensor:
        """Nats (b,), averaged over draws."""
        q = self.posterior(x)
        total = torch.zeros(len(x), dtype=torch.float64)
        for i in range(draws):
            z = q.mean + q.stddev * rng("z", i).normal(q.mean.shape)
            log_px = self.choice_log_probs(z).gather(2, x.flatten(1).long()[..., None])[..., 0].sum(1)
            total += (log_px + Normal(0.0, 1.0).log_prob(z).sum(1) - q.log_prob(z)).double()
        return total / draws

    def sample(self, n: int, *, y=None, rng: Rng | int) -> Batch:
        rng = Rng.of(rng)
        p = self.decode(rng("z").normal((n, self.latent.size)))
        return Batch(x=rng("x").bernoulli(p).to(p.dtype))


class Tower(Dots):
    """The same pixels under four codes in two groups, of one and three: the posterior of the second heeds the first."""

    def __init__(self, size: int = 12, seed: int = 0) -> None:
        super().__init__(size, latent=4, seed=seed)

    def posterior(self, x, *, y=None) -> Ladder:
        return Ladder((x.flatten(1) - 0.5) @ self.V)

    def encode(self, x, *, y=None) -> Tensor:
        return self.posterior(x).decide(lambda normal: normal.mean)

    @torch.no_grad()
    def elbo(self, x: Tensor, rng: Rng, draws: int) -> Tensor:
        q = self.posterior(x)
        total = torch.zeros(len(x), dtype=torch.float64)
        for i in range(draws):
            noise = rng("z", i).normal((len(x), 4)).split([1, 3], 1)
            z = q.decide(lambda n, noise=noise: n.mean + n.stddev * noise[n.mean.shape[1] // 2])
            log_px = self.choice_log_probs(z).gather(2, x.flatten(1).long()[..., None])[..., 0].sum(1)
            total += (log_px + Normal(0.0, 1.0).log_prob(z).sum(1) - q.log_prob(z)).double()
        return total / draws


class Ladder:
    def __init__(self, mean: Tensor) -> None:
        self.mean = mean

    def decide(self, pick) -> Tensor:
        first = pick(Normal(self.mean[:, :1], 0.5))
        return torch.cat([first, pick(Normal(self.mean[:, 1:] - 0.4 * first, 0.6))], 1)

    def log_prob(self, z: Tensor) -> Tensor:
        found = []

        def pick(normal: Normal) -> Tensor:
            part = z[:, :1] if not found else z[:, 1:]
            found.append(normal.log_prob(part).sum(1))
            return part

        self.decide(pick)
        return torch.stack(found).sum(0)
