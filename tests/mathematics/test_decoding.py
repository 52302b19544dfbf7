"""What next-token distributions are changed to: closed forms, and what must never happen."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.mathematics.decoding import MinP, Repetition, Temperature, TopK, TopP, changed, chosen, length_norm
from simulacra.mathematics.discrete import quantile, support_quantile

P = torch.tensor([[0.5, 0.25, 0.15, 0.1], [0.1, 0.1, 0.1, 0.7]], dtype=torch.float64)
NOTHING = torch.zeros(2, 0, dtype=torch.int64)


def probabilities(change, p=P, seen=NOTHING):
    return change(p.log(), seen).exp()


def test_a_temperature_is_a_power():
    for t in (0.5, 2.0):
        power = P ** (1 / t)
        torch.testing.assert_close(probabilities(Temperature(value=t)), power / power.sum(1, keepdim=True))
    assert probabilities(Temperature(value=0.0)).tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]
    assert probabilities(Temperature(value=0.0), torch.full((2, 3), 1 / 3)).tolist() == [[1, 0, 0]] * 2


def test_what_is_left_of_a_distribution_is_it_given_that_it_is_left():
    torch.testing.assert_close(probabilities(TopK(k=2))[0], torch.tensor([2 / 3, 1 / 3, 0, 0], dtype=torch.float64))
    # 0.5 does not reach 0.6, 0.75 does
    torch.testing.assert_close(probabilities(TopP(p=0.6))[0], torch.tensor([2 / 3, 1 / 3, 0, 0], dtype=torch.float64))
    assert probabilities(TopP(p=0.5))[0].tolist() == [1, 0, 0, 0]
    assert probabilities(TopP(p=0.7))[1].tolist() == [0, 0, 0, 1]
    # 0.3 of 0.5 is 0.15
    assert (probabilities(MinP(share=0.29))[0] > 0).tolist() == [True, True, True, False]
    assert (probabilities(MinP(share=0.5))[1] > 0).tolist() == [False, False, False, True]


def test_the_limits_change_nothing():
    for change in (TopK(k=9), TopP(p=1.0), MinP(share=1e-9), Repetition(penalty=1.0), Temperature(value=1.0)):
        torch.testing.assert_close(probabilities(change), P)
    assert chosen() == ()
    assert len(chosen(temperature=0.5, top_k=3, top_p=0.9, min_p=0.1, repetition=1.2)) == 5


def test_what_is_there_already_is_penalised_once():
    seen = torch.tensor([[0, 0, -1], [3, 1, 1]])
    raised = P.clone()
    raised[0, 0], raised[1, 3], raised[1, 1] = 0.5**2, 0.7**2, 0.1**2
    torch.testing.assert_close(probabilities(Repetition(penalty=2.0), P, seen), raised / raised.sum(1, keepdim=True))
    near = P.clone()
    near[1, 1] = 0.1**2
    torch.testing.assert_close(
        probabilities(Repetition(penalty=2.0, last=2), P, seen)[1], (near / near.sum(1, keepdim=True))[1]
    )


def test_what_is_not_legal_has_no_probability():
    legal = lambda seen: torch.tensor([[True, False, True, False], [False, True, False, False]])  # noqa: E731
    left = changed(P.log(), NOTHING, (TopK(k=1),), legal).exp()
    assert left.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
    with pytest.raises(ValueError, match="nothing that may come next in row 1"):
        changed(P.log(), NOTHING, (), lambda seen: torch.tensor([[True] * 4, [False] * 4]))


def test_a_draw_never_has_probability_nought():
    p = torch.tensor([[0.0, 0.3, 0.7, 0.0]])
    u = torch.tensor([0.0, 0.29999, 0.30001, 1 - 2**-24])
    drawn = support_quantile(p.log().expand(4, -1), u)
    assert drawn.tolist() == [1, 1, 2, 2]
    many = torch.rand(1000, 7, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    v = torch.rand(1000, generator=torch.Generator().manual_seed(1))
    assert torch.equal(support_quantile(many, v), quantile(many, v))


def test_length_norm_is_wu_et_al_2016_eq_14():
    assert float(length_norm(torch.tensor(1.0), 0.6)) == 1.0
    assert float(length_norm(torch.tensor(13.0), 0.6)) == pytest.approx(3**0.6)
    assert float(length_norm(torch.tensor(7.0), 0.0)) == 1.0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Temperature(value=-1.0), "must not be negative; got -1.0"),
        (lambda: Temperature(value=math.nan), "got nan"),
        (lambda: TopK(k=0), "at least one token; got 0"),
        (lambda: TopP(p=0.0), r"lies in \(0, 1\]; got 0.0"),
        (lambda: MinP(share=1.5), r"lies in \(0, 1\]; got 1.5"),
        (lambda: Repetition(penalty=0.5), "at least 1"),
    ],
)
def test_mistakes_are_told(make, said):
    with pytest.raises(ValueError, match=said):
        make()
