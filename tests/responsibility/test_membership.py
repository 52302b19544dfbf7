"""Membership: a model that knows nothing gives nothing away, one that learned by heart does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from simulacra.core.batch import Stored
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.modalities.worlds import points as space_of
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
