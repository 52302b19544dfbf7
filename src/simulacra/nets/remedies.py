"""Remedies against mode collapse that change what the critic is shown, and what the generator learns from it.

    Pack        the critic judges several examples at once                              Lin et al. 2018, "PacGAN"
    Deviated    it is told how far the examples of its batch differ                     Karras et al. 2018, section 3
    Unrolled    the generator learns against the critic as it will be some steps later  Metz et al. 2017
    TopK        the generator learns from its best examples alone                       Sinha et al. 2020

They are settings of an adversarial family (``remedies=``) and can be combined. Others are elsewhere: pairing and R1, R2
in ``mathematics.adversarial``, rejection of poor samples in ``uses.reject``, going back in ``training.rollback``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from simulacra.core import across
from simulacra.mathematics.adversarial import Game
from simulacra.nets.equalised import Deviation

Judge = Callable[[Tensor, "Tensor | None"], Tensor]  # (u, y) -> scores


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Joins every ``size`` examples of a batch, in order, along their first dimension: Lin et al. 2018, section 3.

    A generator that lacks modes is told from the data more easily by several examples at once (ibid., theorem 3). The
    critic's first layer grows, nothing else does; a pack counts as one example in losses and penalties.
    """

    size: int = 2

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ValueError(
                f"a pack holds at least 2 examples; got size={self.size}, leave pack out to judge each alone"
            )

    def __call__(self, x: Tensor) -> Tensor:
        """(b, c, ...) -> (b / size, size c, ...); ValueError where packs do not divide the batch."""
        if len(x) == 0 or len(x) % self.size:
            raise ValueError(
                f"packs of {self.size} need a batch that they divide; got {len(x)} examples, take a multiple of"
                f" {self.size}"
            )
        return x.reshape(len(x) // self.size, -1, *x.shape[2:])


@dataclass(frozen=True, kw_only=True)
class Deviated:
    """One number beside each example: the standard deviation within its group of ``group``, as in ``nets.equalised``.

    It stands at the critic's input, where ProGAN and StyleGAN have it before their last layer.
    """

    group: int = 4


@dataclass(frozen=True, kw_only=True)
class Unrolled:
    """The generator's loss is taken at the critic's weights some steps later: Metz et al. 2017, eq. 7-10.

    The steps are plain gradient descent at ``rate`` on the game's loss of this batch, without the penalties, and are
    differentiated through: the generator sees how the critic would answer. Costs about 2 ``steps`` more passes of the
    critic in the generator's turn, and their memory.
    """

    steps: int = 5
    rate: float = 1e-2

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.rate > 0:
            raise ValueError(
                f"unrolling looks at least 1 step ahead, at a rate above 0; got {self.steps} and {self.rate}"
            )

    def ahead(self, critic: nn.Module, game: Game, real: Tensor, fake: Tensor, y: Tensor | None) -> Judge:
        """The critic as it will be. It stays as it is, its running statistics too."""
        weights = {name: p.detach().requires_grad_() for name, p in critic.named_parameters()}
        buffers = {name: b.clone() for name, b in critic.named_buffers()}

        def judge(weights: dict[str, Tensor], u: Tensor, y: Tensor | None) -> Tensor:
            return functional_call(critic, {**weights, **buffers}, (u, y))

        for _ in range(self.steps):
            loss = game.critic(judge(weights, real, y), judge(weights, fake, y)).mean()
            slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True, allow_unused=True)
            weights = {
                name: w if slope is None else w - self.rate * across.mean(slope)
                for (name, w), slope in zip(weights.items(), slopes, strict=True)
            }
        return lambda u, y: judge(weights, u, y)


@dataclass(frozen=True, kw_only=True)
class TopK:
    """The generator learns from the best-scored share of a batch: Sinha et al. 2020, "Top-k training of GANs", alg. 1.

    The share falls from 1 by ``decay`` every ``every`` steps of the critic's until it is ``final``: what a young critic
    says is not worth much (ibid., section 3).
    """

    final: float = 0.5
    decay: float = 0.99
    every: int = 500

    def __post_init__(self) -> None:
        if not (0 < self.final <= 1 and 0 < self.decay < 1 and self.every >= 1):
            raise ValueError(
                "a share falls to final in (0, 1] by decay in (0, 1) every 1 or more steps;"
                f" got {self.final}, {self.decay} and {self.every}"
            )

    def share(self, step: Tensor) -> Tensor:
        """The share kept at a step, a scalar."""
        return (self.decay ** (step // self.every).double()).clamp(min=self.final)

    def kept(self, scores: Float[Tensor, " b"], step: Tensor) -> Float[Tensor, " b"]:
        """1 for the examples that are learnt from, 0 for others: the best of the whole batch, over all processes."""
        best = across.gather(scores.detach()).sort(descending=True).values
        last = (self.share(step) * len(best)).ceil().long().clamp(1, len(best)) - 1
        return (scores.detach() >= best[last]).to(scores)


@dataclass(frozen=True, kw_only=True)
class Remedies:
    """Those that a game is played with; None for those that it is not."""

    pack: Pack | None = None
    deviation: Deviated | None = None
    unroll: Unrolled | None = None
    top: TopK | None = None

    def event(self, event: Sequence[int]) -> tuple[int, ...]:
        """Shape of what the critic is shown, where examples have this shape."""
        first, *rest = event or (1,)
        size = 1 if self.pack is None else self.pack.size
        if size == 1 and self.deviation is None:
            return tuple(event)
        return (size * first + (self.deviation is not None), *rest)

    def labels(self, classes: int) -> int:
        """Numbers that the critic is told of the labels."""
        return classes if self.pack is None else classes * self.pack.size

    def around(self, critic: nn.Module) -> nn.Module:
        """The critic, told the deviation where that is wanted."""
        return critic if self.deviation is None else Told(critic, Deviation(self.deviation.group))


class Told(nn.Module):
    """A critic (u (b, c + 1, ...), y) -> scores that is handed u (b, c, ...) and the deviation of its group."""

    def __init__(self, critic: nn.Module, deviation: Deviation) -> None:
        super().__init__()
        self.critic, self.deviation = critic, deviation

    def forward(self, u: Tensor, y: Tensor | None = None) -> Tensor:
        return self.critic(self.deviation(u if u.ndim > 1 else u[:, None]), y)
