"""Models small enough to train in a test: a mean, a VAE, a GAN with batch norm, one with R1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.core.batch import Batch, Loss, Stored
from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.core.turns import Player, Turn
from simulacra.nets.dense import mlp
from simulacra.nets.initialise import initialise
from simulacra.nets.norm import BatchNorm

PLANE = Space(fields={"point": Continuous(low=-math.inf, high=math.inf, shape=(2,))}, measure="plane")


def ring(n: int = 256, *, seed: int = 0) -> Stored:
    """n points on the ring of eight Gaussians, radius 2, deviation 0.1."""
    rng = Rng(seed)
    angle = rng("mode").integers(8, (n,)) * (2 * math.pi / 8)
    centre = 2 * torch.stack([angle.cos(), angle.sin()], 1)
    return Stored(space=PLANE, x=centre + 0.1 * rng("point").normal((n, 2)), name="ring")


class Mean(nn.Module):
    """Learns the data's mean by least squares: its weights have a closed form at every step."""

    def __init__(self, *, lr: float = 0.1, average: bool = True, every: int = 1) -> None:
        super().__init__()
        self.space, self.average, self.lr, self.every = PLANE, average, lr, every
        self.net = nn.Linear(1, 2, bias=False)
        nn.init.zeros_(self.net.weight)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def players(self) -> Mapping[str, Player]:
        return {"mean": Player(module=self.net, optimiser=AdamW(lr=self.lr), averaged=self.average)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="fit", player="mean", loss=self.loss, after=self.after, every=self.every)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        assert isinstance(batch.x, Tensor)
        off = self.net(torch.ones(len(batch), 1, dtype=batch.x.dtype)) - batch.x
        return Loss.of(off.square().sum(1) / 2, distance=off.square().sum(1))

    def after(self, terms: Mapping[str, Tensor]) -> None:
        self.count += 1


class SmallVAE(nn.Module):
    """A VAE of two dense networks on points of the plane, unit-variance Gaussian likelihood."""

    def __init__(self, rng: int = 0, lr: float = 1e-3) -> None:
        super().__init__()
        self.space, self.lr = PLANE, lr
        self.encoder, self.decoder = mlp((2, 16, 4)), mlp((2, 16, 2))
        initialise(self, Rng(rng))

    def players(self) -> Mapping[str, Player]:
        return {"vae": Player(module=self, optimiser=AdamW(lr=self.lr))}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="elbo", player="vae", loss=self.loss)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        x = batch.x
        assert isinstance(x, Tensor)
        mean, log_scale = self.encoder(x).chunk(2, 1)
        z = mean + log_scale.exp() * rng("z").normal(mean.shape, dtype=mean.dtype, device=mean.device)
        kl = (mean.square() + (2 * log_scale).exp() - 1 - 2 * log_scale).sum(1) / 2
        miss = (self.decoder(z) - x).square().sum(1) / 2 * 50
        return Loss.of(miss + kl, kl=kl, reconstruction=miss)

    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        weight = next(self.decoder.parameters())
        z = Rng.of(rng)("z").normal((n, 2), dtype=weight.dtype, device=weight.device)
        with torch.no_grad():
            return Batch(x=self.decoder(z))


class SmallConv(SmallVAE):
    """The same with a convolution, whose weight may be laid out channels last."""

    def __init__(self) -> None:
        super().__init__()
        grow = (nn.Unflatten(1, (2, 1, 1)), nn.Upsample(scale_factor=2))
        self.encoder = nn.Sequential(*grow, nn.Conv2d(2, 16, 2), nn.SiLU(), nn.Flatten(), nn.Linear(16, 4))
        initialise(self, Rng(0))


class SmallGAN(nn.Module):
    """Non-saturating GAN on points of the plane. norm(features) is a layer for the generator; gamma > 0 adds R1."""

    def __init__(self, rng: int = 0, *, norm: type[nn.Module] | None = None, gamma: float = 0.0, lr: float = 1e-3):
        super().__init__()
        self.space, self.gamma, self.lr = PLANE, gamma, lr
        self.generator = mlp((2, 16, 16, 2))
        if norm is not None:
            self.generator.insert(1, norm(16))
        self.critic = mlp((2, 16, 16, 1))
        initialise(self, Rng(rng))

    def players(self) -> Mapping[str, Player]:
        return {
            "generator": Player(module=self.generator, optimiser=AdamW(lr=self.lr, betas=(0.5, 0.99))),
            "critic": Player(module=self.critic, optimiser=AdamW(lr=self.lr, betas=(0.5, 0.99)), averaged=False),
        }

    def turns(self) -> Sequence[Turn]:
        turns = [
            Turn(name="critic", player="critic", loss=self.critic_loss),
            Turn(name="generator", player="generator", loss=self.generator_loss),
        ]
        if self.gamma:
            turns.append(Turn(name="r1", player="critic", loss=self.r1, every=4, second_order=True))
        return turns

    def make(self, like: Tensor, rng: Rng) -> Tensor:
        return self.generator(rng("z").normal((len(like), 2), dtype=like.dtype, device=like.device))

    def critic_loss(self, batch: Batch, rng: Rng) -> Loss:
        assert isinstance(batch.x, Tensor)
        real, fake = self.critic(batch.x), self.critic(self.make(batch.x, rng))
        return Loss.of((F.softplus(-real) + F.softplus(fake)).squeeze(1), real=real.squeeze(1))

    def generator_loss(self, batch: Batch, rng: Rng) -> Loss:
        assert isinstance(batch.x, Tensor)
        return Loss.of(F.softplus(-self.critic(self.make(batch.x, rng))).squeeze(1))

    def r1(self, batch: Batch, rng: Rng) -> Loss:
        assert isinstance(batch.x, Tensor)
        x = batch.x.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(self.critic(x).sum(), x, create_graph=True)
        return Loss.of(4 * self.gamma / 2 * slope.square().sum(1))

    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        with torch.no_grad():
            like = torch.empty(n, 2, dtype=next(self.generator.parameters()).dtype)
            return Batch(x=self.make(like, Rng.of(rng)))

    def criticise(self, x: Tensor, *, y: Tensor | None = None) -> Tensor:
        return self.critic(x).squeeze(1)


MODELS = {
    "vae": SmallVAE,
    "convolution": SmallConv,
    "gan": lambda: SmallGAN(norm=BatchNorm),
    "r1": lambda: SmallGAN(gamma=1.0),
}
