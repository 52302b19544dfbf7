"""Private training: single gradients by both ways, what one example can move, the noise, and what is refused."""

from __future__ import annotations

import math
import os
import signal

import pytest
import torch
from scipy import stats
from small_models import PLANE, Mean, SmallConv, SmallGAN, SmallVAE, ring
from torch import nn

from simulacra.core.batch import Loss, Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.vae import VAE, VAEConfig
from simulacra.mathematics.privacy import epsilon
from simulacra.modalities.sources import open_data
from simulacra.nets.backbones import Convolutional
from simulacra.nets.norm import BatchNorm
from simulacra.recipes.families import FAMILIES
from simulacra.training import private
from simulacra.training.each_example import ByLayers, OneByOne, clipped_sum
from simulacra.training.engine import Engine
from simulacra.training.loop import train
from simulacra.training.session import Session
from simulacra.training.settings import Privacy, Training
from simulacra.training.state import weights

GUARD = Privacy(epsilon=5.0, delta=1e-5, clip=0.5)
SETTINGS = Training(steps=20, batch=32, log_every=5, save_seconds=None, private=GUARD, precision="float64")


def session(model, data, training=SETTINGS):
    return Session(model, data, training, engine=Engine(device="cpu", precision=training.precision))


def pictures(n=24):
    space = Space(
        fields={"image": Continuous(low=-1.0, high=1.0, levels=256, shape=(1, 8, 8))},
        y=Classes(names=("a", "b", "c")),
        measure="8-bit pixels",
    )
    x = Rng(3)("x").integers(256, (n, 1, 8, 8)).to(torch.uint8)
    return Stored(space=space, x=x, y=torch.arange(n) % 3, name="noise")


def picture_vae(space):
    return VAE(VAEConfig(latent=3, networks=Convolutional(width=4, hidden=8, coarsest=4)), space)


@pytest.mark.parametrize("way", [OneByOne(), ByLayers()])
def test_gradients_are_cut_one_by_one(way):
    """Of the mean's model, example i has gradient w - x_i."""
    model, x = Mean().double(), torch.tensor([[3.0, 4.0], [0.03, 0.04], [-0.6, 0.8]], dtype=torch.float64)
    (found,) = clipped_sum(
        way, model.loss, model.net, Stored(space=PLANE, x=x).batch(torch.arange(3), Rng(0)), Rng(0), 0.5
    )
    truth = -torch.tensor([0.3 + 0.03 - 0.3, 0.4 + 0.04 + 0.4], dtype=torch.float64)
    assert torch.allclose(found[:, 0], truth, atol=1e-12)


@pytest.mark.parametrize("make", [SmallVAE, SmallConv, lambda: picture_vae(pictures().space)])
def test_layers_tell_the_same_gradients_as_one_example_after_another(make):
    model = make().double()
    data = ring(12) if model.space == PLANE else pictures()
    batch = data.batch(torch.arange(6), Rng(0)).map(lambda t: t.double() if t.is_floating_point() else t)
    (turn,) = model.turns()
    parts = [clipped_sum(way, turn.loss, model, batch, Rng(1), 0.5) for way in (OneByOne(), ByLayers())]
    for slow, fast in zip(*parts, strict=True):
        assert torch.allclose(slow, fast, atol=1e-10)
    # and they are the batch's own where nothing is cut
    whole = torch.autograd.grad(turn.loss(batch, Rng(1)).total, list(model.parameters()))
    for a, b in zip(clipped_sum(ByLayers(), turn.loss, model, batch, Rng(1), math.inf), whole, strict=True):
        assert torch.allclose(a, b, atol=1e-10)


def test_an_example_whose_gradient_is_not_finite_adds_nothing():
    model, x = Mean().double(), torch.tensor([[3.0, 4.0], [math.inf, 0.0]], dtype=torch.float64)
    for way in (OneByOne(), ByLayers()):
        batch = Stored(space=PLANE, x=x).batch(torch.arange(2), Rng(0))
        (found,) = clipped_sum(way, model.loss, model.net, batch, Rng(0), 0.5)
        assert torch.allclose(found[:, 0], torch.tensor([-0.3, -0.4], dtype=torch.float64))


@pytest.mark.parametrize("way", [ByLayers(), OneByOne()])
def test_one_example_moves_a_step_by_no_more_than_its_clip(way, monkeypatch):
    """Neighbouring data, the same secret and noise: gradients differ by clip / batch at most."""
    monkeypatch.setattr(private, "secret", lambda: 7)
    data = ring(64)
    far = Stored(space=PLANE, x=torch.cat([data.x, torch.tensor([[30.0, -30.0]])]), name="far")
    sessions = [session(SmallVAE(), d) for d in (data, far)]
    for s in sessions:
        s.private.rate, s.private.noise = 0.5, 1.0
        s.moves[0].way = way
    moved = []
    for _ in range(5):
        for s in sessions:
            s.advance()
        one, other = (torch.cat([p.grad.flatten() for p in s.seats["vae"].parameters]) for s in sessions)
        moved.append(float((one - other).norm()) * SETTINGS.batch)
        sessions[1].model.load_state_dict(sessions[0].model.state_dict())
    assert max(moved) == pytest.approx(GUARD.clip)
    assert any(m == 0 for m in moved)  # not every step takes it


@pytest.mark.slow
def test_the_noise_has_the_deviation_that_was_accounted_for():
    guard = Privacy(epsilon=0.05, delta=1e-5, clip=0.5)
    s = session(Mean(lr=1e-9), ring(), Training(steps=150, batch=32, private=guard, precision="float64"))
    drawn = []
    for _ in range(150):
        s.advance()
        drawn.append(s.seats["mean"].parameters[0].grad.flatten() * 32 / (guard.clip * s.private.noise))
    # the examples add at most 32 in units of the clip, and the noise is far above that
    assert s.private.noise > 50
    assert stats.kstest(torch.cat(drawn).numpy(), "norm").pvalue > 1e-3


def test_batches_take_every_example_with_the_same_chance():
    s = session(Mean(), ring(100), Training(steps=5, batch=20, accumulate=4, private=GUARD, precision="float64"))
    parts = [s.private.batches(step, "fit") for step in range(200)]
    sizes = torch.tensor([sum(len(batch) for _, batch in part) for part in parts], dtype=torch.float64)
    assert float(sizes.mean()) == pytest.approx(20, abs=4 * math.sqrt(16 / 200))
    assert float(sizes.var()) == pytest.approx(16, rel=4 * math.sqrt(2 / 200))  # binomial: n q (1 - q)
    assert all(len(batch) <= 5 for part in parts for _, batch in part)
    first = [first for first, _ in parts[0]]
    assert first == list(range(0, 5 * len(first), 5))


def test_a_run_spends_what_its_noise_and_steps_give_away():
    done = train(SmallVAE(), ring(), SETTINGS)
    assert done.private["epsilon"] == epsilon(done.private["noise"], 32 / 256, 20, 1e-5)
    assert 0.98 * 5 < done.private["epsilon"] <= 5
    assert train(SmallVAE(), ring(), Training(steps=2, batch=32)).private == {}


def test_every_noisy_gradient_counts():
    """Critic and R1 are two mechanisms; the generator hears of the examples from the critic alone."""
    done = train(SmallGAN(gamma=1.0), ring(), Training(steps=8, batch=32, private=GUARD))
    assert done.private["noised"] == 8 + 2


def test_the_generator_sees_no_example():
    seen = []

    class Watched(SmallGAN):
        def generator_loss(self, batch, rng):
            seen.append(float(batch.x.abs().max()))
            return super().generator_loss(batch, rng)

    train(Watched(), ring(), Training(steps=5, batch=32, private=GUARD))
    assert seen[-5:] == [0.0] * 5


@pytest.mark.slow
def test_it_learns():
    """The mean of points about (1, 0), from 2,000 of them at epsilon = 5."""
    data = Stored(space=PLANE, x=ring(2000).x + torch.tensor([1.0, 0.0]), name="shifted")
    guard = Privacy(epsilon=5.0, delta=1e-5, clip=3.0)
    done = train(Mean(lr=0.05), data, Training(steps=150, batch=400, private=guard, average_half_life=5000.0))
    assert torch.allclose(done.averaged.net.weight[:, 0], torch.tensor([1.0, 0.0]), atol=0.1)


def test_nothing_is_counted_and_no_loss_is_told():
    data = pictures()
    model = picture_vae(data.space)
    done = train(model, data, Training(steps=2, batch=8, log_every=1, private=GUARD))
    assert int(model.label_counts.sum()) == 0
    assert set(done.log[-1]) == {"step", "examples", "seconds", "vae"}
    assert done.log[-1]["vae"] > 0  # the norm of the noisy gradient


class Adaptive(SmallVAE):
    """Asks how large its own KL was."""

    def turns(self):
        (turn,) = super().turns()
        return [type(turn)(name="elbo", player="vae", loss=self.loss, after=self.adapt)]

    def adapt(self, terms):
        self.kl = float(terms["kl"])


class Started(SmallVAE):
    """Takes its centre from the first batch it sees."""

    def __init__(self):
        super().__init__()
        self.register_buffer("centre", torch.zeros(2))

    def loss(self, batch, rng):
        if not bool(self.centre.any()):
            self.centre.copy_(batch.x.mean(0))
        return super().loss(batch, rng)


class Crowd(SmallVAE):
    """Weighs each example with how many there are."""

    def loss(self, batch, rng):
        loss = super().loss(batch, rng)
        return Loss(loss.total * len(batch), loss.weight)


def normed_critic():
    model = SmallGAN()
    model.critic.insert(1, BatchNorm(16))
    return model


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (normed_critic, "'critic.1.running_mean' is set from the examples in turn 'critic'"),
        (lambda: SmallGAN(norm=BatchNorm), "turn 'critic' takes no single example"),
        (Started, "'centre' is set from the examples"),
        (Crowd, "an example's gradient depends on the others in its batch"),
        (Adaptive, "turn 'elbo' adapts itself to its losses"),
    ],
)
def test_layers_and_turns_that_break_the_guarantee_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        train(make(), ring(), SETTINGS)


def test_a_trial_leaves_everything_as_it_was():
    model = SmallGAN()
    before = weights(model.double())
    s = session(model, ring())
    assert all(torch.equal(t, before[name]) for name, t in weights(s.model).items())


def test_what_no_noise_can_be_chosen_for_is_refused():
    with pytest.raises(ValueError, match="give a private run steps= or examples="):
        Training(minutes=1.0, private=GUARD)
    with pytest.raises(ValueError, match="batch is at most the number of examples, 16; got batch=32"):
        train(SmallVAE(), ring(16), SETTINGS)
    with pytest.raises(ValueError, match="epsilon must be positive"):
        Privacy(epsilon=0.0)

    class Counter:
        def fit(self, data):
            self.n = len(data)

    with pytest.raises(ValueError, match="Counter learns in closed form, which is not private"):
        train(Counter(), ring(), SETTINGS)


def test_a_stopped_run_goes_on_with_the_same_noise(tmp_path, monkeypatch):
    seeds = iter([7, 8, 7])
    monkeypatch.setattr(private, "secret", lambda: next(seeds))

    class Interrupt:
        every = 1

        def __call__(self, moment):
            if moment.step == 9:
                os.kill(os.getpid(), signal.SIGINT)

    stopped = train(SmallVAE(), ring(), SETTINGS, hooks=[Interrupt()], folder=tmp_path)
    assert stopped.steps in (9, 10)
    assert stopped.private["epsilon"] < 5
    resumed = train(SmallVAE(), ring(), SETTINGS, folder=tmp_path, resume=True)
    whole = train(SmallVAE(), ring(), SETTINGS)
    for name, tensor in weights(whole.model).items():
        assert torch.equal(tensor, weights(resumed.model)[name]), name
    assert resumed.private == whole.private


def test_a_stopped_run_keeps_its_guarantee(tmp_path):
    train(SmallVAE(), ring(), SETTINGS, folder=tmp_path)
    longer = Training(steps=40, batch=32, log_every=5, save_seconds=None, private=GUARD, precision="float64")
    with pytest.raises(ValueError, match="was trained with steps=20; a resumed run cannot change it to 40"):
        train(SmallVAE(), ring(), longer, folder=tmp_path, resume=True)
    plain = Training(steps=20, batch=32, log_every=5, save_seconds=None, precision="float64")
    with pytest.raises(ValueError, match="was trained privately"):
        train(SmallVAE(), ring(), plain, folder=tmp_path, resume=True)


def test_two_runs_of_one_seed_differ():
    """The public seed must not tell the noise."""
    one, other = (weights(train(SmallVAE(), ring(), SETTINGS).model) for _ in range(2))
    assert not torch.equal(one["decoder.0.weight"], other["decoder.0.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("family", ["hvae", "flow", "tarflow", "pixelcnn", "diffusion", "flow_matching", "gan"])
def test_families_of_every_kind_train_privately(family):
    data = open_data("digits").train
    config, _ = FAMILIES[family].recipe(data.space, len(data))
    model = FAMILIES[family].build(config, data.space, rng=0)
    done = train(model, data, Training(steps=2, batch=16, private=GUARD))
    assert 0 < done.private["epsilon"] <= GUARD.epsilon


@pytest.mark.slow
@pytest.mark.parametrize("family", ["dcgan", "stylegan", "glow", "vqvae"])
def test_families_that_set_something_from_the_examples_are_refused(family):
    data = open_data("digits").train
    config, _ = FAMILIES[family].recipe(data.space, len(data))
    with pytest.raises(ValueError, match="cannot be trained privately: '.*' is set from the examples"):
        train(FAMILIES[family].build(config, data.space, rng=0), data, SETTINGS)


def test_a_shared_layer_counts_all_its_calls():
    class Twice(SmallVAE):
        def __init__(self):
            super().__init__()
            self.both = nn.Linear(2, 2)

        def loss(self, batch, rng):
            off = self.both(torch.tanh(self.both(batch.x))) - batch.x
            return Loss.of(off.square().sum(1))

    model = Twice().double()
    batch = ring(5).batch(torch.arange(5), Rng(0)).map(torch.Tensor.double)
    a, b = (clipped_sum(way, model.loss, model.both, batch, Rng(0), 0.5) for way in (OneByOne(), ByLayers()))
    assert all(torch.allclose(x, y, atol=1e-12) for x, y in zip(a, b, strict=True))
