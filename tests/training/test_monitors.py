"""Every planted fault is noticed; a healthy run is not accused."""

from __future__ import annotations

import io
import math

import pytest
import torch
from rich.console import Console
from small_models import Mean, SmallGAN, SmallVAE, ring
from torch.distributions import Normal

from simulacra.core.batch import Batch, Loss
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.training.hooks import Verdict
from simulacra.training.log import TensorBoard
from simulacra.training.looks import distances, vectors
from simulacra.training.loop import train
from simulacra.training.monitors import CriticOverfitting, Divergence, ModeCollapse, PosteriorCollapse, monitors
from simulacra.training.progress import Progress, clock
from simulacra.training.settings import Training

SHORT = Training(steps=200, batch=64, log_every=10)


def accusations(trained):
    return {v.name for v in trained.verdicts if v.level != "ok"}


class Coded(SmallVAE):
    """A VAE that shows its posterior; beta may crush it."""

    def __init__(self, beta=1.0):
        super().__init__(lr=5e-3)
        self.beta = beta
        self.latent = Space(fields={"z": Continuous(low=-math.inf, high=math.inf, shape=(2,))})

    def loss(self, batch, rng):
        loss = super().loss(batch, rng)
        mean, log_scale = self.encoder(batch.x).chunk(2, 1)
        kl = (mean.square() + (2 * log_scale).exp() - 1 - 2 * log_scale).sum() / 2
        return Loss(loss.total + (self.beta - 1) * kl, loss.weight, loss.terms)

    def posterior(self, x, *, y=None):
        mean, log_scale = self.encoder(x).chunk(2, 1)
        return Normal(mean, log_scale.exp())

    def encode(self, x, *, y=None):
        return self.posterior(x).mean

    def decode(self, z, *, y=None):
        return self.decoder(z)


def test_a_healthy_vae_is_not_accused_and_all_is_said_to_be_well():
    model = Coded()
    trained = train(model, ring(), SHORT, hooks=monitors(model, held_out=ring(seed=1), every=50), device="cpu")
    assert not accusations(trained)
    assert {v.name for v in trained.verdicts} == {"divergence", "mode collapse", "posterior collapse"}
    assert all(v.step == 200 for v in trained.verdicts)


def test_a_crushed_posterior_is_noticed():
    trained = train(Coded(beta=3000.0), ring(), SHORT, hooks=[PosteriorCollapse(every=20)], device="cpu")
    assert accusations(trained) == {"posterior collapse"}
    assert "0 of 2 latent dimensions" in trained.verdicts[0].text


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_healthy_gan_is_not_accused(seed):
    model = SmallGAN(gamma=1.0, rng=seed)
    settings = Training(steps=1500, batch=64, seed=seed)
    trained = train(
        model, ring(1024), settings, hooks=monitors(model, held_out=ring(512, seed=1), every=100), device="cpu"
    )
    assert not accusations(trained)
    assert {v.name for v in trained.verdicts} == {"divergence", "mode collapse", "critic overfitting"}


class Drawn(Mean):
    """A model whose samples are planted."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def sample(self, n, *, y=None, rng):
        return Batch(x=self.make(n, Rng.of(rng)))


def some(n, rng):
    """The ring itself, drawn anew."""
    return ring(n, seed=5).x


@pytest.mark.parametrize(
    ("make", "collapsed"),
    [
        (some, False),
        (lambda n, rng: 0.9 * some(n, rng), False),
        (lambda n, rng: torch.tensor([2.0, 0.0]) + 0.1 * rng.normal((n, 2)), True),  # one mode of eight
        (lambda n, rng: torch.zeros(n, 2), True),  # one point
        (lambda n, rng: ring(8, seed=3).x[torch.arange(n) % 8], True),  # eight points, far apart
    ],
)
def test_collapsed_samples_are_noticed(make, collapsed):
    trained = train(Drawn(make), ring(512), SHORT, hooks=[ModeCollapse(every=20)], device="cpu")
    assert accusations(trained) == ({"mode collapse"} if collapsed else set())


class Judge(Drawn):
    """A critic that knows its training set by heart, or does not."""

    def __init__(self, learnt):
        super().__init__(lambda n, rng: 3 * rng.normal((n, 2)))
        self.learnt = learnt

    def criticise(self, x, *, y=None):
        if self.learnt is None:
            return -(x.norm(dim=1) - 2).square()
        return (torch.cdist(x, self.learnt).min(1).values < 1e-3).float() + 0.01 * x[:, 0]


def test_a_critic_that_learnt_its_examples_by_heart_is_noticed():
    data, held_out = ring(512), ring(512, seed=1)
    for learnt, guilty in ((data.x, True), (None, False)):
        trained = train(Judge(learnt), data, SHORT, hooks=[CriticOverfitting(held_out, every=20)], device="cpu")
        assert accusations(trained) == ({"critic overfitting"} if guilty else set())
    assert (
        "100 % as well"
        in train(Judge(data.x), data, SHORT, hooks=[CriticOverfitting(held_out, every=20)], device="cpu")
        .verdicts[0]
        .text
    )


class Scripted(Mean):
    """Its logged loss follows a script, whatever its weights do."""

    def __init__(self, script):
        super().__init__()
        self.script = script

    def loss(self, batch, rng):
        loss = super().loss(batch, rng)
        want = self.script(int(self.count))
        return Loss(loss.total * 0 + want * loss.weight, loss.weight)


@pytest.mark.parametrize(
    ("script", "level"),
    [
        (lambda s: 100 * 0.99**s, None),  # falls
        (lambda s: math.sin(s), None),  # a game's loss
        (lambda s: 1e-4 + (0.5 if s > 100 else 0.0) * 1e-4, None),
        (lambda s: 1.0 + (1000.0 if s == 155 else 0.0), None),  # one bad batch
        (lambda s: 100 * 0.9**s if s < 100 else 10.0, None),  # falls far, and rises to where it was
        (lambda s: 1.0 if s < 150 else 1.2 ** (s - 150), "attention"),
        (lambda s: 1.0 if s < 60 else 1e5, "stop"),
    ],
)
def test_losses_that_explode_are_noticed(script, level):
    trained = train(Scripted(script), ring(), SHORT, hooks=[Divergence()], device="cpu")
    found = [v.level for v in trained.verdicts if v.level != "ok"]
    assert found == ([] if level is None else ["attention"] if level == "attention" else ["attention", "stop"])
    assert trained.ended == ("stopped" if level == "stop" else "budget")


def test_a_fault_that_passes_is_taken_back():
    script = lambda s: 1000.0 if 100 <= s < 130 else 1.0  # noqa: E731
    trained = train(Scripted(script), ring(), SHORT, hooks=[Divergence()], device="cpu")
    assert [v.level for v in trained.verdicts] == ["attention", "ok", "ok"]
    assert "over again" in trained.verdicts[1].text


def test_distances_of_a_square():
    mean, nearest = distances(torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]))
    assert mean == pytest.approx((2 + math.sqrt(2)) / 3)
    assert nearest == 1.0


def test_vectors_of_mixed_fields():
    from simulacra.core.space import Categorical

    space = Space(
        fields={"age": Continuous(low=0.0, high=100.0, scale=10.0), "job": Categorical(k=3)}, y=Classes(names=("a",))
    )
    batch = Batch(x={"age": torch.tensor([20.0, float("nan")]), "job": torch.tensor([2, 0])})
    assert torch.equal(vectors(batch, space), torch.tensor([[2.0, 0, 0, 1], [0, 1, 0, 0]]))


def test_piped_progress_is_plain_lines_with_the_verdicts():
    out = io.StringIO()

    class Speaks:
        every = 100

        def __call__(self, moment):
            return [Verdict(name="note", level="attention", text="look [here]", step=moment.step)]

    with Progress(console=Console(file=out, highlight=False)) as bar:
        train(Mean(), ring(), SHORT, hooks=[Speaks(), bar], device="cpu")
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("  5 %  step 10")
    assert "attention: note (step 100): look [here]" in lines
    assert lines[-1].startswith("100 %  step 200")
    assert "fit " in lines[-1]
    assert "\x1b" not in out.getvalue()
    assert 10 <= len(lines) <= 14


@pytest.mark.parametrize(("seconds", "words"), [(41.6, "42 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations_in_words(seconds, words):
    assert clock(float(seconds)) == words


def test_tensorboard_holds_every_row(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trained = train(Mean(), ring(), SHORT, hooks=[TensorBoard(tmp_path)], device="cpu")
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("fit")]
    assert found == [(row["step"], pytest.approx(row["fit"], rel=1e-6)) for row in trained.log]
