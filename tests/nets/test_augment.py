"""Augmentations as a critic meets them: what they leave alone, what can be told back from them, and how p moves."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.mathematics.adversarial import NonSaturating, Relativistic, r1, r2
from simulacra.mathematics.augmentation import Pictures, mirror, quarter_turn
from simulacra.nets.adversarial import Duel, Regulariser
from simulacra.nets.augment import ADA, WINDOW, Augmentation, Augmenter, DiffAugment

SHAPE = (3, 8, 8)
SPACE = Space(fields={"picture": Continuous(low=-1.0, high=1.0, shape=SHAPE)}, measure="pictures")
ONE = torch.tensor(1.0)


def pictures(n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return Rng(3)("pictures").uniform((n, *SHAPE), dtype=dtype) * 2 - 1


def test_with_p_of_0_nothing_changes_bit_for_bit():
    x = pictures(4, torch.float32)
    assert torch.equal(Augmenter(ADA())(x, Rng(1)), x)


@pytest.mark.parametrize("augmentation", [ADA(), DiffAugment()])
def test_augmentations_are_functions_of_picture_and_rng(augmentation: Augmentation):
    x = pictures(8)
    whole = augmentation(x, ONE, Rng(1))
    assert whole.shape == x.shape
    assert torch.equal(whole, augmentation(x, ONE, Rng(1)))
    assert bool((whole != x).flatten(1).any(1).all())
    torch.testing.assert_close(augmentation(x[5:], ONE, Rng(1).rows(5)), whole[5:])


def test_pictures_keep_their_type():
    half = pictures(2).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Augmenter(DiffAugment())(half, Rng(1)).dtype == torch.bfloat16


@pytest.mark.parametrize("p", [0.3, 0.8])
def test_what_the_pictures_were_can_be_told_from_their_changes(p: float):
    """Pictures in four orientations: shares s become (1 - p) s + p / 4, from which s follows for every p below 1."""
    n, shares = 6_000, torch.tensor([0.6, 0.3, 0.1, 0.0], dtype=torch.float64)
    arrow = pictures(1)
    turned = torch.stack([torch.rot90(arrow[0], -k, (1, 2)) for k in range(4)])
    orientation = torch.multinomial(shares, n, replacement=True, generator=torch.Generator().manual_seed(0))
    found = ADA(places=(quarter_turn,), colours=())(turned[orientation], torch.tensor(p), Rng(1))
    seen = torch.stack([(found - t).abs().flatten(1).amax(1) < 1e-9 for t in turned]).double()
    assert bool((seen.sum(0) == 1).all())
    told = (seen.mean(1) - p / 4) / (1 - p)
    error = (seen.mean(1) * (1 - seen.mean(1)) / n).sqrt() / (1 - p) + (shares * (1 - shares) / n).sqrt()
    assert bool(((told - shares).abs() < 4 * error).all())
    # and no orientation that data lack is as frequent as those they have
    assert told.argmax() == 0


def test_the_mean_of_mirrored_pictures():
    n, p = 8_000, 0.5
    x = pictures(1)
    found = ADA(places=(mirror,), colours=())(x.expand(n, -1, -1, -1), torch.tensor(p), Rng(1)).mean(0)
    expected = (1 - p / 2) * x[0] + p / 2 * x[0].flip(2)
    far = ((found - expected).abs() / (x[0] - x[0].flip(2)).abs()).amax()
    assert float(far) < 4 * (0.25 * 0.75 / n) ** 0.5


# -- p ----------------------------------------------------------------------------------------------------------------


def observed(augmenter: Augmenter, sign: float, steps: int, batch: int = 64) -> None:
    for _ in range(steps):
        augmenter.count(batch)
        augmenter.observe(torch.tensor(sign))


def test_p_rises_from_0_to_1_in_500_000_pictures():
    augmenter = Augmenter(ADA(most=1.0))
    observed(augmenter, 1.0, WINDOW - 1)
    assert float(augmenter.p) == 0.0
    observed(augmenter, 1.0, 1)
    assert float(augmenter.p) == pytest.approx(WINDOW * 64 / 500_000)
    observed(augmenter, 1.0, 500_000 // 64 - WINDOW)
    assert float(augmenter.p) == pytest.approx(1.0, abs=WINDOW * 64 / 500_000)


def test_p_falls_below_the_target_and_stays_between_its_bounds():
    augmenter = Augmenter(ADA(pictures=64 * WINDOW, most=0.7))
    observed(augmenter, 0.5, WINDOW)
    assert float(augmenter.p) == 0.0
    observed(augmenter, 0.7, WINDOW)
    assert float(augmenter.p) == pytest.approx(0.7)
    augmenter = Augmenter(ADA(pictures=640 * WINDOW))
    observed(augmenter, 0.7, 3 * WINDOW)
    observed(augmenter, 0.5, WINDOW)
    assert float(augmenter.p) == pytest.approx(0.2)


def test_r_t_is_a_mean_over_the_window():
    augmenter = Augmenter(ADA())
    for sign in (1.0, 1.0, 0.5, 0.0):
        observed(augmenter, sign, 1)
    assert float(augmenter.r_t) == pytest.approx(0.625)
    assert not augmenter.signs
    assert not augmenter.pictures


def test_mild_changes_are_always_made():
    augmenter = Augmenter(DiffAugment())
    observed(augmenter, -1.0, WINDOW)
    assert float(augmenter.p) == 1.0


@pytest.mark.parametrize(
    ("settings", "fault"), [({"target": 1.0}, "target"), ({"pictures": 0}, "1 picture"), ({"most": 0.0}, "most")]
)
def test_settings_that_cannot_be(settings, fault):
    with pytest.raises(ValueError, match=fault):
        ADA(**settings)


# -- in the game ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Dimmed:
    """Every picture times a factor: a critic of it is another critic of the picture."""

    factor: float

    def start(self) -> float:
        return 0.0

    def __call__(self, x: Pictures, p: Tensor, rng: Rng) -> Pictures:
        return x * self.factor

    def moved(self, p: Tensor, signs: Tensor, pictures: Tensor) -> Tensor:
        return p


class Scores(nn.Module):
    """A small smooth critic, of pictures times a factor."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor
        self.inner = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.Tanh(), nn.Linear(6, 1))
        flat = Rng(8)
        for i, p in enumerate(self.inner.parameters()):
            p.data = flat(i).normal(p.shape, dtype=torch.float64) / 8

    def forward(self, u: Tensor, y: Tensor | None = None) -> Tensor:
        return self.inner(u * self.factor).squeeze(1)


class Pixels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(Rng(9)("g").normal((4, 192), dtype=torch.float64) / 4)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return (z.double() @ self.weight).unflatten(1, SHAPE)


def duel(critic: nn.Module, game: object, augment: Augmentation | None, rules: tuple[Regulariser, ...] = ()) -> Duel:
    return Duel(SPACE, Pixels(), critic, latent=4, game=game, regularisers=rules, augment=augment)


def turns(model: Duel, batch: Batch) -> dict[str, Tensor]:
    """Losses and gradients of the generator's turn and the critic's, taken as training takes them."""
    found: dict[str, Tensor] = {}
    for name, mine, other, turn in (
        ("generator", model.generator, model.critic, model.generator_loss),
        ("critic", model.critic, model.generator, model.critic_loss),
    ):
        mine.requires_grad_(True)
        other.requires_grad_(False)
        mine.zero_grad()
        loss = turn(batch, Rng(1, (name,)))
        loss.total.backward()
        found[name] = loss.total.detach()
        found |= {f"{name}.{label}": p.grad.clone() for label, p in mine.named_parameters()}
    return found


@pytest.mark.parametrize("game", [NonSaturating(), Relativistic()])
def test_both_sides_and_their_gradients_pass_through_it(game):
    """The critic of dimmed pictures is played against by exactly the gradients of the critic that dims them itself."""
    batch = Batch(x=pictures(6))
    found, expected = (
        turns(duel(Scores(), game, Dimmed(factor=0.5)), batch),
        turns(duel(Scores(0.5), game, None), batch),
    )
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=0, msg=name)
    plain = turns(duel(Scores(), game, None), batch)
    assert not torch.allclose(plain["generator.weight"], found["generator.weight"], rtol=1e-3)


@pytest.mark.parametrize("every", [1, 4])
def test_slopes_are_punished_where_the_critic_looks(every):
    """At dimmed pictures the slope in what is seen is 1 / factor times the slope in the picture."""
    batch, rule = Batch(x=pictures(6)), tuple(Regulariser(penalty=p, weight=1.0, every=every) for p in (r1, r2))
    terms = []
    for model in (
        duel(Scores(), Relativistic(), Dimmed(factor=0.5), rule),
        duel(Scores(0.5), Relativistic(), None, rule),
    ):
        by_name = {turn.name: turn for turn in model.turns()}
        turn = by_name["critic"] if every == 1 else next(t for name, t in by_name.items() if name.startswith("r1"))
        terms.append(turn.loss(batch, Rng(1, ("critic",))).terms)
    for name in ("r1", "r2"):
        torch.testing.assert_close(terms[0][name] * 0.25, terms[1][name])


def test_the_critic_reports_how_far_it_overfits():
    batch = Batch(x=pictures(6))
    for game in (NonSaturating(), Relativistic()):
        model = duel(Scores(), game, ADA())
        loss = model.critic_loss(batch, Rng(1))
        real, fake = (model.critic(u) for u in model.opponents(batch, Rng(1))[:2])
        lead = real - fake if game.relative else real
        assert float(loss.terms["sign"]) == float(lead.detach().sign().sum())
        assert int(model.augmenter.pictures) == 6
        assert float(loss.terms["p"]) == 0.0


def test_what_adapts_is_saved_and_judging_changes_no_picture():
    model = duel(Scores(), NonSaturating(), ADA(pictures=24))
    critic_turn = next(t for t in model.turns() if t.name == "critic")
    assert critic_turn.after is not None
    for step in range(WINDOW):
        critic_turn.loss(Batch(x=pictures(6)), Rng(step))
        critic_turn.after({"sign": torch.tensor(1.0)})
    assert float(model.augmenter.p) == pytest.approx(0.8)
    assert "augmenter.p" in model.state_dict()
    judged = model.criticise(pictures(3))
    assert torch.equal(judged, model.critic(pictures(3)))
    assert "augmenter" not in str(list(copy.deepcopy(duel(Scores(), NonSaturating(), None)).state_dict()))
