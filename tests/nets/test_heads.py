"""Output heads: whatever the space, the distribution over its examples is one, and what is not there drops out."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from simulacra.core.batch import Batch, rows
from simulacra.core.indices import to_indices
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Continuous, Space
from simulacra.nets.embeddings import Embed, class_indicator
from simulacra.nets.heads import Head, Mixture, bernoulli, choice_log_probs, elements, gaussian, natural

F64 = torch.float64
INF = math.inf

GRID = Space(fields={"picture": Continuous(low=-1.0, high=1.0, levels=3, shape=(2, 2, 1))})
BINARY = Space(fields={"picture": Continuous(low=-1.0, high=1.0, levels=2, shape=(1, 2, 3))})
TOKENS = Space(fields={"tokens": Categorical(k=3, shape=(4,))})
TABLE = Space(
    fields={
        "rooms": Continuous(low=0.0, high=4.0, levels=5, centre=2.0, scale=1.5),
        "colour": Categorical(k=3),
        "flags": Continuous(low=0.0, high=1.0, levels=2, shape=(2,)),
    },
    missing=("colour",),
)
DISCRETE = {"grid": GRID, "binary": BINARY, "tokens": TOKENS, "table": TABLE}
POINT = Space(fields={"point": Continuous(low=-INF, high=INF, shape=(2,), centre=1.0, scale=2.0)})
VARYING = Space(fields={"tokens": Categorical(k=2, shape=(3,), varying=True)})


def raw(head: Head, *lead: int) -> torch.Tensor:
    return Rng(0)("raw").normal((*lead, *head.shape), dtype=F64)


def every_example(space: Space) -> dict[str, torch.Tensor] | torch.Tensor:
    """All examples of a discrete space of fixed extents."""
    choices = [
        range(f.k) if isinstance(f, Categorical) else [f.value(i) for i in range(f.levels or 0)]
        for f in space.fields.values()
        for _ in range(math.prod(f.shape))
    ]
    table = torch.tensor(list(itertools.product(*choices)), dtype=F64)
    found, at = {}, 0
    for name, f in space.fields.items():
        part = table[:, at : at + math.prod(f.shape)].reshape(-1, *f.shape)
        found[name] = part.long() if isinstance(f, Categorical) else part
        at += math.prod(f.shape)
    return found if len(found) > 1 else next(iter(found.values()))


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("likelihood", [natural, Mixture(components=3)])
def test_probabilities_of_all_examples_sum_to_one(name: str, likelihood):
    head = Head(DISCRETE[name], likelihood)
    x = every_example(DISCRETE[name])
    joint = head(raw(head, 1).expand(rows(x), *head.shape))
    assert abs(float(joint.log_prob(x).exp().sum()) - 1) < 1e-9


def test_lengths_and_tokens_together_sum_to_one():
    head = Head(VARYING)
    assert head.lengths == 4
    found = [(n, t) for n in range(4) for t in itertools.product(range(2), repeat=n)]
    x = torch.tensor([[*t, *[0] * (3 - n)] for n, t in found])
    length = torch.tensor([n for n, _ in found])
    logits = Rng(1).normal((1, 4), dtype=F64).expand(len(x), 4)
    joint = head(raw(head, 1).expand(len(x), *head.shape), logits)
    assert abs(float(joint.log_prob(x, length=length).exp().sum()) - 1) < 1e-6


def test_a_density_integrates_to_one_on_a_grid():
    head = Head(POINT)
    side = torch.linspace(-30, 30, 601, dtype=F64)
    x = torch.cartesian_prod(side, side)
    joint = head(0.3 * raw(head, 1).expand(len(x), *head.shape))
    assert abs(float(joint.log_prob(x).exp().sum() * 0.1**2) - 1) < 1e-6


@pytest.mark.parametrize("space", [*DISCRETE.values(), POINT])
def test_leading_dimensions_are_kept(space: Space):
    """k draws of a latent for b examples: (k, b) log-probabilities, each as if it stood alone."""
    head = Head(space)
    drawn = head(raw(head, 5)).sample(Rng(2))
    many = raw(head, 4, 5)
    alone = torch.stack([head(r).log_prob(drawn.x) for r in many])
    assert torch.equal(head(many).log_prob(drawn.x), alone)


def test_unobserved_columns_drop_out_and_may_hold_anything():
    head = Head(TABLE)
    joint = head(raw(head, 6))
    x = joint.sample(Rng(3)).x
    known = {name: Rng(4)(name).uniform(t.shape) < 0.5 for name, t in x.items()}
    each = sum(torch.where(known[n], joint.parts[n].log_prob(x[n]), 0.0).reshape(6, -1).sum(1) for n in TABLE.fields)
    holes = {n: torch.where(known[n], t, math.nan if t.is_floating_point() else 0) for n, t in x.items()}
    assert torch.allclose(joint.log_prob(holes, known), each)
    assert torch.equal(elements(TABLE, 6, known, None), sum(k.reshape(6, -1).sum(1).double() for k in known.values()))
    nothing = {n: torch.zeros_like(k) for n, k in known.items()}
    assert float(joint.log_prob(holes, nothing).abs().max()) == 0


def test_gradients_ignore_what_is_unobserved():
    head = Head(POINT)
    parameters = raw(head, 2).requires_grad_()
    x = torch.tensor([[0.5, math.nan], [math.nan, 1.0]], dtype=F64)
    head(parameters).log_prob(x, ~x.isnan()).sum().backward()
    assert bool(parameters.grad.isfinite().all())
    assert float(parameters.grad.reshape(2, 2, 2)[0, 1].abs().sum()) == 0


def test_padding_has_no_influence():
    head, embed = Head(VARYING), Embed(VARYING)
    length = torch.tensor([0, 1, 3])
    x, other = torch.zeros(3, 3, dtype=torch.int64), torch.ones(3, 3, dtype=torch.int64)
    inside = torch.arange(3) < length[:, None]
    other = torch.where(inside, x, other)
    joint = head(raw(head, 3), torch.zeros(3, 4, dtype=F64))
    assert torch.equal(joint.log_prob(x, length=length), joint.log_prob(other, length=length))
    assert torch.equal(embed(x, length=length), embed(other, length=length))
    assert elements(VARYING, 3, None, length).tolist() == [0, 1, 3]


@pytest.mark.parametrize("space", [*DISCRETE.values(), POINT])
def test_typical_and_mode_are_examples(space: Space):
    head = Head(space)
    joint = head(raw(head, 7))
    best = joint.log_prob(joint.mode().x)
    assert bool((best >= joint.log_prob(joint.sample(Rng(5)).x) - 0.7 * space.size).all())
    typical = joint.typical().x
    for name, f in space.fields.items():
        t = typical[name] if isinstance(typical, dict) else typical
        if isinstance(f, Continuous):
            assert bool(((t >= f.low) & (t <= f.high)).all())


def test_a_gaussian_of_levels_says_that_it_is_a_density():
    space = Space(fields=GRID.fields, measure="8-bit pixels")
    assert Head(space).measure == "8-bit pixels"
    assert Head(space, gaussian).measure == "8-bit pixels, as a density"


def test_grey_pictures_may_be_scored_as_shares():
    head = Head(GRID, bernoulli)
    joint = head(raw(head, 3))
    assert head.outputs == 2
    middle = joint.log_prob(torch.zeros(3, *GRID.only.shape, dtype=F64))
    ends = [joint.log_prob(torch.full((3, *GRID.only.shape), v, dtype=F64)) for v in (-1.0, 1.0)]
    assert torch.allclose(middle, (ends[0] + ends[1]) / 2)


def test_a_bernoulli_needs_two_ends():
    with pytest.raises(ValueError, match="two ends"):
        Head(POINT, bernoulli)


def test_embedding_standardises():
    x = 1 + 2 * Rng(6).normal((5, 2))
    assert torch.allclose(Embed(POINT)(x), (x - 1) / 2)


def test_embedding_tells_what_is_observed():
    embed = Embed(TABLE)
    x = {"rooms": torch.tensor([2.0]), "colour": torch.tensor([1]), "flags": torch.zeros(1, 2)}
    seen = embed(x)
    hidden = embed(x, {"rooms": torch.tensor([False]), "colour": torch.tensor([False]), "flags": torch.ones(1, 2) > 0})
    assert seen.tolist() == [[0, 0, 1, 0, 1, 0, 0]]  # standardised rooms; one-hot colour, observed; flags
    # only fields that may be missing are hidden from a network: for the others it knows no "unobserved"
    assert hidden.tolist() == [[0, 0, 0, 0, 0, 0, 0]]


def test_many_categories_are_embedded():
    space = Space(fields={"tokens": Categorical(k=1000, shape=(4,))})
    embed = Embed(space)
    assert embed.shape == (4, 65)
    assert embed(torch.tensor([[1, 2, 999, 0]])).shape == (1, 4, 65)


def test_labels_are_checked():
    from simulacra.core.space import Classes

    classes = Classes(names=("a", "b"))
    assert class_indicator(torch.tensor([1, 0]), classes, F64).tolist() == [[0, 1], [1, 0]]
    for y, known, words in ((None, classes, "conditional on 2"), (torch.tensor([2]), classes, "0 .. 1")):
        with pytest.raises(ValueError, match=words):
            class_indicator(y, known, F64)
    with pytest.raises(ValueError, match="leave y out"):
        class_indicator(torch.tensor([0]), None, F64)


def test_batches_keep_lengths():
    head = Head(VARYING)
    drawn = head(raw(head, 50), torch.zeros(50, 4, dtype=F64)).sample(Rng(7))
    assert isinstance(drawn, Batch)
    assert drawn.length is not None
    assert set(drawn.length.tolist()) == {0, 1, 2, 3}
    assert int(drawn.x[torch.arange(3) >= drawn.length[:, None]].sum()) == 0


@pytest.mark.parametrize("likelihood", [natural, Mixture(components=3)], ids=["natural", "mixture"])
@pytest.mark.parametrize("space", DISCRETE.values(), ids=DISCRETE)
def test_every_choice_is_scored_as_the_example_it_makes(space: Space, likelihood):
    head = Head(space, likelihood)
    joint = head(raw(head, 4))
    choices = choice_log_probs(joint)
    torch.testing.assert_close(choices.exp().sum(-1), torch.ones(4, space.size, dtype=F64))
    drawn = joint.sample(Rng(1)).x
    own = choices.gather(2, to_indices(space, drawn)[..., None])[..., 0].sum(1)
    torch.testing.assert_close(own, joint.log_prob(drawn))


def test_a_density_is_normalised_over_the_levels():
    head = Head(GRID, gaussian)
    torch.testing.assert_close(choice_log_probs(head(raw(head, 2))).exp().sum(-1), torch.ones(2, 4, dtype=F64))
    with pytest.raises(ValueError, match="no countable values"):
        choice_log_probs(Head(POINT)(raw(Head(POINT), 2)))
