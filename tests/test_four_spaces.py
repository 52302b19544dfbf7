"""One model class on four unlike spaces: a picture, a sequence of varying length, a table row with gaps, a point.

The abstraction holds if nothing below asks which space it is: data is made here, everything else is common.
"""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.batch import Batch, Stored, rows
from simulacra.core.capabilities import (
    Codec,
    Completer,
    Decoder,
    Fitter,
    Learner,
    Likelihood,
    Modelled,
    Sampler,
    capabilities,
)
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.families.vae import VAE, VAEConfig

N = 256


def pictures() -> Stored:
    """8 x 6 pictures of one bright row or column, in two classes."""
    space = Space(
        fields={"picture": Continuous(low=-1.0, high=1.0, levels=16, shape=(1, 8, 6))},
        y=Classes(names=("row", "column")),
        measure="4-bit pixels",
    )
    which, place = Rng(0)("which").integers(2, (N,)), Rng(0)("place").integers(6, (N,))
    x = torch.zeros(N, 1, 8, 6, dtype=torch.uint8)
    for i in range(N):
        x[i, 0][(place[i], slice(None)) if which[i] == 0 else (slice(None), place[i])] = 15
    return Stored(space=space, x=x, y=which)


def sequences() -> Stored:
    """Up to 9 tokens that count upwards from a random one; padding is 0."""
    space = Space(fields={"tokens": Categorical(k=12, shape=(9,), varying=True)}, measure="tokens")
    length, first = 1 + Rng(1)("length").integers(9, (N,)), Rng(1)("first").integers(12, (N, 1))
    steps = torch.arange(9)
    x = torch.where(steps < length[:, None], (first + steps) % 12, 0)
    return Stored(space=space, x=x, length=length)


def table() -> Stored:
    """Four columns of different kinds, all of them driven by one hidden number; a fifth of two columns is missing."""
    space = Space(
        fields={
            "height": Continuous(low=-math.inf, high=math.inf, centre=170.0, scale=10.0),
            "rooms": Continuous(low=0.0, high=9.0, levels=10, centre=4.5, scale=3.0),
            "member": Continuous(low=0.0, high=1.0, levels=2, centre=0.5, scale=0.5),
            "colour": Categorical(k=3, names=("red", "green", "blue")),
        },
        measure="columns",
        missing=("height", "colour"),
    )
    hidden = Rng(2)("hidden").normal((N,))
    x = {
        "height": 170 + 10 * hidden + Rng(2)("height").normal((N,)),
        "rooms": (4.5 + 3 * hidden).round().clamp(0, 9),
        "member": (hidden > 0).float(),
        "colour": torch.bucketize(hidden.contiguous(), torch.tensor([-0.5, 0.5])),
    }
    known = {name: torch.ones(N, dtype=torch.bool) for name in x}
    for name in space.missing:
        known[name] = Rng(2)("missing", name).uniform((N,)) > 0.2
        gap = torch.tensor(math.nan) if x[name].is_floating_point() else torch.tensor(0)
        x[name] = torch.where(known[name], x[name], gap)
    return Stored(space=space, x=x, known=known)


def points() -> Stored:
    """A noisy ring of radius 2."""
    space = Space(
        fields={"point": Continuous(low=-math.inf, high=math.inf, shape=(2,), scale=1.5)},
        measure="plane",
    )
    angle = 2 * math.pi * Rng(3)("angle").uniform((N,))
    x = 2 * torch.stack([angle.cos(), angle.sin()], 1) + 0.1 * Rng(3)("noise").normal((N, 2))
    return Stored(space=space, x=x)


WORLDS = {f.__name__: f for f in (pictures, sequences, table, points)}


def train(data: Stored, steps: int, config: VAEConfig | None = None) -> tuple[VAE, list[float]]:
    """Ten lines of loop: players, turns, steps."""
    model = VAE(config or VAEConfig(latent=4), data.space, rng=0)
    model.fit(data)
    (turn,), (player,) = model.turns(), model.players().values()
    (optimiser,) = player.optimiser.build(player.module)
    losses: list[float] = []
    for step in range(steps):
        rng = Rng(0)("step", step)
        loss = turn.loss(data.batch(rng("index").integers(len(data), (64,)), rng("data")), rng(turn.name))
        optimiser.zero_grad()
        (loss.total / loss.weight).backward()
        optimiser.step()
        assert turn.after is not None
        turn.after(loss.terms)
        losses.append(float(loss.total.detach() / loss.weight))
    return model, losses


@pytest.fixture(scope="module", params=WORLDS)
def learned(request: pytest.FixtureRequest) -> tuple[Stored, VAE, list[float]]:
    torch.manual_seed(0)
    data = WORLDS[request.param]()
    # a ring is learned late: at first a Gaussian is the better guess
    return data, *train(data, 300 if request.param == "points" else 60)


def everything(data: Stored) -> Batch:
    return data.batch(torch.arange(len(data)), Rng(0))


def test_it_learns(learned):
    _, _, losses = learned
    assert all(map(math.isfinite, losses))
    assert sum(losses[-10:]) < sum(losses[:5]) * 2 - 1  # ten late losses against twice five early ones


def test_it_has_every_capability(learned):
    _, model, _ = learned
    wanted = {Modelled, Learner, Fitter, Sampler, Likelihood, Decoder, Codec, Completer}
    assert wanted <= set(capabilities(model))


def test_samples_are_examples_of_the_space(learned):
    data, model, _ = learned
    drawn = model.sample(20, rng=7)
    assert len(drawn) == 20
    for name, f in data.space.fields.items():
        x = drawn.x[name] if isinstance(drawn.x, dict) else drawn.x
        assert x.shape == (20, *f.shape)
        if isinstance(f, Categorical):
            assert x.dtype == torch.int64
            assert bool(((x >= 0) & (x < f.k)).all())
        elif f.levels:
            assert torch.allclose(x, f.value(f.index(x)), atol=1e-5)
    assert (drawn.length is not None) == any(f.varying for f in data.space.fields.values())
    if drawn.length is not None:
        beyond = torch.arange(9) >= drawn.length[:, None]
        assert int(drawn.x[beyond].abs().sum()) == 0
    # a draw can be scored by the model that drew it
    assert bool(model.log_likelihood(drawn.x, **drawn.given(), rng=0).nats.isfinite().all())


def test_sampling_in_batches_equals_sampling_at_once(learned):
    _, model, _ = learned
    whole, head = model.sample(12, rng=5), model.sample(5, rng=5)
    tail = model.sample(7, rng=Rng(5).rows(5))
    for part, want in ((head, whole.rows(slice(5))), (tail, whole.rows(slice(5, None)))):
        got, wanted = ([b.x] if isinstance(b.x, torch.Tensor) else list(b.x.values()) for b in (part, want))
        for a, b in zip(got, wanted, strict=True):
            assert torch.allclose(a.double(), b.double(), atol=1e-4)


def test_every_parameter_gets_a_gradient(learned):
    data, model, _ = learned
    model.zero_grad()
    model.loss(everything(data), Rng(0)).total.backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert dead == []


def test_more_draws_tighten_the_bound(learned):
    data, model, _ = learned
    batch = everything(data)
    one, many = (model.log_likelihood(batch.x, **batch.given(), rng=1, k=k) for k in (1, 64))
    gain = many.nats - one.nats
    assert float(gain.mean()) > -3 * float(gain.std()) / math.sqrt(len(gain))
    assert one.kind == many.kind == "bound"
    assert many.measure == data.space.measure


def test_what_is_not_there_has_no_influence(learned):
    data, model, _ = learned
    batch = everything(data)
    x = dict(batch.x) if isinstance(batch.x, dict) else {"": batch.x}
    known = batch.known if isinstance(batch.known, dict) else {}
    changed = {}
    for name, t in x.items():
        other = t.clone()
        if name in known:
            other[~known[name]] = 1
        if batch.length is not None:
            other[torch.arange(9) >= batch.length[:, None]] = 5
        changed[name] = other
    again = changed if isinstance(batch.x, dict) else changed[""]
    before = model.log_likelihood(batch.x, **batch.given(), rng=1).nats
    after = model.log_likelihood(again, **batch.given(), rng=1).nats
    assert torch.equal(before, after)
    assert bool(before.isfinite().all())


def test_completion_keeps_what_is_known(learned):
    data, model, _ = learned
    batch = everything(data).rows(slice(16))
    hide = lambda t: Rng(9).uniform(t.shape) < 0.5  # noqa: E731
    several = isinstance(batch.x, dict)
    known = {n: hide(t) & ~t.isnan() for n, t in batch.x.items()} if several else hide(batch.x)
    done = model.complete(batch.x, known, y=batch.y, length=batch.length, rng=3, sweeps=12, warm=4)
    for name in data.space.fields if several else [""]:
        a, b, k = (v[name] if several else v for v in (batch.x, done.x, known))
        assert torch.equal(a[k], b[k].to(a.dtype))
        assert bool(b.isfinite().all())


def test_codes_go_there_and_back(learned):
    data, model, _ = learned
    batch = everything(data).rows(slice(8))
    kept = {"known": batch.known, "length": batch.length, "y": batch.y}
    z = model.encode(batch.x, **kept)
    assert z.shape == (8, 4)
    assert rows(model.decode(z, y=batch.y)) == 8
    q = model.posterior(batch.x, **kept)
    assert torch.equal(q.mean, z)
    assert q.log_prob(z).shape == (8,)
