"""A generator and a critic at play: the turns that every adversarial family takes, whatever its networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Loss, Values
from simulacra.core.optimisers import Optimiser
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.adversarial import Game, Slope, slope_of
from simulacra.mathematics.latent_draws import Draw, independent
from simulacra.nets.augment import Augmentation, Augmenter
from simulacra.nets.class_heads import Auxiliary
from simulacra.nets.continuum import Continuum
from simulacra.nets.looking import Look, beside, evaluating, first
from simulacra.nets.norm import holding
from simulacra.nets.playing_spaces import class_count
from simulacra.nets.remedies import Remedies
from simulacra.nets.shown import Opinions, Shown, through

Penalty = Callable[[Slope, Tensor, Tensor, Rng], Tensor]
Make = Callable[[Tensor, "Tensor | None", Rng], Tensor]  # (z, y, rng) -> free output, as a generator that draws has it
NONE = Remedies()
ROWS = 512  # rows sampled or counted at a time: a generator's widest layer for that many fits in memory


def geometric(first: float, final: float, share: Tensor) -> Tensor:
    """From first to final by an equal factor at every step; share of the way 0 .. 1."""
    return first * (final / first) ** share


def cosine(first: float, final: float, share: Tensor) -> Tensor:
    """From first to final along half a cosine, slowly at both ends: how Huang et al. 2024 let gamma fall."""
    return final + (first - final) * 0.5 * (1 + (math.pi * share).cos())


@runtime_checkable
class Prepared(Protocol):
    """A critic that learns something of the data before the game begins."""

    def prepare(self, data: Data) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Regulariser:
    """A penalty on the critic: (slope, real, fake, rng) -> (b,), times a weight.

    weight  gamma for R1 and R2 (``mathematics.adversarial``), lambda for the gradient penalty.
    final   where the weight ends after ``steps`` steps; None: it stays. A critic that is smooth first and sharp last
            finds all modes before it tells their shapes.
    fall    (weight, final, share of the way) -> weight: how it gets there, by an equal factor a step unless told.
    every   1: added to the critic's loss. k > 1: a turn of its own every k steps, shared by all of this k, its loss
            multiplied by k (lazy regularisation, Karras et al. 2020, appendix B).
    """

    penalty: Penalty
    weight: float
    final: float | None = None
    steps: int = 10_000
    every: int = 1
    fall: Callable[[float, float, Tensor], Tensor] = geometric

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"a penalty's weight must not be negative; got {self.weight}")
        if self.final is not None and not (self.weight > 0 and self.final > 0):
            raise ValueError(f"a weight that falls geometrically must be positive; got {self.weight} to {self.final}")
        if self.steps < 1:
            raise ValueError(f"a weight changes over at least 1 step; got steps={self.steps}")

    def at(self, step: Tensor) -> float | Tensor:
        """The weight at a step, a scalar tensor."""
        if self.final is None:
            return self.weight
        return self.fall(self.weight, self.final, (step / self.steps).clamp(max=1))


class Duel(nn.Module):
    """Two networks and their game, in standardised units u (``Continuum``).

    generator  (z (b, latent), y (b, classes) or None) -> free output (b, *event). One whose attribute ``draws`` is true
               is handed an rng as well where it learns or samples, for noise of its own.
    critic     (u (b, *event), y likewise) -> scores (b,).
    draw       how the latents of a batch to learn from are drawn; those of samples are independent.
    rounds     steps of the critic for each of the generator's.
    burden     generator -> a number that is added to its loss, such as a penalty on its weights.
    auxiliary  the critic says itself which class it sees, and is not told (``class_heads``); None: it is told.
    remedies   against mode collapse; the critic is one for ``remedies.event`` and ``remedies.labels``.
    augment    how pictures are changed, real and generated, before the critic learns from them; None: not at all.
               Penalties on its slope are taken where it looks, at the changed pictures.
    frozen     how many of the sizes that a critic sees a picture at, finest first, keep their layers as they are
               (freeze-D, Mo et al. 2020); its ``by_size()`` names the layers of each. For critics that have learnt.
    y holds probabilities: one-hot where the label is known, the labels' marginal where it is not.
    """

    steps: Tensor
    label_log_marginal: Tensor
    company: Tensor  # what a packed critic sees beside a single example, where there are packs
    company_labels: Tensor

    def __init__(
        self,
        space: Space,
        generator: nn.Module,
        critic: nn.Module,
        *,
        latent: int,
        game: Game,
        regularisers: Sequence[Regulariser],
        draw: Draw = independent,
        rounds: int = 1,
        burden: Callable[[nn.Module], Tensor] | None = None,
        remedies: Remedies = NONE,
        augment: Augmentation | None = None,
        frozen: int = 0,
        auxiliary: Auxiliary | None = None,
    ) -> None:
        super().__init__()
        if auxiliary is not None and not class_count(space):
            raise ValueError("an auxiliary classifier tells classes, and this data has none; leave auxiliary out")
        if auxiliary is not None and (remedies.pack is not None or remedies.deviation is not None):
            raise ValueError("an auxiliary classifier sees examples one by one; leave pack and deviation out")
        self.auxiliary = auxiliary
        if rounds < 1:
            raise ValueError(f"the critic takes at least 1 step for each of the generator's; got rounds={rounds}")
        self.rounds, self.burden, self.remedies = rounds, burden, remedies
        self.generator, self.critic, self.draw = generator, critic, draw
        self.continuum = Continuum.of(space, "an adversarial game")
        self.latent = Space(fields={"z": Continuous(low=-math.inf, high=math.inf, shape=(latent,))}, measure="latent")
        self.game, self.regularisers = game, tuple(regularisers)
        self.augmenter = None if augment is None else Augmenter(augment)
        self.frozen = frozen
        for parameter in self.kept():
            parameter.requires_grad_(False)
        self.shown, self.opinions = Shown(), Opinions()
        self.classes = class_count(space)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        if remedies.pack is not None:
            others = remedies.pack.size - 1
            self.register_buffer("company", torch.zeros(others, *self.continuum.event))
            self.register_buffer("company_labels", torch.zeros(others, self.classes))
        self.register_buffer("label_log_marginal", torch.full((self.classes,), -math.log(max(self.classes, 1))))

    def players(self, generator: Optimiser, critic: Optimiser) -> dict[str, Player]:
        """Both players with these optimisers; only the generator is averaged."""
        return {
            "critic": Player(module=self.critic, optimiser=critic, averaged=False),
            "generator": Player(module=self.generator, optimiser=generator),
        }

    def turns(self) -> list[Turn]:
        """The generator's turn, the critic's and the lazy regularisers'.

        The generator moves first, so that the critic judges what it has just shown: drawing anew would cost a forward
        pass a turn, and the players move at the same time either way (Mescheder et al. 2018, section 2).
        """
        joint = any(r.every == 1 for r in self.regularisers)
        lazy: dict[int, list[tuple[int, Regulariser]]] = {}
        for i, r in enumerate(self.regularisers):
            if r.every > 1:
                lazy.setdefault(r.every, []).append((i, r))
        return [
            Turn(
                name="generator",
                player="generator",
                loss=self.generator_loss,
                every=self.rounds,
                second_order=self.remedies.unroll is not None,
            ),
            Turn(name="critic", player="critic", loss=self.critic_loss, second_order=joint, after=self._advance),
            *(
                Turn(name=named(rules), player="critic", loss=self._lazily(rules), every=every, second_order=True)
                for every, rules in lazy.items()
            ),
        ]

    def critic_loss(self, batch: Batch, rng: Rng) -> Loss:
        """The game's loss for the critic, and the penalties that are due at every step."""
        real, fake, y = self.opponents(batch, rng)
        due = [(i, r) for i, r in enumerate(self.regularisers) if r.every == 1]
        # statistics count what was shown once, in the generator's turn, whether or not its scores could be kept
        shown = holding(self.critic) if first(batch.x) in self.shown else None
        opinion = self.opinions.recall(self.critic, first(batch.x))
        look = Look(self.critic, real, fake, y, slopes=bool(due), opinion=opinion, at_fake=shown)
        on_real, on_fake = look
        loss = self.game.critic(on_real, on_fake)
        terms = {"critic": loss, "real": on_real, "fake": on_fake}
        if self.augmenter is not None:
            self.augmenter.count(len(real))
            lead = on_real - on_fake if self.game.relative else on_real
            terms |= {"sign": lead.sign(), "p": self.augmenter.p.expand(len(real))}
        for i, r in due:
            terms[r.penalty.__name__] = penalty = r.penalty(look.slope, real, fake, rng("penalty", i))
            loss = loss + r.at(self.steps) * penalty
        if self.auxiliary is not None:
            with holding(self.critic):  # statistics have counted these examples
                said = {"class_real": (real, y), "class_fake": (fake, y)}
                terms |= {name: self.auxiliary.of(self.critic, *shown) for name, shown in said.items()}
            loss = loss + self.auxiliary.critic * (terms["class_real"] + terms["class_fake"])
        return Loss.of(loss, **terms)

    def generator_loss(self, batch: Batch, rng: Rng) -> Loss:
        """The game's loss for the generator."""
        u, y = self.seen(batch)
        fake = self.changed(self.fake(u, y, rng, self.draw), rng("changed"))
        self.shown[first(batch.x)] = fake.detach()
        ahead, judge = self.remedies.unroll, self.critic
        # a critic looked ahead to depends on the generator in what it says of real examples too
        if self.game.relative or ahead is not None:
            u = self.changed(u, rng("changed real"))
        u, fake, y = self.packed(u, fake, y)
        if ahead is not None:
            judge = ahead.ahead(self.critic, self.game, u, fake, y)
        opinion = None if ahead is not None else self.opinions.form(self.critic, fake, y, first(batch.x), self.kept())
        on_fake = judge(fake, y) if opinion is None else opinion.scores
        with torch.set_grad_enabled(ahead is not None):
            on_real = judge(u, y) if self.game.relative else None
        loss = self.game.generator(on_fake, on_real)
        terms = {"generator": loss}
        felt = loss if opinion is None else through(loss, opinion, fake)
        if self.burden is not None:
            terms["burden"] = burden = self.burden(self.generator).to(loss.dtype).expand_as(loss)
            felt = felt + burden
        if self.auxiliary is not None:
            with holding(self.critic):
                terms["class"] = said = self.auxiliary.of(self.critic, fake, y)
            felt = felt + self.auxiliary.generator * said
        if self.remedies.top is None:
            return Loss.of(felt, **terms)
        kept = self.remedies.top.kept(on_fake, self.steps)
        return replace(Loss.of(felt * kept, **{name: t * kept for name, t in terms.items()}), weight=kept.sum())

    def seen(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """A batch as the networks see it: u (b, *event), y (b, classes) or None."""
        return self.continuum.inward(batch.x), self.known(batch.y, len(batch))

    def opponents(self, batch: Batch, rng: Rng) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the critic is to tell apart, as it sees it: real and generated u (b, *event), and the y of both."""
        u, y = self.seen(batch)
        with torch.no_grad():
            fake = self.shown.get(first(batch.x))
            if fake is None:
                fake = self.changed(self.fake(u, y, rng, self.draw), rng("changed"))
            real = self.changed(u, rng("changed real"))
        return self.packed(real.detach(), fake.detach(), y)

    def packed(self, real: Tensor, fake: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Real and generated examples, and the y of both, as the critic takes them: in packs where there are any."""
        pack = self.remedies.pack
        return (real, fake, y) if pack is None else (pack(real), pack(fake), y if y is None else pack(y))

    def kept(self) -> list[nn.Parameter]:
        """Weights of the critic's frozen layers; ValueError where there are not so many sizes."""
        if not self.frozen:
            return []
        sizes = self.critic.by_size()  # type: ignore[operator]
        if not 0 < self.frozen <= len(sizes):
            raise ValueError(
                f"this critic sees its pictures at {len(sizes)} sizes, of which 0 to {len(sizes)} may be frozen;"
                f" got frozen={self.frozen}"
            )
        return [p for layers in sizes[: self.frozen] for layer in layers for p in layer.parameters()]

    def changed(self, u: Tensor, rng: Rng) -> Tensor:
        """Examples as the critic learns from them: augmented where there is an augmentation."""
        return u if self.augmenter is None else self.augmenter(u, rng)

    def known(self, y: Values | None, n: int | torch.SymInt) -> Tensor | None:
        """Labels int64 (n,) as probabilities (n, classes); their marginal for None; None where there are none."""
        if not self.classes:
            if y is not None:
                raise ValueError("this model knows no labels; expected y=None, fit it to data with classes instead")
            return None
        if y is None:
            return self.label_log_marginal.exp().expand(n, -1)
        if not isinstance(y, Tensor) or y.shape != (n,):
            raise ValueError(f"y must be one label an example, ({n},); got {getattr(y, 'shape', type(y))}")
        # an exported graph is for any labels: none can be looked at while it is made
        seen = y.device.type == "cpu" and not torch.compiler.is_exporting() and n
        if seen and not (int(y.min()) >= 0 and int(y.max()) < self.classes):
            raise ValueError(f"labels lie in 0 .. {self.classes - 1}; got {int(y.min())} .. {int(y.max())}")
        return nn.functional.one_hot(y, self.classes).to(self.label_log_marginal.dtype)

    def fake(
        self, like: Tensor, y: Tensor | None, rng: Rng, draw: Draw = independent, make: Make | None = None
    ) -> Tensor:
        """Generated examples, u, as many as ``like`` has rows; ``make`` stands in for the generator."""
        z = draw(rng("z"), (len(like), self.latent.only.shape[0]), dtype=like.dtype, device=like.device)
        if make is not None:
            return self.continuum.within(make(z, y, rng("generator")))
        own = (rng("generator"),) if getattr(self.generator, "draws", False) else ()
        return self.continuum.within(self.generator(z, y, *own))

    @torch.no_grad()
    def fit(self, data: Data) -> None:
        """Learn the labels' marginal: each class counts once more than it was seen, so that none is impossible.

        A critic of packs is given the examples beside which it is to judge a single one, and one that looks through
        features learns them.
        """
        if isinstance(self.critic, Prepared):
            with torch.enable_grad():
                self.critic.prepare(data)
        if self.remedies.pack is not None:
            others = data.batch(torch.arange(self.remedies.pack.size - 1) % len(data), Rng(0, ("company",)))
            self.company.copy_(self.continuum.inward(others.x))
            if (labels := self.known(others.y, len(self.company))) is not None:
                self.company_labels.copy_(labels)
        if not self.classes:
            return
        counts = torch.ones(self.classes, dtype=torch.float64)
        for index in torch.arange(len(data)).split(ROWS):
            y = data.batch(index, Rng(0, ("labels",))).y
            if not isinstance(y, Tensor):
                raise ValueError(f"this model expects labels of {self.classes} classes; the data has none")
            counts += torch.bincount(y.cpu(), minlength=self.classes)
        self.label_log_marginal.copy_((counts / counts.sum()).log())

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,); ValueError where there are none."""
        if not self.classes:
            raise ValueError("this model knows no classes; fit data with labels")
        return self.label_log_marginal

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        y: Tensor | None = None,
        rng: Rng | int = 0,
        draw: Draw = independent,
        make: Make | None = None,
    ) -> Batch:
        """n decoded examples; y int64 (n,), None: from the marginal. Sampling in parts equals sampling at once.

        ``draw`` and ``make`` stand in for how latents are drawn and for the generator: what truncation changes.
        """
        rng, device = Rng.of(rng), self.steps.device
        if self.classes and y is None:
            y = rng("y").categorical(self.label_log_marginal.expand(n, -1))
        known = self.known(None if y is None else y.to(device), n)
        like = torch.empty((n, 0), dtype=next(self.generator.parameters()).dtype, device=device)
        with evaluating(self.generator):
            parts = [
                self.fake(like[i : i + ROWS], known if known is None else known[i : i + ROWS], rng.rows(i), draw, make)
                for i in range(0, max(n, 1), ROWS)
            ]
        return Batch(x=self.continuum.decoded(torch.cat(parts)), y=y)

    def decode(self, z: Tensor, *, y: Values | None = None) -> Values:
        """z (b, latent) -> examples in their own units, differentiably; y None: the labels' average."""
        with evaluating(self.generator):
            return self.continuum.outward(self.continuum.within(self.generator(z, self.known(y, z.shape[0]))))

    def criticise(self, x: Values, *, y: Values | None = None) -> Tensor:
        """Scores (b,), higher is more real; y None: judged against the labels' average; a pack's beside real ones."""
        u = self.continuum.inward(x)
        known = self.known(y, len(u))
        if self.remedies.pack is not None:
            u, known = beside(u, self.company), known if known is None else beside(known, self.company_labels)
        with evaluating(self.critic):
            return self.critic(u, known)

    def _lazily(self, rules: Sequence[tuple[int, Regulariser]]) -> Callable[[Batch, Rng], Loss]:
        def loss(batch: Batch, rng: Rng) -> Loss:
            real, fake, y = self.opponents(batch, rng)
            slope = slope_of(lambda u: self.critic(u, y))
            terms = {r.penalty.__name__: r.penalty(slope, real, fake, rng("penalty", i)) for i, r in rules}
            weighed = [terms[r.penalty.__name__] * (r.at(self.steps) * r.every) for _, r in rules]
            return Loss.of(torch.stack(weighed).sum(0), **terms)

        return loss

    def _advance(self, terms: Mapping[str, Tensor]) -> None:
        self.steps += 1
        if self.augmenter is not None:
            self.augmenter.observe(terms["sign"])


def named(rules: Sequence[tuple[int, Regulariser]]) -> str:
    """The name of the turn that such numbered penalties take together."""
    return "+".join(f"{r.penalty.__name__}-{i}" for i, r in rules)
