"""A critic's opinion of what was shown serves two turns, with the scores and gradients that two looks would give."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Loss
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.dcgan import DCGAN, DCGANConfig
from simulacra.mathematics.adversarial import NonSaturating, Relativistic, r1, r2
from simulacra.nets.adversarial import Duel, Regulariser
from simulacra.nets.norm import BatchNorm, holding
from simulacra.nets.shown import Opinions

SHAPE = (2, 8, 8)
PICTURES = Space(
    fields={"picture": Continuous(low=-1.0, high=1.0, shape=SHAPE)}, measure="pictures", y=Classes(names=("a", "b"))
)
RULES = tuple(Regulariser(penalty=p, weight=0.3) for p in (r1, r2))


def model(game: object, rules: tuple[Regulariser, ...]) -> DCGAN:
    return DCGAN(DCGANConfig(latent=3, width=4, game=game, regularisers=rules), PICTURES).double()


def pictures() -> Batch:
    draw = Rng(4)
    return Batch(x=draw("x").normal((6, *SHAPE), dtype=torch.float64), y=draw("y").integers(2, (6,)))


def slopes(player: nn.Module, other: nn.Module, loss: Callable[[Batch, Rng], Loss], batch: Batch) -> list[Tensor]:
    """Value and gradients of a turn, taken as training takes it; the other player gets none."""
    player.requires_grad_(True)
    other.requires_grad_(False)
    player.zero_grad()
    other.zero_grad()
    found = loss(batch, Rng(1, ("turn",)))
    (found.total / found.weight).backward()
    assert all(p.grad is None for p in other.parameters())
    assert not any(p.requires_grad for p in other.parameters())
    return [found.total.detach(), *(p.grad.clone() for p in player.parameters())]


def round_of(duel: Duel, batch: Batch) -> list[Tensor]:
    """The generator's turn and the critic's; no weight moves between them."""
    first = slopes(duel.generator, duel.critic, duel.generator_loss, batch)
    return first + slopes(duel.critic, duel.generator, duel.critic_loss, batch)


def asks(critic: nn.Module) -> list[int]:
    """Grows by the number of examples whenever the critic is asked."""
    asked: list[int] = []
    critic.register_forward_pre_hook(lambda _, given: asked.append(len(given[0])))
    return asked


@pytest.mark.parametrize("rules", [(), RULES], ids=["plain", "penalised"])
@pytest.mark.parametrize("game", [NonSaturating(), Relativistic()])
def test_values_and_gradients_are_those_of_a_second_look(game, rules, monkeypatch):
    ours, plain = model(game, rules).duel, model(game, rules).duel
    batch = pictures()
    asked = asks(ours.critic)
    found = round_of(ours, batch)
    assert len(asked) == 2 + game.relative, "once what was shown, then reality"
    monkeypatch.setattr(Opinions, "form", lambda *_: None)
    asked = asks(plain.critic)
    expected = round_of(plain, batch)
    assert len(asked) == 3 + game.relative
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(dict(ours.named_buffers()), dict(plain.named_buffers()), rtol=1e-12, atol=0)


@pytest.mark.parametrize("shown", [True, False])
def test_running_statistics_count_what_was_shown_once_and_reality_once(shown):
    duel, batch = model(NonSaturating(), ()).duel, pictures()
    if shown:
        slopes(duel.generator, duel.critic, duel.generator_loss, batch)
    slopes(duel.critic, duel.generator, duel.critic_loss, batch)
    norms = [m for m in duel.critic.modules() if isinstance(m, BatchNorm)]
    assert [int(m.num_batches_tracked) for m in norms] == [2]
    assert not any(m.held for m in norms)


def test_held_statistics_normalise_alike_and_stay():
    norm, x = BatchNorm(3).double(), Rng(2)("x").normal((8, 3, 2), dtype=torch.float64) + 5
    before = copy.deepcopy(norm.state_dict())
    with holding(norm):
        held = norm(x)
    assert all(torch.equal(t, before[name]) for name, t in norm.state_dict().items())
    torch.testing.assert_close(held, norm(x))
    assert not torch.equal(norm.running_mean, before["running_mean"])


def moved(duel: Duel) -> None:
    with torch.no_grad():
        next(duel.critic.parameters()).mul_(1.01)


@pytest.mark.parametrize("change", [moved, lambda duel: duel.critic.eval()])
def test_a_critic_that_has_changed_is_asked_again(change):
    duel, batch = model(NonSaturating(), ()).duel, pictures()
    slopes(duel.generator, duel.critic, duel.generator_loss, batch)
    change(duel)
    asked = asks(duel.critic)
    slopes(duel.critic, duel.generator, duel.critic_loss, batch)
    assert len(asked) == 2


def test_an_opinion_serves_once_and_the_last_one_alone_is_held():
    duel, one, other = model(NonSaturating(), ()).duel, pictures(), pictures()
    for batch in (one, other):
        slopes(duel.generator, duel.critic, duel.generator_loss, batch)
    assert list(duel.opinions) == [other.x]
    assert len(copy.deepcopy(duel).opinions) == 0
    for times in (1, 2):
        asked = asks(duel.critic)
        slopes(duel.critic, duel.generator, duel.critic_loss, other)
        assert len(asked) == times
    slopes(duel.generator, duel.critic, duel.generator_loss, other)
    del batch, other
    assert len(duel.opinions) == 0, "forgotten with the batch"


def test_no_opinion_where_its_graph_could_not_be_kept():
    duel, batch = model(NonSaturating(), ()).duel, pictures()
    with torch.no_grad():
        duel.generator_loss(batch, Rng(0))
    assert len(duel.opinions) == 0
    duel.critic.alone = True
    duel.generator_loss(batch, Rng(0))
    assert len(duel.opinions) == 0


@pytest.mark.slow  # loads the compiler
def test_no_opinion_of_a_compiled_critic():
    duel, fake = model(NonSaturating(), ()).duel, torch.zeros(2, *SHAPE, requires_grad=True)
    duel.critic.compile()
    assert duel.opinions.form(duel.critic, fake, None, torch.zeros(1)) is None
