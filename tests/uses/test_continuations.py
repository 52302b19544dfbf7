"""Continuations: their log p is the model's own; middles come as their exact posterior says."""

from __future__ import annotations

import itertools

import pytest
import torch

from simulacra.core.prompts import Prompt
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Space
from simulacra.families.transformer import TransformerConfig, build
from simulacra.nets.decoder import Decoder
from simulacra.uses.continuations import infill, log_prob

WORDS = Space(fields={"word": Categorical(k=3, shape=(6,), varying=True)}, measure="letters")
CODES = Space(fields={"codes": Categorical(k=3, shape=(6,))}, measure="codes")


def model(space: Space):
    made = build(TransformerConfig(network=Decoder(depth=1, aspect=8, head=4)), space, rng=1).double()
    with torch.no_grad():
        for name, p in made.named_parameters():
            p.copy_(Rng(1)(name).normal(p.shape, dtype=torch.float64))
    return made


@pytest.mark.parametrize(("space", "end"), [(WORDS, 3), (WORDS, None), (CODES, None)])
def test_log_p_of_a_continuation_is_the_models_own(space, end):
    made = model(space)
    prompt = Prompt(tokens=Rng(0)("p").integers(3, (4, 3)), length=torch.tensor([0, 1, 3, 2]))
    x, length = Rng(0)("x").integers(3, (4, 3)), torch.tensor([3, 2, 1, 0])
    found = log_prob(made, prompt, x, length=length, end=end)
    want = made.log_prob_after(prompt, x, length=length, ends=end is not None)
    torch.testing.assert_close(found, want)


def test_log_p_goes_on_beyond_the_context_as_drawing_does():
    made = model(CODES)
    prompt = Prompt(tokens=torch.zeros(2, 1, dtype=torch.int64))
    drawn = made.continue_from(prompt, 30, rng=1)
    torch.testing.assert_close(log_prob(made, prompt, drawn.tokens), drawn.log_prob, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("space", "end"), [(WORDS, 3), (CODES, None)])
def test_middles_come_as_the_exact_posterior_says(space, end):
    made, prefix, suffix, most, draws = model(space), torch.tensor([1]), torch.tensor([2, 0]), 2, 4000
    exact: dict[tuple[int, ...], float] = {}
    for size in range(most + 1):
        for middle in itertools.product(range(3), repeat=size):
            after = torch.tensor([[*middle, *suffix.tolist()]])
            exact[middle] = float(log_prob(made, Prompt(tokens=prefix[None]), after, end=end).exp()) / (most + 1)
    found = infill(made, prefix, suffix, 4000, tokens=most, draws=draws, end=end, rng=0)
    evidence = sum(exact.values())
    assert float(torch.tensor(found.log_prob).exp()) == pytest.approx(evidence, rel=0.05)
    assert 1 <= found.effective <= draws
    drawn = [tuple(m.tolist()) for m in found.middles]
    for middle, p in exact.items():
        # two sources of error: the 4,000 draws that were weighed, and the 4,000 chosen from them
        share, sure = drawn.count(middle) / len(drawn), p / evidence
        assert abs(share - sure) < 5 * (sure / 4000 + sure / found.effective) ** 0.5 + 1e-3, middle


def test_a_draw_that_fits_alone_is_worth_one():
    made = model(CODES)
    found = infill(made, torch.tensor([1]), torch.tensor([2]), 3, tokens=1, draws=1, rng=0)
    assert found.effective == pytest.approx(1.0)


def test_nothing_to_draw_is_nothing_between():
    found = infill(model(CODES), torch.tensor([1]), torch.tensor([2]), 2, tokens=0, draws=1, rng=0)
    assert [len(m) for m in found.middles] == [0, 0]
    want = log_prob(model(CODES), Prompt(tokens=torch.tensor([[1]])), torch.tensor([[2]]))
    assert found.log_prob == pytest.approx(float(want))


def test_what_cannot_be_asked_is_told():
    with pytest.raises(ValueError, match="of 1 or more"):
        infill(model(CODES), torch.tensor([1]), torch.tensor([2]), 0, tokens=1, rng=0)
