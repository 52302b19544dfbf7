"""A whole audit: each question answered, or said why not."""

from __future__ import annotations

import torch
from torch import nn

from simulacra.core.batch import Batch, Stored
from simulacra.core.randomness import Rng
from simulacra.modalities.worlds import points as space_of
from simulacra.responsibility.audit import audit
from simulacra.responsibility.finding import Finding


def points(name: str, n: int) -> Stored:
    return Stored(space=space_of(3), x=Rng(0)(name).normal((n, 3)), name=name)


class Honest(nn.Module):
    def sample(self, n, *, y=None, rng):
        return Batch(x=Rng.of(rng)("x").normal((n, 3)))


class Copier(nn.Module):
    def __init__(self, x):
        super().__init__()
        self.x = x

    def sample(self, n, *, y=None, rng):
        return Batch(x=self.x[Rng.of(rng)("row").integers(len(self.x), (n,))])


def verdicts(found) -> dict[str, str]:
    return {f.name: f.verdict for f in found.findings}


def test_the_honest_pass_and_the_copier_gets_attention():
    train, held = points("train", 500), points("held", 300)
    honest = verdicts(audit(Honest(), train, held, n=300))
    assert honest["copying, nearest neighbours"] == honest["copying, C_T"] == "pass"
    copier = audit(Copier(train.x), train, held, n=300)
    assert verdicts(copier)["copying, nearest neighbours"] == "attention"
    assert copier.copies is not None
    assert copier.searched.tolist() == list(range(500))
    # neither scores examples, neither has groups, and nobody trained them privately
    for name in ("membership inference", "shares of groups", "differential privacy"):
        assert honest[name] == "not measured"


def test_without_held_out_data_almost_nothing_is_measured_and_nothing_passes_for_it():
    train = points("train", 500)
    for held in (None, Stored(space=train.space, x=torch.zeros(0, 3))):
        found = verdicts(audit(Honest(), train, held, n=300))
        assert found.pop("duplicates in the training data") == "pass"
        assert set(found.values()) == {"not measured"}


def test_too_few_held_out_examples_are_refused_in_words():
    found = audit(Honest(), points("train", 500), points("held", 50), n=300)
    copying = next(f for f in found.findings if f.name == "copying")
    assert copying.verdict == "not measured"
    assert "got 300 and 50" in copying.why


def test_findings_come_back_from_json():
    for finding in audit(Honest(), points("train", 300), points("held", 300), n=200).findings:
        assert Finding.from_json(finding.to_json()) == finding
