"""Membership: a model that knows nothing gives nothing away, one that learned by heart does."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from simulacra.core.batch import Batch, Stored
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Continuous, Space
from simulacra.modalities.worlds import points as space_of
from simulacra.recipes.families import FAMILIES
from simulacra.responsibility.membership import attack, membership, scores_for


def points(name: str, n: int) -> Stored:
    return Stored(space=space_of(2), x=Rng(0)(name).normal((n, 2)), name=name)


class Kernels(nn.Module):
    """Narrow kernels about what it learned: the more, the narrower they are."""

    def __init__(self, x: torch.Tensor, width: float) -> None:
        super().__init__()
        self.x, self.width = x, width

    def log_likelihood(self, x, *, y=None, known=None, length=None, rng=None):
        squared = torch.cdist(x, self.x).square()
        return LogLikelihood(
            nats=(-squared / (2 * self.width**2)).logsumexp(1), kind="exact", measure="points", count=2
        )


def test_kernels_about_the_data_give_every_member_away():
    train, held = points("train", 300), points("held", 1500)
    (found,) = membership(Kernels(train.x, 0.01), train, held)
    assert found.verdict == "attention"
    assert found.figures[0].value > 0.95
    assert found.figures[1].value > 0.5


def test_kernels_about_other_data_give_nothing_away():
    train, held = points("train", 300), points("held", 300)
    (found,) = membership(Kernels(points("elsewhere", 300).x, 0.3), train, held)
    assert found.verdict == "pass"
    low, high = found.figures[0].interval  # pyright: ignore[reportGeneralTypeIssues]
    assert low < 0.5 < high
    # of 300 held-out examples no threshold of 0.1 % can be had
    assert len(found.figures) == 1
    assert "at least 1000" in found.why


def test_references_take_out_what_is_easy_for_every_model():
    train, held = points("train", 300), points("held", 300)
    model = Kernels(train.x, 0.5)
    (plain,) = membership(model, train, held)
    references = [Kernels(points(f"reference {i}", 300).x, 0.5) for i in range(4)]
    (sharper,) = membership(model, train, held, references=references)
    assert sharper.figures[0].value > plain.figures[0].value
    assert "4 reference models" in sharper.figures[0].note


def test_too_few_are_refused_and_so_is_a_model_without_scores():
    train = points("train", 300)
    with pytest.raises(ValueError, match="at least 100 training and held-out examples; got 300 and 99"):
        membership(Kernels(train.x, 1.0), train, points("held", 99))
    assert scores_for(object()) == {}
    with pytest.raises(ValueError, match="gives no likelihood"):
        membership(object(), train, train)


def test_equal_scores_tell_nothing():
    found = attack("likelihood", torch.zeros(200), torch.zeros(200))
    assert found.verdict == "pass"
    assert found.figures[0].value == 0.5


def test_perfect_scores_tell_everything():
    assert attack("likelihood", torch.ones(200), torch.zeros(200)).verdict == "attention"


TWO = Space(
    fields={"a": Continuous(low=-math.inf, high=math.inf, scale=2.0, shape=(3,)),
            "b": Continuous(low=-math.inf, high=math.inf, scale=0.5)},
    measure="columns",
)  # fmt: skip


class Lazy(nn.Module):
    """Takes no noise out: its error is the noise itself, in units of each field's scale."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space

    def denoise(self, x, sigma, *, y=None):
        return x


def test_what_is_left_of_noise_is_scored_in_units_of_each_field_s_scale():
    x = {"a": torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)), "b": torch.zeros(4000)}
    score = scores_for(Lazy(TWO))["denoising"](Lazy(TWO), Batch(x=x), Rng(0))
    # chi-squared of 4 degrees of freedom at each of three strengths
    assert float(-score.mean()) == pytest.approx(12, abs=4 * math.sqrt(24 / 4000))
    assert float(score.var()) == pytest.approx(24, rel=0.15)


def test_a_denoiser_and_a_critic_of_ours_are_attacked():
    train, held = points("train", 120), points("held", 120)
    for family, named in (("diffusion", "denoising"), ("gan", "critic")):
        model = FAMILIES[family].build(FAMILIES[family].recipe(train.space, 120)[0], train.space)
        found = membership(model, train, held, scores={named: scores_for(model)[named]})
        low, high = found[0].figures[0].interval  # pyright: ignore[reportGeneralTypeIssues]
        assert low < 0.5 < high  # it has learnt nothing yet


class Mirror(nn.Module):
    """Gives every example back, its category as the next one."""

    space = Space(fields={"x": Continuous(low=0, high=8, scale=2.0), "k": Categorical(k=3)}, measure="columns")
    latent = Space(fields={"z": Continuous(low=-math.inf, high=math.inf)}, measure="latent")

    def encode(self, x, *, y=None):
        return x["x"]

    def posterior(self, x, *, y=None):
        return torch.distributions.Normal(x["x"], 1.0)

    def decode(self, z, *, y=None):
        return {"x": z + 4.0, "k": torch.ones(len(z), dtype=torch.int64)}


def test_reconstruction_counts_categories_and_leaves_out_what_is_missing():
    x = {"x": torch.tensor([1.0, 1.0, 1.0]), "k": torch.tensor([1, 2, 2])}
    known = {"x": torch.tensor([True, True, False]), "k": torch.tensor([True, True, True])}
    score = scores_for(Mirror())["reconstruction"](Mirror(), Batch(x=x, known=known), Rng(0))
    assert score.tolist() == [-4.0, -5.0, -1.0]  # (4 / 2)^2, and 1 for another category
