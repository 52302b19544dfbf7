"""What is true of each family that learns in closed form, beyond the laws: closed forms, limits, what it recovers."""

import math

import pytest
import torch
from scipy import stats

from simulacra.core.batch import Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.families.bayesian_network import BayesianNetwork, BayesianNetworkConfig
from simulacra.families.copula import Copula, CopulaConfig
from simulacra.families.gaussian_mixture import GaussianMixture, GaussianMixtureConfig
from simulacra.families.hidden_markov import HiddenMarkov, HiddenMarkovConfig
from simulacra.families.kernel_density import KernelDensity, KernelDensityConfig
from simulacra.families.naive_bayes import NaiveBayes, NaiveBayesConfig
from simulacra.families.smote import SMOTE, SMOTEConfig
from simulacra.mathematics.covariances import Full
from simulacra.modalities.gaps import AtRandom, CompletelyAtRandom, NotAtRandom, hide

REAL = Continuous(low=-math.inf, high=math.inf)
POINTS = Space(fields={"x": Continuous(low=-math.inf, high=math.inf, shape=(2,))}, measure="plane")


def points(x, y=None, known=None):
    space = POINTS if y is None else Space(fields=POINTS.fields, y=Classes(names=("a", "b")), measure="plane")
    if known is not None:
        space = Space(fields=POINTS.fields, missing=("x",), measure="plane")
    return Stored(space=space, x=x, y=y, known=known)


def correlated(n, rho=0.8):
    z = Rng(0)("z").normal((n, 2), dtype=torch.float64)
    return torch.stack([z[:, 0], rho * z[:, 0] + math.sqrt(1 - rho**2) * z[:, 1]], 1)


def test_a_mixture_of_one_is_the_sample_mean_and_covariance():
    x = correlated(400) + 3
    data = points(x)
    model = GaussianMixture(GaussianMixtureConfig(components=(1,), covariances=Full(prior=0.0)), data.space)
    model.fit(data)
    assert torch.allclose(model.mixture.means[0], x.mean(0), atol=1e-10)
    assert torch.allclose(model.mixture.spread[0], torch.cov(x.T, correction=0), atol=1e-5)


def test_em_with_gaps_at_random_undoes_what_they_distort():
    # the second coordinate is hidden where the first is large: its mean over what is seen is far too low
    x = correlated(4000)
    known = torch.stack([torch.ones(4000, dtype=torch.bool), x[:, 0] < 0.3], 1)
    model = GaussianMixture(
        GaussianMixtureConfig(components=(1,), covariances=Full(prior=0.0), tolerance=1e-7),
        points(x, known=known).space,
    )
    model.fit(points(torch.where(known, x, 0.0), known=known))
    assert float(x[known[:, 1], 1].mean()) < -0.3
    assert abs(float(model.mixture.means[0, 1])) < 0.08
    assert abs(float(model.mixture.spread[0, 0, 1]) - 0.8) < 0.08


def test_the_criterion_finds_how_many_clusters_there_are():
    centres = torch.tensor([[-6.0, 0.0], [0.0, 6.0], [6.0, 0.0]])
    x = centres[torch.arange(300) % 3] + Rng(0)("noise").normal((300, 2))
    data = points(x)
    model = GaussianMixture(GaussianMixtureConfig(components=(1, 2, 3, 4, 5)), data.space)
    model.fit(data)
    assert int((model.mixture.weights > 1e-9).sum()) == 3


def test_a_mixture_draws_what_it_scores():
    data = points(correlated(500))
    model = GaussianMixture(GaussianMixtureConfig(components=(3,), knots=20), data.space)
    model.fit(data)
    drawn = model.sample(4000, rng=1).x
    assert abs(float(drawn[:, 0].mean() - data.x[:, 0].mean())) < 0.1
    assert abs(float(torch.corrcoef(drawn.T)[0, 1]) - 0.8) < 0.05


def test_naive_bayes_is_the_product_of_its_columns():
    space = Space(
        fields={"age": REAL, "job": Categorical(k=3)}, y=Classes(names=("a", "b")), measure="columns"
    )  # fmt: skip
    y = torch.arange(60) % 2
    age = Rng(0)("age").normal((60,), dtype=torch.float64) + 4.0 * y
    job = (Rng(0)("job").integers(2, (60,)) + y) % 3
    model = NaiveBayes(NaiveBayesConfig(), space)
    model.fit(Stored(space=space, x={"age": age, "job": job}, y=y))
    said = model.log_likelihood({"age": age[:2], "job": job[:2]}, y=y[:2]).nats
    for row in range(2):
        mine = y == y[row]
        pooled = torch.stack([age[y == c].var(correction=0) for c in range(2)]).mean()
        variance = (30 * age[mine].var(correction=0) + pooled) / 31
        shares = (torch.bincount(job, minlength=3).double() + 1 / 3) / 61
        p = (torch.bincount(job[mine], minlength=3).double() + shares) / 31
        expected = stats.norm.logpdf(float(age[row]), float(age[mine].mean()), math.sqrt(float(variance)))
        assert abs(float(said[row]) - expected - float(p[job[row]].log())) < 1e-6


def test_kernels_find_the_width_that_a_normal_sample_wants():
    # of a standard normal Scott's factor is near the best: the likelihood of what is left out is flat around it
    x = Rng(0)("x").normal((500, 2), dtype=torch.float64)
    model = KernelDensity(KernelDensityConfig(rows=500, tries=500), points(x).space)
    model.fit(points(x))
    factor = float((model.variances[0] / x.var(0, correction=0)).sqrt().mean()) * 500 ** (1 / 6)
    assert 0.6 < factor < 1.6
    fresh = Rng(9)("x").normal((500, 2), dtype=torch.float64)
    entropy = 1 + math.log(2 * math.pi)
    assert -entropy - 0.12 < model.log_likelihood(fresh).mean() < -entropy + 0.1


def test_smote_draws_between_rows_of_a_class():
    x = Rng(0)("x").normal((50, 2), dtype=torch.float64)
    y = torch.arange(50) % 2
    model = SMOTE(SMOTEConfig(neighbours=3, rows=50), points(x, y).space)
    model.fit(points(x, y))
    drawn = model.sample(20, y=torch.zeros(20, dtype=torch.int64), rng=2).x.double()
    mine = x[y == 0]
    for point in drawn:
        # on the line between two of them: some pair whose distances add up to their own
        sums = torch.cdist(point[None], mine)[0]
        assert float((sums[:, None] + sums - torch.cdist(mine, mine) + 9 * torch.eye(len(mine))).min()) < 1e-5


def test_a_copula_keeps_margins_and_dependence():
    z = correlated(3000)
    x = torch.stack([z[:, 0].exp(), (z[:, 1] > 0.5).double() + (z[:, 1] > -0.5)], 1)
    space = Space(
        fields={"skewed": REAL, "mark": Continuous(low=0, high=2, levels=3)}, measure="columns"
    )  # fmt: skip
    model = Copula(CopulaConfig(iterations=40), space)
    model.fit(Stored(space=space, x={"skewed": x[:, 0], "mark": x[:, 1]}))
    assert abs(float(model.covariance[0, 1] / model.covariance[0, 0].sqrt()) - 0.8) < 0.06
    drawn = model.sample(4000, rng=1).x
    assert stats.ks_2samp(drawn["skewed"].numpy(), x[:, 0].numpy()).pvalue > 1e-4
    for mark in range(3):
        assert abs(float((drawn["mark"] == mark).double().mean() - (x[:, 1] == mark).double().mean())) < 0.03


def test_a_real_copulas_likelihood_is_the_normals_of_its_scores():
    data = points(correlated(300).exp())
    model = Copula(CopulaConfig(knots=10), data.space)
    model.fit(data)
    score, slope = model.scores.inward(data.x[:5])
    normal = torch.distributions.MultivariateNormal(model.mean, model.covariance)
    assert torch.allclose(model.log_likelihood(data.x[:5]).nats, normal.log_prob(score) + slope.sum(1), atol=1e-9)


def test_a_network_knows_what_its_arcs_say():
    n = 2000
    a = Rng(0)("a").integers(3, (n,))
    b = torch.where(Rng(0)("flip").bernoulli(torch.full((n,), 0.2)), Rng(0)("b").integers(3, (n,)), a)
    space = Space(fields={"a": Categorical(k=3), "b": Categorical(k=3), "age": REAL}, measure="columns")
    x = {"a": a, "b": b, "age": Rng(0)("age").normal((n,), dtype=torch.float64) + 2.0 * a}
    model = BayesianNetwork(BayesianNetworkConfig(bins=8), space)
    model.fit(Stored(space=space, x=x))
    names = model.names()
    arcs = {frozenset((names[v], names[p])) for v, parents in model.arcs().items() for p in parents}
    assert arcs == {frozenset(("a", "b")), frozenset(("a", "age"))}
    # b given a, by completing, against the rows' own shares
    known = {name: torch.full((3000,), name == "a") for name in x}
    given = {"a": torch.full((3000,), 1), "b": torch.zeros(3000, dtype=torch.int64), "age": torch.zeros(3000)}
    drawn = model.complete(given, known, rng=3).x["b"]
    assert abs(float((drawn == 1).double().mean() - (b[a == 1] == 1).double().mean())) < 0.04


def test_a_hidden_markov_model_finds_the_states_that_made_the_sequences():
    # two states that last, each with a letter it mostly writes: what is read tells the state, nine times in ten
    n, t = 300, 30
    stay = Rng(0)("stay").uniform((n, t)) < 0.9
    state = torch.zeros(n, t, dtype=torch.int64)
    state[:, 0] = Rng(0)("first").integers(2, (n,))
    for step in range(1, t):
        state[:, step] = torch.where(stay[:, step], state[:, step - 1], 1 - state[:, step - 1])
    x = torch.where(Rng(0)("slip").uniform((n, t)) < 0.85, state, 2)
    length = 10 + Rng(0)("length").integers(t - 9, (n,))
    x = x * (torch.arange(t) < length[:, None])
    space = Space(fields={"letter": Categorical(k=3, shape=(t,), varying=True)}, measure="letters")
    model = HiddenMarkov(HiddenMarkovConfig(states=2), space)
    model.fit(Stored(space=space, x=x, length=length))
    assert torch.allclose(model.transition.diagonal(), torch.full((2,), 0.9).double(), atol=0.03)
    path, _ = model.viterbi(x, length=length)
    there = torch.arange(t) < length[:, None]
    right = float((path == state)[there].double().mean())
    assert max(right, 1 - right) > 0.97
    # a path and what it says are together no likelier than what it says
    assert bool((model.viterbi(x, length=length)[1] <= model.log_likelihood(x, length=length).nats).all())


def test_masks_hide_their_share_and_follow_their_cause():
    x = correlated(4000)
    assert abs(float(CompletelyAtRandom(share=0.4)(x, Rng(0)).double().mean()) - 0.6) < 0.02
    known = NotAtRandom(share=0.4)(x, Rng(0))
    assert abs(float(known.double().mean()) - 0.6) < 0.03
    assert float(x[:, 0][~known[:, 0]].mean()) > 0.4
    known = AtRandom(share=0.4, visible=0.5)(x, Rng(0))
    seen = int(known.all(0).nonzero()[0])
    assert abs(float(known[:, 1 - seen].double().mean()) - 0.6) < 0.03
    # given what is visible the hidden value itself decides nothing
    rest = x[:, 1 - seen] - 0.8 * x[:, seen]
    hidden = ~known[:, 1 - seen]
    assert abs(float(rest[hidden].mean() - rest[~hidden].mean())) < 0.1


def test_hidden_data_say_so():
    data = hide(points(correlated(50)), CompletelyAtRandom(share=0.5), rng=1)
    assert data.space.missing == ("x",)
    assert isinstance(data.known, torch.Tensor)
    assert bool((data.x[~data.known] == 0).all())
    with pytest.raises(ValueError, match="share of hidden entries"):
        CompletelyAtRandom(share=1.2)
