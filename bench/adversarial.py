"""What a step of adversarial training costs beside a plain torch loop, and what drawing from StyleGAN2 costs.

``python -m bench adversarial`` runs all of it; ``python -m bench.adversarial drawing | dcgan | stylegan`` one part.
``bench.gan`` has DCGAN against torchgan's trainer.

A plain loop is what tutorials and public code write down: the critic learns from a real and a generated batch, then
the generator from a new look at it; lazy penalties take a pass of their own, the average is made parameter by
parameter, and modulated filters are convolved in groups, one an example. All else is the same on both sides.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
SIDE, BATCH = 32, 32
DRAWN = 8  # pictures drawn at a time
PARTS = ("drawing", "dcgan", "stylegan")


def run(parts: tuple[str, ...] = PARTS) -> list[Any]:
    """The rows of the parts asked for."""
    from bench.harness import Side, compare, faster

    rows: list[Any] = []
    for part in parts:
        what, ours, theirs, settings, least = {
            "drawing": (
                f"StyleGAN2 64x64, drawing {DRAWN}: one filter for all of them against one each",
                "drawn", "drawn", ({"how": "by_device"}, {"how": "grouped"}), 1.5),
            "dcgan": (
                f"DCGAN {SIDE}x{SIDE}, width 64, batch {BATCH}: training on a picture against a plain torch loop",
                "our_dcgan", "plain_dcgan", ({}, {}), 1.3),
            "stylegan": (
                f"StyleGAN2 {SIDE}x{SIDE}, the recipe, batch {BATCH}: training on a picture against a plain torch loop",
                "our_stylegan", "plain_stylegan", ({}, {}), 1.3),
        }[part]  # fmt: skip
        both = compare(
            Side(file=HERE, function=ours, settings=settings[0]),
            Side(file=HERE, function=theirs, settings=settings[1]),
            rounds=3,
        )
        rows.append(faster(what, both, at_least=least))
    return rows


# -- drawing ----------------------------------------------------------------------------------------------------------


def drawn(how: str):
    """A round: pictures of a new StyleGAN2, by the convolution named."""
    from simulacra.families.stylegan import StyleGAN, StyleGANConfig
    from simulacra.nets import modulated
    from simulacra.nets.styles import Demodulated

    config = StyleGANConfig(synthesis=Demodulated(compute=getattr(modulated, how)))
    model = StyleGAN(config, pictures(3, 64)).eval()

    def one_round() -> dict[str, Any]:
        model.sample(DRAWN, rng=1)
        return {"work": DRAWN}

    return one_round


# -- training ---------------------------------------------------------------------------------------------------------


def pictures(channels: int, side: int) -> Any:
    """The space of pictures of this size."""
    from simulacra.modalities.images import space

    return space(channels, side, side)


def noise(n: int) -> Any:
    """n random pictures in memory."""
    import torch

    from simulacra.core.batch import Stored
    from simulacra.core.randomness import Rng

    return Stored(
        space=pictures(3, SIDE), x=Rng(0).integers(256, (n, 3, SIDE, SIDE)).to(torch.uint8), name="noise"
    )  # fmt: skip


def _ours(model: Any, steps: int):
    from simulacra.training.loop import train
    from simulacra.training.settings import Training

    data = noise(BATCH * 8)

    def one_round() -> dict[str, Any]:
        train(model, data, Training(steps=steps, batch=BATCH))
        return {"work": BATCH * steps}

    return one_round


def our_dcgan():
    """A round of ours, its batches, log and average included."""
    from simulacra.families.dcgan import DCGAN, DCGANConfig

    return _ours(DCGAN(DCGANConfig(width=64), pictures(3, SIDE)), 8)


def our_stylegan():
    """A round of ours: sixteen steps, so that each lazy turn is taken as often as it should."""
    from simulacra.recipes.families import FAMILIES

    space = pictures(3, SIDE)
    config, _ = FAMILIES["stylegan"].recipe(space, 10_000)
    return _ours(FAMILIES["stylegan"].build(config, space, rng=0), 16)


class Plain:
    """What both plain loops share: batches, optimisers, the average."""

    def __init__(self, model: Any) -> None:
        import copy

        import torch

        self.duel = model.duel
        self.generator, self.critic = model.duel.generator, model.duel.critic
        self.x = (noise(BATCH * 8).x.float() / 127.5 - 1).contiguous()
        self.average = copy.deepcopy(self.generator)
        config = model.config
        self.of_generator, self.of_critic = (
            torch.optim.Adam(net.parameters(), lr=settings.lr, betas=settings.betas)
            for net, settings in (
                (self.generator, config.generator_optimiser),
                (self.critic, config.critic_optimiser),
            )
        )

    def batch(self) -> Any:
        """A random batch."""
        import torch

        return self.x[torch.randint(len(self.x), (BATCH,))]

    def step(self, optimiser: Any, loss: Any) -> None:
        """A step of one player."""
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def remember(self) -> None:
        """The average goes on."""
        import torch

        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                kept.lerp_(new, 1e-3)


def plain_dcgan():
    """A round of the loop of tutorials."""
    import torch
    from torch.nn.functional import softplus

    from simulacra.families.dcgan import DCGAN, DCGANConfig

    model = DCGAN(DCGANConfig(width=64), pictures(3, SIDE))
    loop, steps = Plain(model), 8

    def one_round() -> dict[str, Any]:
        for _ in range(steps):
            fake = torch.tanh(loop.generator(torch.randn(BATCH, 100)))
            said = softplus(-loop.critic(loop.batch())).mean() + softplus(loop.critic(fake.detach())).mean()
            loop.step(loop.of_critic, said)
            loop.step(loop.of_generator, softplus(-loop.critic(fake)).mean())
            loop.remember()
        return {"work": BATCH * steps}

    return one_round


def plain_stylegan():
    """A round of the loop of public StyleGAN2 code in pure torch."""
    from dataclasses import replace

    import torch
    from torch.nn.functional import softplus

    from simulacra.core.randomness import Rng
    from simulacra.nets.modulated import grouped
    from simulacra.nets.styles import Demodulated
    from simulacra.recipes.families import FAMILIES

    space = pictures(3, SIDE)
    config, _ = FAMILIES["stylegan"].recipe(space, 10_000)
    config = replace(config, synthesis=Demodulated(compute=grouped))
    model = FAMILIES["stylegan"].build(config, space, rng=0)
    loop, steps, lengths = Plain(model), 16, torch.zeros(())
    gamma, path = config.regularisers[0].weight, config.path_length
    assert path is not None
    loud = lambda layer, x: torch.randn(len(x), 1, *x.shape[2:])  # noqa: E731

    def show(step: int, w: Any = None) -> Any:
        w = loop.generator.styles(torch.randn(BATCH, config.latent), None, Rng(step)) if w is None else w
        return torch.tanh(loop.generator.synthesis(w, loud))

    def one_round() -> dict[str, Any]:
        for step in range(steps):
            with torch.no_grad():
                fake = show(step)
            said = softplus(-loop.critic(loop.batch())).mean() + softplus(loop.critic(fake)).mean()
            loop.step(loop.of_critic, said)
            if step % 16 == 0:
                x = loop.batch().requires_grad_()
                (slope,) = torch.autograd.grad(loop.critic(x).sum(), x, create_graph=True)
                loop.step(loop.of_critic, gamma / 2 * 16 * slope.square().sum((1, 2, 3)).mean())
            loop.step(loop.of_generator, softplus(-loop.critic(show(step))).mean())
            if step % path.every == 0:
                w = loop.generator.styles(torch.randn(BATCH, config.latent), None, Rng(step))
                picture = show(step, w)
                (slope,) = torch.autograd.grad((picture * torch.randn_like(picture)).sum() / SIDE, w, create_graph=True)
                found = slope.square().sum(2).mean(1).sqrt()
                lengths.lerp_(found.detach().mean(), 0.01)
                loop.step(loop.of_generator, path.weight * path.every * (found - lengths).square().mean())
            loop.remember()
        return {"work": BATCH * steps}

    return one_round


if __name__ == "__main__":
    from bench.harness import save, show

    for part in tuple(sys.argv[1:]) or PARTS:
        rows = run((part,))
        show(f"adversarial {part}", rows)
        print(save(f"adversarial-{part}", rows))
