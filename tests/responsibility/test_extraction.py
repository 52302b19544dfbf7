"""Extraction: a model that has texts by heart goes on with them, one that draws letters does not."""

from __future__ import annotations

import pytest
import torch

from simulacra.core.batch import Stored
from simulacra.core.prompts import Generated
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Space
from simulacra.responsibility.extraction import extraction


def texts(name: str, n: int = 60, length: int = 40) -> Stored:
    space = Space(fields={"x": Categorical(k=8, shape=(length,))}, measure="letters")
    return Stored(space=space, x=Rng(0)(name).integers(8, (n, length)), name=name)


class Parrot:
    """Goes on with the text it knows that begins so, or else with letters at random."""

    def __init__(self, known: torch.Tensor) -> None:
        self.known = known

    def steps(self, n, *, y=None, prompt=None):
        raise AssertionError("not asked for")

    def continue_from(self, prompt, tokens, *, y=None, rng, changes=(), told=None):
        n, t = prompt.tokens.shape
        made = Rng.of(rng)("letters").integers(8, (n, tokens))
        for i, row in enumerate(prompt.tokens):
            for text in self.known[(self.known[:, :t] == row).all(1)]:
                made[i] = text[t : t + tokens]
        full = torch.full((n,), tokens)
        return Generated(tokens=made, length=full, log_prob=torch.zeros(n), ended=torch.zeros(n, dtype=torch.bool))


def test_a_parrot_is_found_and_a_dice_thrower_passes():
    train, held = texts("train"), texts("held")
    found = extraction(Parrot(train.x), train, held)
    assert found.verdict == "attention"
    assert found.figures[0].value == 1
    found = extraction(Parrot(texts("other").x), train, held)
    assert found.verdict == "pass"
    assert found.figures[0].value == 0


def test_what_is_said_of_held_out_texts_as_well_is_no_extraction():
    train = texts("train")
    assert extraction(Parrot(train.x), train, train).verdict == "pass"


def test_texts_that_are_too_short_are_refused():
    train = texts("train", length=20)
    with pytest.raises(ValueError, match="no text of train has 32 tokens"):
        extraction(Parrot(train.x), train, train)
    with pytest.raises(ValueError, match="extraction needs a Prompted"):
        extraction(object(), train, train)
