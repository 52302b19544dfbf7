"""What the examples show, works."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from simulacra import laws
from simulacra.evaluation.judge import judge
from simulacra.modalities import toys
from simulacra.modalities.sources import open_data


@pytest.fixture
def own_model(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "examples"))
    import own_model  # pyright: ignore[reportMissingImports]

    yield own_model
    sys.modules.pop("own_model")


def test_a_strangers_model_keeps_the_laws_and_is_judged(own_model):
    results = laws.check(own_model.make)
    assert not [result for result in results if result.failed]
    assert sum(result.status == "passed" for result in results) > 8
    figures = judge(own_model.make(), open_data("ring").held_out, n=500)
    assert any(figure.name.startswith("negative log-likelihood") for figure in figures)


def test_its_likelihood_is_below_the_truth_s(own_model):
    world = toys.ring()
    x = world.sample(2_000, rng=1).x
    assert own_model.make().log_likelihood(x).mean() < float(torch.as_tensor(world.log_prob(x)).mean())
