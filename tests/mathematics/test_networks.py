"""Discrete networks: sums and draws against brute force, structures against the truth they were drawn from."""

import itertools
import math

import torch

from simulacra.core.randomness import Rng
from simulacra.laws.sampling import multinomial_p
from simulacra.mathematics.elimination import cheap_order, draw, eliminate, reduced
from simulacra.mathematics.structures import ChowLiu, Greedy, Scores, ordered

SIZES = [2, 3, 2, 4]
ARCS = {0: (), 1: (0,), 2: (0, 1), 3: (2, 1)}  # with a cycle beneath the arcs' directions


def tables():
    found = {}
    for v, parents in ARCS.items():
        shape = [SIZES[u] for u in (*parents, v)]
        found[v] = Rng(1)(v).normal(shape, dtype=torch.float64).log_softmax(-1)
    return found


def brute():
    """log p of every state, by the states' values."""
    t, found = tables(), {}
    for state in itertools.product(*map(range, SIZES)):
        found[state] = sum(float(t[v][tuple(state[u] for u in (*p, v))]) for v, p in ARCS.items())
    return found


def test_probabilities_of_parts_are_sums_over_the_rest():
    t, p = tables(), brute()
    order, _ = cheap_order([(v, *a) for v, a in ARCS.items()], SIZES)
    evidence = torch.tensor([[1, 2, 0, 3], [0, 1, 1, 0]])
    for known in itertools.chain.from_iterable(itertools.combinations(range(4), r) for r in range(5)):
        free = [v for v in order if v not in known]
        factors = [reduced((*a, v), t[v], evidence, known) for v, a in ARCS.items()]
        total = eliminate(factors, free)[0].expand(2)
        for row, values in enumerate(evidence.tolist()):
            expected = math.log(sum(math.exp(q) for s, q in p.items() if all(s[v] == values[v] for v in known)))
            assert abs(float(total[row]) - expected) < 1e-12


def test_draws_given_evidence_have_the_conditional():
    t, p, n = tables(), brute(), 4000
    order, _ = cheap_order([(v, *a) for v, a in ARCS.items()], SIZES)
    evidence, known = torch.tensor([[0, 2, 0, 3]]), [1, 3]
    free = [v for v in order if v not in known]
    _, steps = eliminate([reduced((*a, v), t[v], evidence, known) for v, a in ARCS.items()], free)
    drawn = draw(steps, free, torch.zeros(n, dtype=torch.int64), 4, Rng(2))
    states = [(a, 2, b, 3) for a in range(2) for b in range(2)]
    exact = torch.tensor([p[s] for s in states]).double().softmax(0)
    counts = torch.bincount(drawn[:, 0] * 2 + drawn[:, 2], minlength=4)
    assert multinomial_p(counts.numpy(), exact.numpy()) > 1e-6
    assert bool((drawn[:, known] == 0).all())  # what is known is the caller's


def chain(n):
    """Columns 0 -> 1 -> 2, and 3 on its own."""
    flip = [Rng(4)(i).bernoulli(torch.full((n,), 0.1)) for i in range(2)]
    a = Rng(4)("a").bernoulli(torch.full((n,), 0.5))
    b = a ^ flip[0]
    return torch.stack([a, b, b ^ flip[1], Rng(4)("d").bernoulli(torch.full((n,), 0.3))], 1).long()


def test_the_best_tree_is_the_chain_it_was_drawn_from():
    values = chain(2000)
    found = ChowLiu()(Scores(values, torch.ones_like(values, dtype=torch.bool), [2] * 4, 64))
    arcs = {frozenset((v, p)) for v, parents in found.items() for p in parents}
    assert arcs == {frozenset((0, 1)), frozenset((1, 2))}
    assert found[3] == ()


def test_a_greedy_search_finds_two_parents_that_a_tree_cannot_have():
    # c = a or b, mostly
    n = 3000
    a, b = (Rng(5)(v).bernoulli(torch.full((n,), 0.4)) for v in "ab")
    c = (a | b) ^ Rng(5)("c").bernoulli(torch.full((n,), 0.05))
    values = torch.stack([a, b, c], 1).long()
    scores = Scores(values, torch.ones_like(values, dtype=torch.bool), [2] * 3, 64)
    found = Greedy(parents=2)(scores)
    score = lambda arcs: sum(scores(v, frozenset(p)) for v, p in arcs.items())  # noqa: E731
    assert score(found) >= score({0: (), 1: (), 2: (0, 1)}) - 1e-9
    assert score(found) > score(ChowLiu()(scores)) + 10
    assert ordered(found)


def test_the_score_is_the_criterion_and_gaps_leave_it_alone():
    values = chain(500)
    seen = torch.ones_like(values, dtype=torch.bool)
    found = Scores(values, seen, [2] * 4, 64)(1, frozenset({0}))
    expected = 0.0
    for a, b in itertools.product(range(2), range(2)):
        both = int(((values[:, 0] == a) & (values[:, 1] == b)).sum())
        expected += both * math.log(both / int((values[:, 0] == a).sum()))
    assert abs(found - (expected - math.log(500))) < 1e-8  # two free numbers at log n / 2 each
    # twice the rows, half of them with gaps: the same shares, so twice the likelihood
    twice = Scores(values.repeat(2, 1), torch.cat([seen, ~seen]), [2] * 4, 64)(1, frozenset({0}))
    assert abs(twice - (2 * expected - math.log(1000))) < 1e-8
