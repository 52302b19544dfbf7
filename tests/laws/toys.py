"""Tiny models that are right by construction, at least one for every capability."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical as Choice
from torch.distributions import Independent, Normal
from torch.nn import functional as F

from simulacra.core.batch import Batch, Data, Loss
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.optimisers import AdamW
from simulacra.core.prompts import Generated, Prompt
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.core.turns import Player, Turn
from simulacra.nets.dense import mlp
from simulacra.nets.generation import beam, generate, uniforms
from simulacra.nets.initialise import initialise

CODE = Space(fields={"z": Continuous(low=-math.inf, high=math.inf, shape=(2,))}, measure="codes")
POINT = Continuous(low=-math.inf, high=math.inf, shape=(2,))


class Mixture(nn.Module):
    """p(y) N(x; mean of y, 0.5^2): exact density on the plane, fitted in closed form."""

    space = Space(fields={"point": POINT}, y=Classes(names=("a", "b", "c")), measure="plane")

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", torch.tensor([[-2.0, 0.0], [0.0, 1.0], [2.0, 0.0]]))
        self.register_buffer("log_prob", torch.tensor([0.6, 0.3, 0.1]).log())

    def fit(self, data: Data) -> None:
        batch = data.batch(torch.arange(len(data)), Rng(0))
        self.means.copy_(torch.stack([batch.x[batch.y == c].mean(0) for c in range(3)]))

    def label_log_prob(self) -> Any:
        return self.log_prob

    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        rng = Rng.of(rng)
        y = rng("y").categorical(self.log_prob.expand(n, 3)) if y is None else y
        return Batch(x=self.means[y] + 0.5 * rng("x").normal((n, 2)), y=y)

    def log_likelihood(self, x, *, y=None, known=None, length=None, rng=None) -> LogLikelihood:
        given = Normal(self.means, 0.5).log_prob(x[:, None]).sum(-1)
        nats = given.gather(1, y[:, None]).squeeze(1) if y is not None else self.summed_out(given)
        return LogLikelihood(nats=nats, kind="exact", measure="plane", count=2)

    def summed_out(self, given: Tensor) -> Tensor:
        return (given + self.log_prob).logsumexp(1)

    def denoise(self, x, sigma, *, y=None):
        """Of each class its mean, pulled to as its variance is small beside the noise's; without y their average."""
        wide = (0.25 + torch.as_tensor(sigma, dtype=x.dtype).square()).reshape(-1, 1)
        share = 0.25 / wide  # of x, the rest is the mean's
        if y is not None:
            return share * x + (1 - share) * self.means[y]
        near = Normal(self.means, wide.sqrt()[:, None]).log_prob(x[:, None]).sum(-1) + self.log_prob
        return share * x + (1 - share) * near.softmax(1) @ self.means


class LinearCodec(nn.Module):
    """x = 0.3 z + noise of deviation 0.2 in the square [-1, 1]^2, beginning with its exact posterior."""

    space = Space(fields={"point": Continuous(low=-1, high=1, shape=(2,))}, measure="square")
    latent = CODE
    deviation = 0.2

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(2, 4), nn.Linear(2, 2)
        with torch.no_grad():
            # the exact posterior of W = 0.3 I: variance s^2 / (w^2 + s^2), mean w x / (w^2 + s^2)
            evidence = 0.3**2 + self.deviation**2
            self.decoder.weight.copy_(0.3 * torch.eye(2))
            self.encoder.weight.copy_(torch.cat([0.3 / evidence * torch.eye(2), torch.zeros(2, 2)]))
            log_scale = math.log(self.deviation**2 / evidence) / 2
            self.encoder.bias.copy_(torch.tensor([0.0, 0.0, log_scale, log_scale]))
            self.decoder.bias.zero_()

    def players(self) -> Mapping[str, Player]:
        return {"both": Player(module=self, optimiser=AdamW())}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="elbo", player="both", loss=self.loss)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        return Loss.of(-self.elbo(batch.x, rng))

    def elbo(self, x: Tensor, rng: Rng) -> Tensor:
        q = self.q(x)
        z = q.mean + q.stddev * rng("z").normal(q.mean.shape)
        log_px = Normal(self.decoder(z), self.deviation).log_prob(x).sum(1)
        return log_px + self.minus_kl(z, q)

    def minus_kl(self, z: Tensor, q: Any) -> Tensor:
        return Normal(0.0, 1.0).log_prob(z).sum(1) - q.log_prob(z)

    def posterior(self, x: Tensor, *, y=None) -> Any:
        return self.q(x)

    def q(self, x: Tensor) -> Independent:
        mean, log_scale = self.encoder(x).chunk(2, 1)
        return Independent(Normal(mean, log_scale.exp()), 1)

    def encode(self, x: Tensor, *, y=None) -> Tensor:
        return self.encoder(x)[:, :2]

    def decode(self, z: Tensor, *, y=None) -> Tensor:
        return self.decoder(z).clamp(-1, 1)

    def log_prob_given(self, x: Tensor, z: Tensor, *, y=None, known=None, length=None) -> Tensor:
        return Normal(self.decoder(z), self.deviation).log_prob(x).sum(1)

    @torch.no_grad()
    def sample_from(self, z: Tensor, *, y=None, rng: Rng | int) -> Batch:
        return Batch(x=self.decoder(z) + self.deviation * Rng.of(rng)("x").normal((len(z), 2)))

    @torch.no_grad()
    def sample(self, n: int, *, y=None, rng: Rng | int) -> Batch:
        rng = Rng.of(rng)
        x = self.decoder(rng("z").normal((n, 2))) + self.deviation * rng("x").normal((n, 2))
        return Batch(x=x.clamp(-1, 1))

    @torch.no_grad()
    def log_likelihood(self, x, *, y=None, known=None, length=None, rng=None) -> LogLikelihood:
        return LogLikelihood(nats=self.elbo(x, Rng.of(rng)), kind="bound", measure="square", count=2)


class InTurn(LinearCodec):
    """The same, its posterior telling one coordinate after the other."""

    def posterior(self, x: Tensor, *, y=None) -> Any:
        return Turns(self.q(x))


class Turns:
    """Two independent normals as a posterior of two parts."""

    def __init__(self, q: Independent) -> None:
        self.q = q

    def decide(self, pick: Any) -> Tensor:
        return torch.cat([pick(Normal(m, s)) for m, s in self.parts()], 1)

    def parts(self) -> Any:
        return zip(self.q.mean.split(1, 1), self.q.stddev.split(1, 1), strict=True)

    def log_prob(self, z: Tensor) -> Tensor:
        return self.q.log_prob(z)


class Columns(nn.Module):
    """A table of independent columns, some of them missing: normal, categorical, and five marks out of five."""

    space = Space(
        fields={
            "age": Continuous(low=-math.inf, high=math.inf, centre=40, scale=10),
            "job": Categorical(k=4),
            "mark": Continuous(low=1, high=5, levels=5),
        },
        missing=("age", "job"),
        measure="columns",
    )

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("job", torch.tensor([0.4, 0.3, 0.2, 0.1]).log())

    def each_column(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        mark = torch.full_like(x["mark"], -math.log(5))
        return {"age": Normal(40.0, 10.0).log_prob(x["age"]), "job": self.job[x["job"]], "mark": mark}

    def log_likelihood(self, x, *, y=None, known=None, length=None, rng=None) -> LogLikelihood:
        columns = self.each_column(x)
        nats = sum(self.seen(part, known, name) for name, part in columns.items())
        count = 3 if known is None else sum(k.double() for k in known.values())
        return LogLikelihood(nats=nats, kind="exact", measure="columns", count=count)

    def seen(self, part: Tensor, known: Mapping[str, Tensor] | None, name: str) -> Tensor:
        return part if known is None else torch.where(known[name], part, 0.0)

    def sample(self, n: int, *, y=None, rng: Rng | int) -> Batch:
        rng = Rng.of(rng)
        return Batch(x={
            "age": 40 + 10 * rng("age").normal((n,)),
            "job": rng("job").categorical(self.job.expand(n, 4)),
            "mark": 1.0 + rng("mark").integers(5, (n,)),
        })  # fmt: skip

    def complete(self, x, known, *, y=None, rng: Rng | int) -> Batch:
        drawn = self.fill(x, known, Rng.of(rng))
        return Batch(x={name: torch.where(known[name], t, drawn[name]) for name, t in x.items()})

    def fill(self, x, known, rng: Rng) -> Any:
        return self.sample(len(x["age"]), rng=rng).x


class SureColumns(Columns):
    """The same, and it says that what it completes is drawn exactly."""

    completion = "exact"


class Words(nn.Module):
    """Sequences of independent letters, their length uniform on 1 .. 5; learnt by its exact likelihood a letter."""

    space = Space(fields={"word": Categorical(k=3, shape=(5,), varying=True)}, measure="letters")

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.5, 0.0, -0.5]))

    def letters(self, x: Tensor, length: Tensor | None) -> Tensor:
        within = torch.arange(5) < (torch.full((len(x),), 5) if length is None else length)[:, None]
        return torch.where(within, self.logits.log_softmax(0)[x], 0.0).sum(1)

    def log_likelihood(self, x, *, y=None, known=None, length=None, rng=None) -> LogLikelihood:
        nats = self.letters(x, length) - math.log(5)
        return LogLikelihood(nats=nats, kind="exact", measure="letters", count=length.double())

    def sample(self, n: int, *, y=None, rng: Rng | int) -> Batch:
        rng = Rng.of(rng)
        length = 1 + rng("length").integers(5, (n,))
        letters = rng("x").categorical(self.logits.detach().expand(n, 5, 3))
        return Batch(x=letters * (torch.arange(5) < length[:, None]), length=length)

    def players(self) -> Mapping[str, Player]:
        return {"letters": Player(module=self, optimiser=AdamW())}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="nll", player="letters", loss=self.loss)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        return Loss(-self.letters(batch.x, batch.length).sum(), batch.length.sum())


class SlopedWords(Words):
    """The same, and its log p can be learnt from by whoever likes."""

    def log_prob_of(self, x, *, y=None, length=None) -> Tensor:
        return self.log_likelihood(x, length=length).nats


class Coins:
    """Three unfair coins; no torch module at all."""

    space = Space(fields={"coins": Categorical(k=2, shape=(3,))}, measure="coins")

    def log_likelihood(self, x, *, y=None, known=None, length=None, rng=None) -> LogLikelihood:
        nats = torch.tensor([0.7, 0.3]).log()[x].sum(1)
        return LogLikelihood(nats=nats, kind="exact", measure="coins", count=3)

    def sample(self, n: int, *, y=None, rng: Rng | int) -> Batch:
        return Batch(x=Rng.of(rng)("x").bernoulli(torch.full((n, 3), 0.3)).long())


class Turned(Coins):
    """The same coins, coded by the sides that lie below: codes are categories."""

    latent = Space(fields={"below": Categorical(k=2, shape=(3,))}, measure="coins from below")

    def encode(self, x: Tensor, *, y=None) -> Tensor:
        return 1 - x

    def decode(self, z: Tensor, *, y=None) -> Tensor:
        return 1 - z

    def posterior(self, x: Tensor, *, y=None) -> Independent:
        certain = torch.stack([x, 1 - x], -1).double().log()  # of 0 and 1 below
        return Independent(Choice(logits=certain, validate_args=False), 1, validate_args=False)


class Tosses(Coins):
    """The same coins, one after another."""

    def walk(self, n: int, *, y=None) -> Toss:
        return Toss(n)


class Toss:
    """The last coin is tossed first."""

    def __init__(self, n: int) -> None:
        self.n, self.order = n, torch.tensor([2, 1, 0])

    def log_probs(self) -> Tensor:
        return torch.tensor([0.7, 0.3]).log().expand(self.n, 2)

    def take(self, value: Tensor) -> None:
        self.order = self.order[1:]


class Flips(Coins):
    """The same coins, and more of them for as long as one asks."""

    def steps(self, n: int, *, y=None, prompt: Prompt | None = None) -> Flip:
        return Flip(n)

    def continue_from(self, prompt: Prompt, tokens: int, *, y=None, rng: Rng | int, changes=(), told=None) -> Generated:
        u = uniforms(len(prompt.tokens), tokens, Rng.of(rng)("x"), "cpu")
        return generate(Flip(len(u)), u, seen=prompt.tokens, changes=changes, told=told)


class Flip:
    """Coins that do not remember."""

    def __init__(self, n: int) -> None:
        self.n = n

    def log_probs(self) -> Tensor:
        return torch.tensor([0.7, 0.3]).log().expand(self.n, 2)

    def take(self, token: Tensor) -> None: ...

    def keep(self, rows: Tensor) -> None:
        self.n = len(rows)


class CoinsByCode:
    """Coins whose code shifts all their odds alike: all that is known of them."""

    space = Coins.space
    latent = CODE

    def choice_log_probs(self, z: Tensor, *, y=None) -> Tensor:
        odds = z.sum(1)[:, None].expand(-1, 3)
        return self.normalised(torch.stack([torch.zeros_like(odds), odds], -1))

    def normalised(self, scores: Tensor) -> Tensor:
        return scores.log_softmax(-1)


class Captions:
    """Points near the place that a word of two letters names."""

    space = Space(fields={"point": POINT}, y=Space(fields={"word": Categorical(k=5, shape=(2,))}), measure="plane")

    def sample_given(self, y: Tensor, *, rng: Rng | int) -> Batch:
        return Batch(x=y.float() + 0.1 * Rng.of(rng)("x").normal((len(y), 2)))


class Negatives:
    """A point of one class is one of the other with its signs turned."""

    space = Space(fields={"point": POINT}, y=Classes(names=("up", "down")), measure="plane")

    def translate(self, x: Tensor, *, y: Tensor) -> Tensor:
        return torch.where((y == 0)[:, None], x.abs(), -x.abs())


class Echo:
    """Words of up to three letters, each of which is mostly the one that was said; after each it may be over."""

    space = Space(
        fields={"heard": Categorical(k=2, shape=(3,), varying=True)},
        y=Space(fields={"said": Categorical(k=2, shape=(3,))}),
        measure="letters",
    )

    def table(self, y: Tensor) -> Tensor:
        """Nats (n, 3, 3) of each place's letter, or of being over."""
        right = torch.where(y == 1, 0.8, 0.2)
        return torch.stack([0.6 * (1 - right), 0.6 * right, torch.full_like(right, 0.4)], -1).log()

    def log_likelihood(self, x, *, y=None, known=None, length=None, rng=None) -> LogLikelihood:
        place = torch.arange(3)
        chosen = torch.where(place < length[:, None], x, 2)
        each = self.table(y).gather(2, chosen[..., None])[..., 0]
        nats = torch.where(place <= length[:, None], each, 0.0).sum(1)
        return LogLikelihood(nats=nats, kind="exact", measure="letters", count=length.double())

    def search(self, y: Tensor, *, width: int = 5, alpha: float = 1.0) -> Generated:
        return beam(Heard(self.table(y)), len(y), 3, width=width, alpha=alpha, end=2)

    def attention(self, x: Tensor, length: Tensor, *, y: Tensor) -> Tensor:
        # each decision looks at the letter in its own place; before the first there is nothing
        return F.pad(torch.eye(3), (1, 0)).expand(len(x), 3, 4)


class Heard:
    """The places of an echo, one after another."""

    def __init__(self, table: Tensor) -> None:
        self.table, self.place = table, 0

    def log_probs(self) -> Tensor:
        return self.table[:, self.place]

    def take(self, token: Tensor) -> None:
        self.place += 1

    def keep(self, rows: Tensor) -> None:
        self.table = self.table[rows]


class Duel(nn.Module):
    """A small non-saturating GAN on the plane."""

    space = Space(fields={"point": POINT}, measure="plane")
    latent = CODE

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.critic = self.networks()
        initialise(self, Rng(0))

    def networks(self) -> tuple[nn.Module, nn.Module]:
        return mlp((2, 8, 2)), mlp((2, 8, 1))

    def players(self) -> Mapping[str, Player]:
        return {
            "generator": Player(module=self.generator, optimiser=AdamW()),
            "critic": Player(module=self.critic, optimiser=AdamW(), averaged=False),
        }

    def turns(self) -> Sequence[Turn]:
        return [
            Turn(name="critic", player="critic", loss=self.critic_loss),
            Turn(name="r1", player="critic", loss=self.r1, every=4, second_order=True),
            Turn(name="generator", player="generator", loss=self.generator_loss),
        ]

    def fake(self, n: int, rng: Rng) -> Tensor:
        return self.generator(rng("z").normal((n, 2)))

    def critic_loss(self, batch: Batch, rng: Rng) -> Loss:
        real, fake = self.critic(batch.x), self.critic(self.fake(len(batch), rng))
        return Loss.of((F.softplus(-real) + F.softplus(fake)).squeeze(1))

    def r1(self, batch: Batch, rng: Rng) -> Loss:
        x = batch.x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(x).sum(), [x], create_graph=True)
        return Loss.of(2 * slope.square().sum(1))

    def generator_loss(self, batch: Batch, rng: Rng) -> Loss:
        return Loss.of(F.softplus(-self.critic(self.fake(len(batch), rng))).squeeze(1))

    @torch.no_grad()
    def sample(self, n: int, *, y=None, rng: Rng | int) -> Batch:
        return Batch(x=self.fake(n, Rng.of(rng)))

    def decode(self, z: Tensor, *, y=None) -> Tensor:
        return self.generator(z)

    def criticise(self, x: Tensor, *, y=None) -> Tensor:
        return self.critic(x).squeeze(1)


class Stretch:
    """A point is a code sheared, stretched and moved: z_1 = 2 x_1 - 1, z_2 = (x_2 - sin x_1) / 2."""

    space = Space(fields={"point": POINT}, measure="plane")
    latent = CODE

    def to_latent(self, x: Tensor, *, y=None) -> tuple[Tensor, Tensor]:
        z = torch.stack([2 * x[:, 0] - 1, (x[:, 1] - x[:, 0].sin()) / 2], 1)
        return z, torch.zeros(len(x), dtype=x.dtype)

    def from_latent(self, z: Tensor, *, y=None) -> Tensor:
        first = (z[:, 0] + 1) / 2
        return torch.stack([first, 2 * z[:, 1] + first.sin()], 1)


class ScoredStretch(Stretch):
    """The same with its density."""

    def log_likelihood(self, x, *, y=None, known=None, length=None, rng=None) -> LogLikelihood:
        z, log_det = self.to_latent(x)
        return LogLikelihood(nats=self.normal(z) + log_det, kind="exact", measure="plane", count=2)

    def normal(self, z: Tensor) -> Tensor:
        return Normal(0.0, 1.0).log_prob(z).sum(1)


RIGHT: tuple[type, ...] = (
    Mixture, LinearCodec, InTurn, Columns, SureColumns, Words, SlopedWords, Coins, Turned, Tosses, Flips, CoinsByCode,
    Captions, Negatives, Echo, Stretch, ScoredStretch, Duel,
)  # fmt: skip
