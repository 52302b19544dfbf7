"""Laws of learning: players who are told apart, losses that are sums, gradients that reach everyone, nothing lost."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Loss
from simulacra.core.capabilities import Fitter, Learner
from simulacra.core.randomness import Rng
from simulacra.core.turns import Player, Turn
from simulacra.laws.examples import apart
from simulacra.laws.law import Broken, Inapplicable, Law, Subject, rounding
from simulacra.laws.queries import queries, tensors
from simulacra.laws.sampling import other_globals

ROWS = 32
ROUNDS = 5  # of all turns; a layer that starts at zero keeps the gradient from those before it for the first of them


def players_apart(subject: Subject) -> str:
    owner: dict[int, str] = {}
    players = subject.fresh().players()
    for name, player in players.items():
        for label, p in player.module.named_parameters():
            if owner.setdefault(id(p), name) != name:
                raise Broken(f"players {owner[id(p)]} and {name} share {label}")
    return ", ".join(players)


def nobody_left_out(subject: Subject) -> str:
    model = subject.fresh()
    owned = {id(p) for player in model.players().values() for p in player.module.parameters()}
    if not isinstance(model, nn.Module):
        raise Inapplicable("the model is no torch module")
    left = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in owned]
    if left:
        raise Broken(f"{len(left)} parameters belong to no player: {', '.join(left[:3])}")
    return ""


def turns_named(subject: Subject) -> str:
    model = subject.fresh()
    names, players = [turn.name for turn in model.turns()], model.players()
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Broken(f"two turns are called {twice[0]!r}")
    if strangers := [t for t in model.turns() if t.player not in players]:
        raise Broken(f"turn {strangers[0].name!r} names player {strangers[0].player!r}; there are {list(players)}")
    if idle := [name for name in players if name not in {t.player for t in model.turns()}]:
        raise Broken(f"player {idle[0]!r} has no turn")
    return ", ".join(names)


def gradients(subject: Subject) -> str:
    model = subject.fresh()
    game = Game.of(model)
    game.play(subject, model, ROUNDS)
    unreached = [f"{name}.{label}" for name, player in game.players.items()
                 for label, p in player.module.named_parameters()
                 if id(p) in game.learning[name] and id(p) not in game.reached]  # fmt: skip
    if unreached:
        raise Broken(f"no gradient but zero in {ROUNDS} rounds for {', '.join(unreached[:4])}")
    return f"{len(game.reached)} parameters"


def everyone_moves(subject: Subject) -> str:
    model = subject.fresh()
    game = Game.of(model)
    before = {name: _copies(player) for name, player in game.players.items()}
    game.play(subject, model, 1)
    for name, player in game.players.items():
        after = _copies(player)
        if wild := [label for label, p in after.items() if not p.isfinite().all()]:
            raise Broken(f"one step makes {name}.{wild[0]} infinite or not a number")
        if all(torch.equal(p, before[name][label]) for label, p in after.items()):
            raise Broken(f"one step leaves every weight of player {name!r} as it was")
    return ""


def loss_determined(subject: Subject) -> str:
    said: list[dict[str, Loss]] = []
    model = subject.fresh()
    for seed in (1, 2):
        twin = copy.deepcopy(model)
        with other_globals(seed):
            said.append({t.name: _loss(twin, t, subject.batch(twin, ROWS), Rng(5)) for t in twin.turns()})
    for name, loss in said[0].items():
        far = float(apart(loss.total, said[1][name].total))
        if not far <= rounding(loss.total.dtype):
            raise Broken(f"turn {name!r}: the same batch and rng give {float(loss.total.detach()):.6g} and "
                         f"{float(said[1][name].total.detach()):.6g}")  # fmt: skip
    return ""


def loss_is_a_sum(subject: Subject) -> str:
    model = subject.fresh()
    words = []
    for turn in model.turns():
        words.append(f"{turn.name}: {_adds_up(model, turn, subject)}")
    return ", ".join(words)


def saved_and_loaded(subject: Subject) -> str:
    model = subject.fresh()
    if not isinstance(model, nn.Module):
        raise Inapplicable("the model is no torch module")
    if isinstance(model, Learner):
        Game.of(model).play(subject, model, 2)
    other = subject.make()
    with torch.no_grad():
        # other weights than the saved ones, also where every new model starts alike
        for t in other.state_dict().values():
            t.add_(torch.ones_like(t)) if t.dtype != torch.bool else t.logical_not_()
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    other.train(model.training)
    return _answer_alike(model, other, subject, "after saving and loading")


def fitted_alike(subject: Subject) -> str:
    models = [subject.make() for _ in range(2)]
    if isinstance(models[0], nn.Module):
        models[1].load_state_dict(copy.deepcopy(models[0].state_dict()))
    for seed, model in enumerate(models):
        with other_globals(seed):
            model.fit(subject.data)
    return _answer_alike(models[0], models[1], subject, "fitted twice")


@dataclass(frozen=True)
class Game:
    """A model's players with their optimisers, and which of their parameters a gradient has reached."""

    players: Mapping[str, Player]
    optimisers: Mapping[str, list[torch.optim.Optimizer]]
    learning: Mapping[str, dict[int, nn.Parameter]]
    reached: set[int] = field(default_factory=set)

    @staticmethod
    def of(model: Any) -> Game:
        """The game at its start."""
        players = model.players()
        learning = {n: {id(p): p for p in q.module.parameters() if p.requires_grad} for n, q in players.items()}
        return Game(players, {n: q.optimiser.build(q.module) for n, q in players.items()}, learning)

    def play(self, subject: Subject, model: Any, rounds: int) -> None:
        """Take every turn, lazy ones too, so many times, each on one batch; the engine's own order of things."""
        for number in range(rounds):
            batch = subject.batch(model, ROWS)
            for turn in model.turns():
                for name, parameters in self.learning.items():
                    for p in parameters.values():
                        p.requires_grad_(name == turn.player)
                        p.grad = None
                if turn.before is not None:
                    turn.before(number / rounds, number)
                loss = turn.loss(batch, subject.rng("round", number, turn.name))
                (loss.total / loss.weight).backward()
                mine = self.learning[turn.player]
                self.reached.update(i for i, p in mine.items() if p.grad is not None and p.grad.any())
                for optimiser in self.optimisers[turn.player]:
                    optimiser.step()
                if turn.after is not None:
                    turn.after({name: value / loss.weight for name, value in loss.terms.items()})
        for parameters in self.learning.values():
            for p in parameters.values():
                p.requires_grad_(True)
                p.grad = None


def _adds_up(model: Any, turn: Turn, subject: Subject) -> str:
    """How the losses of a batch's parts add up to the batch's, in words; ``Broken`` where they must and do not."""
    batch = subject.batch(model, ROWS)
    whole, halves, quarters = (_in_parts(model, turn, batch, parts) for parts in (1, 2, 4))
    if not abs(whole.weight - quarters.weight) <= 1e-4 * abs(quarters.weight):
        raise Broken(
            f"turn {turn.name!r}: a batch weighs {whole.weight:.6g}, its 4 parts {quarters.weight:.6g} together"
        )
    said = f"turn {turn.name!r}: a batch's loss is {whole.total:.6g}, its 4 parts' {quarters.total:.6g} together"
    size = max(whole.size, quarters.size) + 1e-6
    if abs(whole.total - quarters.total) <= rounding(whole.dtype) * size:
        return "a sum"
    # a mean, or a term counted once a batch, grows in proportion to the number of parts; nothing else does exactly
    fine = rounding(whole.dtype) / 50
    growing = abs((quarters.total - halves.total) - 2 * (halves.total - whole.total)) <= fine * size
    if growing and not _looks_across(model, turn, batch, fine):
        raise Broken(f"{said}: something is counted once a batch that is not a sum over its examples")
    # what looking across a batch does to a loss is far less than the factor of 4 by which a mean is not a sum
    if 2 * abs(whole.total) < abs(quarters.total) or 2 * abs(quarters.total) < abs(whole.total):
        raise Broken(f"{said}: too unlike to be sums over examples, though examples see each other")
    return "looks across the batch"


@dataclass(frozen=True)
class Sum:
    """Totals and weights of a batch's parts added up; size is the sum of the totals' magnitudes."""

    total: float
    size: float
    weight: float
    dtype: torch.dtype


def _in_parts(model: Any, turn: Turn, batch: Batch, parts: int) -> Sum:
    rows = len(batch) // parts
    losses = [_loss(model, turn, batch.rows(slice(i, i + rows)), Rng(5).rows(i)) for i in range(0, len(batch), rows)]
    totals = [float(loss.total.detach()) for loss in losses]
    weight = sum(float(loss.weight) for loss in losses)
    return Sum(sum(totals), sum(map(abs, totals)), weight, losses[0].total.dtype)


def _looks_across(model: Any, turn: Turn, batch: Batch, fine: float) -> bool:
    """Whether an example's part of the loss depends on the examples beside it.

    With f(a, b) the loss of two halves: f(a, b) - f(c, b) = f(a, d) - f(c, d) wherever the loss adds up over examples.
    """
    quarter = len(batch) // 4
    a, b, c, d = (torch.arange(i * quarter, (i + 1) * quarter) for i in range(4))
    halves = [(a, b), (c, b), (a, d), (c, d)]
    ab, cb, ad, cd = (float(_loss(model, turn, batch.rows(torch.cat(h)), Rng(5)).total.detach()) for h in halves)
    return abs((ab - cb) - (ad - cd)) > fine * (max(map(abs, (ab, cb, ad, cd))) + 1e-6)


def _loss(model: Any, turn: Turn, batch: Batch, rng: Rng) -> Loss:
    loss = turn.loss(batch, rng)
    if loss.total.ndim:
        raise Broken(f"turn {turn.name!r} returns a total of shape {tuple(loss.total.shape)}; expected one number")
    return loss


def _copies(player: Player) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in player.module.named_parameters()}


def _answer_alike(model: Any, other: Any, subject: Subject, when: str) -> str:
    asked = queries(model, subject)
    if not asked:
        raise Inapplicable("there is nothing to ask of the model")
    for one, two in zip(asked, queries(other, subject), strict=True):
        first, second = tensors(one.ask()), tensors(two.ask())
        for name, t in first.items():
            if t.shape != second[name].shape or not float(apart(t, second[name]).max()) <= rounding(torch.float64):
                raise Broken(f"{one.name} gives other answers {when}")
    return ", ".join(query.name for query in asked)


LAWS = (
    Law(
        name="players apart",
        says="Different players share no parameters.",
        needs=(Learner,),
        check=players_apart,
    ),
    Law(
        name="nobody left out",
        says="Every parameter that can learn belongs to a player.",
        needs=(Learner,),
        check=nobody_left_out,
    ),
    Law(
        name="turns named",
        says="Turns have names of their own and players that exist; every player has a turn.",
        needs=(Learner,),
        check=turns_named,
    ),
    Law(
        name="gradients",
        says="Every parameter of a player receives a gradient in its turns.",
        needs=(Learner,),
        check=gradients,
    ),
    Law(
        name="everyone moves",
        says="One training step changes every player and leaves it finite.",
        needs=(Learner,),
        check=everyone_moves,
    ),
    Law(
        name="loss determined",
        says="A turn's loss is a function of batch and rng.",
        needs=(Learner,),
        check=loss_determined,
    ),
    Law(
        name="loss is a sum",
        says="The losses of a batch's parts add up to the batch's, and so do their weights.",
        needs=(Learner,),
        check=loss_is_a_sum,
    ),
    Law(
        name="saved and loaded",
        says="A model that is given another's weights answers as that one does.",
        needs=(),
        check=saved_and_loaded,
    ),
    Law(
        name="fitted alike",
        says="Fitting to the same data twice gives the same model.",
        needs=(Fitter,),
        check=fitted_alike,
    ),
)
