"""What holds for every family that plays an adversarial game."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Stored
from simulacra.core.capabilities import Critic, Decoder, Fitter, Labelled, Learner, Sampler
from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.families.dcgan import DCGAN, DCGANConfig, ladder
from simulacra.families.gan import GAN, GANConfig
from simulacra.mathematics.adversarial import Hinge, Relativistic, Wasserstein, gradient_penalty, r1, r2
from simulacra.nets.activations import gelu, leaky_relu, steep_tanh, tanh
from simulacra.nets.adversarial import Duel, Regulariser
from simulacra.nets.fourier import Fourier
from simulacra.nets.looking import Look
from simulacra.nets.norm import BatchNorm
from simulacra.nets.thin import FromPicture, ToPicture

SMALL = GANConfig(latent=3, generator=(8,), critic=(8,))
SMALL_AND_ROUGH = replace(SMALL, regularisers=())
TINY = DCGANConfig(latent=3, width=4)


def pictures(c: int = 1, h: int = 8, w: int = 8, classes: int = 0, levels: int | None = 256) -> Space:
    names = tuple(f"kind {i}" for i in range(classes))
    field = Continuous(low=-1.0, high=1.0, levels=levels, shape=(c, h, w))
    return Space(fields={"picture": field}, y=Classes(names=names) if classes else None, measure="8-bit pixels")


def plane(centre: float = 2.0, scale: float = 3.0) -> Space:
    return Space(
        fields={"point": Continuous(low=-math.inf, high=math.inf, shape=(2,), centre=centre, scale=scale)},
        measure="plane",
    )


def table() -> Space:
    return Space(
        fields={
            "age": Continuous(low=17.0, high=90.0, levels=74, centre=40.0, scale=13.0),
            "gain": Continuous(low=0.0, high=math.inf, centre=500.0, scale=900.0),
            "place": Continuous(low=-math.inf, high=math.inf, shape=(2,)),
        },
        measure="columns",
    )


def examples(space: Space, n: int = 6) -> Batch:
    x = {
        name: Rng(5)(name).uniform((n, *f.shape)) * (min(f.high, 9.0) - max(f.low, -9.0)) + max(f.low, -9.0)
        for name, f in space.fields.items()
        if isinstance(f, Continuous)
    }
    y = Rng(5)("y").integers(len(space.y), (n,)) if isinstance(space.y, Classes) else None
    return Batch(x=x if len(x) > 1 else next(iter(x.values())), y=y)


def built(kind: str) -> GAN | DCGAN:
    match kind:
        case "gan-plane":
            return GAN(SMALL, plane())
        case "gan-table":
            return GAN(SMALL, table())
        case "gan-classes":
            return GAN(SMALL, pictures(classes=3))
        case "dcgan":
            return DCGAN(TINY, pictures(3, 9, 12))
        case _:
            return DCGAN(TINY, pictures(classes=3))


KINDS = ["gan-plane", "gan-table", "gan-classes", "dcgan", "dcgan-classes"]


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest) -> GAN | DCGAN:
    return built(request.param)


def drawn(model: Any, n: int, **settings: Any) -> Any:
    """The values of n samples."""
    return model.sample(n, rng=3, **settings).x


def test_capabilities(model: GAN | DCGAN):
    for capability in (Learner, Fitter, Sampler, Critic, Decoder, Labelled):
        assert isinstance(model, capability)


def test_samples_lie_in_the_space(model: GAN | DCGAN):
    batch = model.sample(7, rng=3)
    values: Any = batch.x if isinstance(batch.x, dict) else {next(iter(model.space.fields)): batch.x}
    for name, field in model.space.fields.items():
        assert isinstance(field, Continuous)
        x = values[name]
        assert x.shape == (7, *field.shape)
        assert ((x >= field.low) & (x <= field.high)).all()
        if field.levels is not None:
            assert torch.equal(field.value(field.index(x)), x)
    assert (batch.y is None) == (model.space.y is None)


def test_sampling_in_parts_equals_sampling_at_once(model: GAN | DCGAN, monkeypatch: pytest.MonkeyPatch):
    whole, first = drawn(model, 12), drawn(model, 5)
    assert all(torch.allclose(a[:5], b, atol=1e-5) for a, b in zip(flat(whole), flat(first), strict=True))
    monkeypatch.setattr("simulacra.nets.adversarial.ROWS", 4)
    again = drawn(model, 12)
    # a value next to the middle between two levels may round either way
    assert all(torch.allclose(a, b, atol=2 / 255 + 1e-5) for a, b in zip(flat(whole), flat(again), strict=True))


def flat(x: Any) -> list[Tensor]:
    return list(x.values()) if isinstance(x, dict) else [x]


def test_every_parameter_of_a_player_gets_a_gradient_in_its_turns(model: GAN | DCGAN):
    batch = examples(model.space)
    for name, player in model.players().items():
        for parameter in model.parameters():
            parameter.grad = None
            parameter.requires_grad_(False)
        player.module.requires_grad_(True)
        for turn in model.turns():
            if turn.player == name:
                turn.loss(batch, Rng(1)(turn.name)).total.backward()
        for part, parameter in player.module.named_parameters():
            assert parameter.grad is not None, part
            assert parameter.grad.abs().sum() > 0 or part.endswith("bias"), part


def test_the_activation_is_the_generators():
    """Behind tanh a generator's last layer sees nothing beyond [-1, 1]; the critic has no such bound."""
    bounded, free = GAN(replace(SMALL, activation=tanh), plane(0.0, 1.0)), GAN(SMALL, plane(0.0, 1.0))
    layers: Any = bounded.duel.generator.layers
    bound = layers[-1].weight.abs().sum(1) + layers[-1].bias.abs()
    z = Rng(3).normal((50, 3)) * 1e3
    inside, outside = (model.decode(z) for model in (bounded, free))
    assert isinstance(inside, Tensor)
    assert isinstance(outside, Tensor)
    assert (inside.abs() <= bound * (1 + 1e-6)).all()
    assert outside.abs().max() > 100 * bound.max()
    assert torch.equal(bounded.criticise(inside), free.criticise(inside))


def test_only_the_generator_is_averaged(model: GAN | DCGAN):
    assert {name: p.averaged for name, p in model.players().items()} == {"critic": False, "generator": True}
    parameters = [{id(q) for q in p.module.parameters()} for p in model.players().values()]
    assert not parameters[0] & parameters[1]
    assert len(parameters[0] | parameters[1]) == len(list(model.parameters()))


def test_a_generators_loss_is_that_of_its_game_and_moves_scores_up(model: GAN | DCGAN):
    batch, rng = examples(model.space), Rng(1)
    loss = model.duel.generator_loss(batch, rng)
    assert loss.weight == 6
    assert torch.isfinite(loss.total)


def test_decoding_agrees_with_sampling():
    model = GAN(SMALL, plane())
    z = Rng(3)("z").normal((7, 3))
    assert torch.allclose(flat(model.decode(z))[0], drawn(model, 7))


def test_standardised_units_undo_centre_and_scale():
    near, far = GAN(SMALL, plane(0.0, 1.0)), GAN(SMALL, plane(100.0, 7.0))
    x = Rng(0).normal((4, 2))
    assert torch.allclose(drawn(far, 9), drawn(near, 9) * 7 + 100, rtol=1e-5)
    assert torch.allclose(far.criticise(x * 7 + 100), near.criticise(x), atol=1e-5)


def test_labels_are_learnt_drawn_and_heeded():
    space = pictures(classes=3)
    y = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    data = Stored(space=space, x=torch.zeros((100, 1, 8, 8), dtype=torch.uint8), y=y)
    for model in (GAN(SMALL, space), DCGAN(TINY, space)):
        model.fit(data)
        smoothed = torch.tensor([61.0, 31.0, 11.0]) / 103
        assert torch.allclose(model.label_log_prob().exp(), smoothed)
        labels = model.sample(3000, rng=0).y
        assert isinstance(labels, Tensor)
        share = torch.bincount(labels, minlength=3) / 3000
        assert ((share - smoothed).abs() < 4 * (smoothed * (1 - smoothed) / 3000).sqrt()).all()
        x, other = (drawn(model, 4, y=torch.full((4,), k)) for k in (0, 1))
        assert not torch.equal(x, other)
        assert not torch.allclose(model.criticise(x, y=torch.zeros(4, dtype=torch.int64)), model.criticise(x))


def test_sampling_leaves_the_mode_and_the_statistics_alone():
    model = DCGAN(TINY, pictures()).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.sample(5, rng=0)
    assert model.training
    assert model.duel.generator.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_weights_are_a_function_of_the_seed(model: GAN | DCGAN):
    again = type(model)(model.config, model.space, rng=0)  # type: ignore[arg-type]
    other = type(model)(model.config, model.space, rng=1)  # type: ignore[arg-type]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("size", [(8, 8), (9, 15), (28, 28), (30, 45), (8, 256), (64, 64), (100, 75), (255, 256)])
@pytest.mark.parametrize("c", [1, 4])
def test_dcgan_meets_every_size(size: tuple[int, int], c: int):
    space = pictures(c, *size)
    model = DCGAN(TINY, space)
    x = model.sample(2, rng=0).x
    assert isinstance(x, Tensor)
    assert x.shape == (2, c, *size)
    assert model.criticise(x).shape == (2,)
    coarsest = ladder(*size)[-1]
    assert 4 <= min(coarsest) <= 7 or min(size) < 16


def test_dcgan_is_radfords():
    # figure 1 and section 3: 64x64 from 4x4 in four fractionally-strided convolutions of 1024, 512, 256, 128 channels
    model = DCGAN(DCGANConfig(width=128), pictures(3, 64, 64))
    ups = [m for m in model.duel.generator.modules() if isinstance(m, nn.ConvTranspose2d | ToPicture)]
    # an up-convolution's weight is (into, out, 4, 4)
    assert [tuple(m.weight.shape[:2]) for m in ups] == [(1024, 512), (512, 256), (256, 128), (128, 3)]
    deviation = torch.cat([m.weight.flatten() for m in ups]).std().item()
    assert math.isclose(deviation, 0.02, rel_tol=0.01)
    first, second = list(model.duel.critic.layers)[:2]
    assert isinstance(first, FromPicture)
    assert not isinstance(second, BatchNorm), "none on the critic's first layer"
    assert isinstance(list(model.duel.generator.modules())[-1], ToPicture), "nor on the generator's last"


def test_regularisers_take_turns_of_their_own_when_lazy():
    rules = (Regulariser(penalty=r1, weight=2.0, every=4), Regulariser(penalty=r2, weight=3.0))
    model = GAN(replace(SMALL, regularisers=rules), plane())
    turns = {t.name: t for t in model.turns()}
    assert [t.player for t in model.turns()] == ["generator", "critic", "critic"]
    lazy = turns["r1-0"]
    assert (lazy.every, lazy.second_order) == (4, True)
    assert turns["critic"].second_order
    batch = examples(plane())
    loss = lazy.loss(batch, Rng(0))
    # its loss is gamma / 2 |grad|^2, times the 4 steps it stands for
    assert math.isclose(loss.total.item(), 2.0 * 4 * loss.terms["r1"], rel_tol=1e-5)
    assert not any(t.second_order for t in GAN(SMALL_AND_ROUGH, plane()).turns())


def test_lazy_regularisers_of_the_same_pace_share_a_turn():
    rules = tuple(Regulariser(penalty=p, weight=w, every=k) for p, w, k in ((r1, 2.0, 4), (r2, 3.0, 4), (r1, 1.0, 16)))
    model = GAN(replace(SMALL, regularisers=rules), plane())
    turns = {t.name: t for t in model.turns()}
    assert {name: t.every for name, t in turns.items() if t.every > 1} == {"r1-0+r2-1": 4, "r1-2": 16}
    loss = turns["r1-0+r2-1"].loss(examples(plane()), Rng(0))
    assert math.isclose(loss.total.item(), 4 * (2.0 * loss.terms["r1"] + 3.0 * loss.terms["r2"]), rel_tol=1e-5)


def test_a_tanh_generator_begins_with_unit_gain():
    # Glorot & Bengio 2010: units that are the identity near zero keep their variance with weights of 1 / fan-in
    for activation, gain in ((steep_tanh, 1.0), (tanh, 1.0), (gelu, 2.0), (leaky_relu, 2 / 1.04)):
        model = GAN(replace(SMALL, generator=(256, 256), activation=activation), plane())
        weight = next(
            m for m in model.duel.generator.modules() if isinstance(m, nn.Linear) and m.in_features == 256
        ).weight
        assert math.isclose(weight.var().item() * 256, gain, rel_tol=0.05)


class Plane(nn.Module):
    """A critic x . w."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, u: Tensor, y: Tensor | None = None) -> Tensor:
        return u.flatten(1) @ self.w


@pytest.mark.parametrize("every", [1, 3])
def test_penalties_of_a_linear_critic_come_through_a_turn(every: int):
    rule = Regulariser(penalty=gradient_penalty, weight=10.0, every=every)
    duel = Duel(
        plane(), nn.Linear(2, 2), Plane(torch.tensor([3.0, 4.0])), latent=2, game=Wasserstein(), regularisers=(rule,)
    )
    duel.generator.forward = lambda z, y: z  # type: ignore[method-assign]
    for turn in duel.turns():
        if turn.second_order:
            terms = turn.loss(examples(plane()), Rng(0)).terms
            assert math.isclose(terms["gradient_penalty"] / 6, 16, rel_tol=1e-5)


def test_the_critic_judges_what_the_generator_has_just_shown(model: GAN | DCGAN):
    batch, other = examples(model.space), examples(model.space)
    model.duel.generator_loss(batch, Rng(0, ("generator",)))
    shown = model.duel.opponents(batch, Rng(1))[1]
    assert torch.equal(shown, model.duel.opponents(batch, Rng(2))[1])
    assert not shown.requires_grad
    assert not torch.equal(shown, model.duel.opponents(other, Rng(1))[1])
    assert len(model.duel.shown) == 1
    assert len(copy.deepcopy(model).duel.shown) == 0
    del batch
    assert len(model.duel.shown) == 0, "forgotten with the batch"


def test_remembered_slopes_are_those_of_a_second_look():
    for model in (GAN(SMALL, pictures(classes=3)), DCGAN(TINY, pictures(classes=3))):
        model.eval()  # so that a second look moves no statistics
        real, fake, y = model.duel.opponents(examples(model.space), Rng(0))
        look = Look(model.duel.critic, real, fake, y, slopes=True)
        for x, scores in zip((real, fake), look, strict=True):
            assert torch.allclose(scores, model.duel.critic(x, y), atol=1e-6)
            assert torch.allclose(look.slope(x), look.slope(x.clone()), atol=1e-6)


def test_a_weight_falls_geometrically_and_its_clock_is_saved():
    rule = Regulariser(penalty=r1, weight=1.0, final=0.25, steps=10)
    weights = [float(rule.at(torch.tensor(step))) for step in (0, 5, 10, 1000)]
    assert all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(weights, [1.0, 0.5, 0.25, 0.25], strict=True))
    model = GAN(replace(SMALL, regularisers=(rule,)), plane())
    after = {t.name: t for t in model.turns()}["critic"].after
    assert after is not None
    after({})
    after({})
    assert model.state_dict()["duel.steps"] == 2


def test_a_custom_game_plays():
    class Odd:
        relative: ClassVar[bool] = True

        def critic(self, real: Tensor, fake: Tensor) -> Tensor:
            return (fake - real + 1).square()

        def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
            assert real is not None
            return real - fake

    for played in (Odd(), Hinge(), Relativistic()):
        model = GAN(replace(SMALL, game=played), plane())
        assert all(torch.isfinite(t.loss(examples(plane()), Rng(0)).total) for t in model.turns())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: GAN(SMALL, Space(fields={"word": Categorical(k=5)})), "categorical"),
        (lambda: GAN(SMALL, Space(fields={"s": Continuous(low=0.0, high=1.0, shape=(5,), varying=True)})), "varies"),
        (lambda: GAN(SMALL, replace(table(), missing=("age",))), "missing"),
        (lambda: GAN(SMALL, replace(plane(), y=plane())), "classes"),
        (lambda: DCGAN(TINY, plane()), "pictures"),
        (lambda: DCGAN(TINY, pictures(1, 7, 7)), "8 to 256"),
        (lambda: DCGAN(TINY, pictures(1, 300, 64)), "8 to 256"),
        (lambda: DCGANConfig(width=0), "at least 1"),
        (lambda: GANConfig(latent=0), "at least 1"),
        (lambda: Regulariser(penalty=r1, weight=-1.0), "negative"),
        (lambda: Regulariser(penalty=r1, weight=1.0, final=0.0), "positive"),
        (lambda: GAN(SMALL, plane()).sample(2, y=torch.zeros(2, dtype=torch.int64)), "no labels"),
        (lambda: GAN(SMALL, plane()).label_log_prob(), "no classes"),
        (lambda: GAN(SMALL, pictures(classes=3)).sample(2, y=torch.full((2,), 3)), "0 .. 2"),
        (
            lambda: GAN(SMALL, pictures(classes=3)).sample(2, y=torch.zeros(3, dtype=torch.int64)),
            "one label an example",
        ),
    ],
)
def test_mistakes_are_named(make, says: str):
    with pytest.raises(ValueError, match=says):
        make()


def test_a_critic_begins_without_its_waves_and_learns_to_hear_them():
    plane = Space(fields={"x": Continuous(low=-math.inf, high=math.inf, shape=(2,))}, measure="plane")
    model = GAN(GANConfig(latent=2, generator=(8,), critic=(8,), features=Fourier(count=4, scale=50.0)), plane)
    x = Rng(0)("x").normal((64, 2))
    # with waves of length 2 pi / 50 a step of 1e-3 would show; without them the critic is smooth
    step = (model.criticise(x + 1e-3) - model.criticise(x)).abs().max()
    weight = next(m for m in model.duel.critic.modules() if isinstance(m, torch.nn.Linear)).weight
    assert not weight[:, 2:].any()
    with torch.no_grad():
        weight[:, 2:] = 1.0
    assert (model.criticise(x + 1e-3) - model.criticise(x)).abs().max() > 5 * step


def test_a_batch_is_drawn_as_told_and_samples_independently():
    def still(rng: Rng, shape: tuple[int, int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    model = GAN(replace(SMALL, draw=still), plane())
    shown = model.duel.opponents(examples(plane()), Rng(0))[1]
    assert torch.equal(shown, shown[:1].expand_as(shown))
    x = model.sample(8, rng=0).x
    assert isinstance(x, Tensor)
    assert len(x.unique(dim=0)) == 8


def test_each_player_has_its_own_optimiser():
    slow, fast = AdamW(lr=1e-4), AdamW(lr=1e-3)
    players = GAN(replace(SMALL, generator_optimiser=slow, critic_optimiser=fast), plane()).players()
    assert players["generator"].optimiser == slow
    assert players["critic"].optimiser == fast


def test_noise_of_the_generators_own_lies_about_what_a_code_decodes_to():
    """Samples of one code differ by N(0, s^2) in units of the spread; the code itself decodes to their mean."""
    space = Space(fields={"point": Continuous(low=-math.inf, high=math.inf, shape=(2,), scale=3.0)}, measure="plane")
    n, start = 4_000, 0.2
    model = GAN(GANConfig(noise=start), space)
    z = Rng(0)("z").normal((1, model.config.latent)).expand(n, -1)
    drawn = model.duel.continuum.outward(model.duel.generator(z, None, Rng(1)))
    off = drawn - model.decode(z[:1])
    # the error of a standard deviation is s / sqrt(2 n), of a mean s / sqrt(n)
    assert torch.allclose(off.std(0), torch.full((2,), 3 * start), atol=4 * 3 * start / math.sqrt(2 * n))
    assert torch.allclose(off.mean(0), torch.zeros(2), atol=4 * 3 * start / math.sqrt(n))
    with pytest.raises(ValueError, match="noise must begin above 0"):
        GANConfig(noise=0.0)
