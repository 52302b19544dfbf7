"""Models that are right by construction keep every law, and every law has something to say about one of them."""

import pytest
import torch
from toys import RIGHT

from simulacra import laws
from simulacra.core import capabilities
from simulacra.core.capabilities import CAPABILITIES, Modelled


@pytest.fixture(scope="module")
def results():
    return {make.__name__: laws.check(make) for make in RIGHT}


@pytest.mark.parametrize("make", RIGHT, ids=lambda make: make.__name__)
def test_no_law_is_broken_by_a_model_that_is_right(make, results):
    broken = {r.name: r.detail for r in results[make.__name__] if r.failed}
    assert not broken


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.name)
def test_every_law_applies_to_one_of_them(law, results):
    assert any(r.name == law.name and r.status == "passed" for rs in results.values() for r in rs)


def test_every_capability_is_among_them():
    there = {c for make in RIGHT for c in capabilities.capabilities(make())}
    assert there == set(CAPABILITIES)
    assert Modelled in there


def test_what_does_not_apply_says_why(results):
    reasons = {(r.name, r.detail) for rs in results.values() for r in rs if r.status == "not applicable"}
    assert all(detail for _, detail in reasons)
    assert ("known kept", "the model is no Completer") in reasons


def test_laws_have_names_of_their_own_and_say_what_they_are():
    names = [law.name for law in laws.LAWS]
    assert len(set(names)) == len(names)
    assert all(law.says.endswith(".") and len(law.says) < 140 for law in laws.LAWS)


def test_the_same_rng_gives_the_same_results():
    make = RIGHT[1]
    assert laws.check(make, rng=3) == laws.check(make, rng=3)


def test_double_precision_is_kept():
    class Double(RIGHT[-1]):
        def __init__(self):
            super().__init__()
            self.double()

        def fake(self, n, rng):
            return self.generator(rng("z").normal((n, 2), dtype=torch.float64))

    assert not [r for r in laws.check(Double) if r.failed]
