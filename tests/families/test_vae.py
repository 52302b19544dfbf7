"""The VAE on worlds where the truth is known: linear-Gaussian models, whose evidence is a Gaussian's density."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from simulacra.core.batch import Batch, Stored
from simulacra.core.capabilities import Labelled
from simulacra.core.optimisers import AdamW, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.families import vae
from simulacra.families.vae import VAE, VAEConfig
from simulacra.mathematics import bounds
from simulacra.nets import autoencoder, backbones, heads, missingness
from simulacra.nets.backbones import Dense
from simulacra.nets.missingness import SelfMasking, at_random
from simulacra.recipes import settings
from simulacra.training.loop import train
from simulacra.training.settings import Training

F64 = torch.float64
INF = math.inf
SIGMA = 0.5
W = torch.tensor([[1.0, 0.5], [-1.0, 0.5], [0.5, 1.0], [0.5, -1.0]], dtype=F64)  # orthogonal columns
MU = torch.tensor([1.0, -1.0, 0.5, 0.0], dtype=F64)
SPACE = Space(fields={"point": Continuous(low=-INF, high=INF, shape=(4,))}, measure="four coordinates")
LINEAR = Dense(hidden=())


def linear_gaussian(stretch: float = 1.0) -> VAE:
    """x = W z + mu + sigma e as a VAE whose encoder is the true posterior, its deviation stretched."""
    model = VAE(VAEConfig(latent=2, networks=LINEAR), SPACE).double()
    encoder, decoder = model.encoder.layers[0], model.decoder.layers[0]
    with torch.no_grad():
        decoder.weight.zero_()
        decoder.weight.view(4, 2, 2)[:, 0] = W
        decoder.bias.view(4, 2)[:, 0] = MU
        decoder.bias.view(4, 2)[:, 1] = math.log(SIGMA)
        sigma = noise(model)
        precision = 1 + W.square().sum(0) / sigma**2  # diagonal, because the columns are orthogonal
        encoder.weight.zero_()
        encoder.weight[:2] = W.T / sigma**2 / precision[:, None]
        encoder.bias[:2] = -encoder.weight[:2] @ MU
        encoder.bias[2:] = -0.5 * precision.log() + math.log(stretch)
    return model


def noise(model: VAE) -> float:
    """The deviation the head makes of its raw log sigma: a soft floor moves it by less than one in a thousand."""
    return float(model.likelihood(torch.zeros(1, 2, dtype=F64)).parts["point"].log_scale[0, 0].exp().detach())


def evidence(model: VAE) -> MultivariateNormal:
    return MultivariateNormal(MU, W @ W.T + noise(model) ** 2 * torch.eye(4, dtype=F64))


def points(n: int) -> torch.Tensor:
    return MU + Rng(0)("z").normal((n, 2), dtype=F64) @ W.T + SIGMA * Rng(0)("e").normal((n, 4), dtype=F64)


@pytest.mark.parametrize("k", [1, 7])
def test_at_the_true_posterior_every_bound_is_the_evidence(k: int):
    model, x = linear_gaussian(), points(50)
    found = model.log_likelihood(x, rng=3, k=k)
    assert torch.allclose(found.nats, evidence(model).log_prob(x), atol=1e-9)
    assert found.kind == "bound"
    assert found.count == 4


def test_bounds_are_ordered_where_the_posterior_is_not_the_true_one():
    model, x = linear_gaussian(stretch=1.7), points(4000)
    exact = evidence(model).log_prob(x)
    gaps = [exact - model.log_likelihood(x, rng=4, k=k).nats for k in (1, 8, 64)]
    errors = [float(g.std()) / math.sqrt(len(g)) for g in gaps]
    means = [float(g.mean()) for g in gaps]
    assert means[0] > means[1] + 4 * (errors[0] + errors[1])
    assert means[1] > means[2] + 2 * errors[2]
    assert means[2] > -4 * errors[2]


def test_the_objective_is_the_bound_on_average():
    """The loss, with its KL in closed form, and the sampled bound estimate the same number."""
    model, x = linear_gaussian(stretch=1.7), points(5000)
    loss = model.loss(Batch(x=x), Rng(5))
    sampled = model.log_likelihood(x, rng=6)
    assert abs(float(loss.total.detach() / loss.weight) + sampled.mean()) < 5 * sampled.standard_error()
    assert float((loss.terms["reconstruction"] + loss.terms["kl"] - loss.total.detach()).abs()) < 1e-6


def test_a_linear_vae_finds_its_way_back_to_the_evidence():
    """Pushed away from the optimum in every weight, learning closes the gap between bound and evidence again."""
    model, x = linear_gaussian(), points(4000)
    exact = float(evidence(model).log_prob(x).mean())
    with torch.no_grad():
        for name, p in model.named_parameters():
            p += 0.2 * Rng(1)(name).normal(p.shape, dtype=F64)
    assert exact - model.log_likelihood(x, rng=7).mean() > 0.5
    model.config = VAEConfig(latent=2, networks=LINEAR, optimiser=AdamW(lr=0.02, schedule=Warmup(decay=0.8)))
    data = Stored(space=SPACE, x=x)
    done = train(model, data, Training(steps=300, batch=256, precision="float64", average_half_life=0.0))
    # a model of 15 numbers fitted to 4000 points beats the truth by about 15 / 2 / 4000 nats
    assert -0.01 < exact - done.model.log_likelihood(x, rng=7, k=8).mean() < 0.03


def test_completion_draws_from_the_exact_conditional():
    """x_2 .. x_4 given x_1, under an encoder that is wrong: Metropolis' rule corrects it."""
    model, n = linear_gaussian(stretch=1.3), 4000
    joint, x = evidence(model), torch.zeros(4000, 4, dtype=F64)
    x[:, 0] = 2.5
    known = torch.tensor([True, False, False, False]).expand(n, 4)
    done = model.complete(x, known, rng=8, sweeps=80, warm=5).x
    cov = joint.covariance_matrix
    mean = MU[1:] + cov[1:, 0] / cov[0, 0] * (2.5 - MU[0])
    conditional = cov[1:, 1:] - torch.outer(cov[1:, 0], cov[0, 1:]) / cov[0, 0]
    assert bool((done[:, 0] == 2.5).all())
    assert bool(((done[:, 1:].mean(0) - mean).abs() < 5 * (conditional.diagonal() / n).sqrt()).all())
    # the standard error of a covariance's entries is at most sqrt(2) C_ii / sqrt(n)
    limit = 5 * math.sqrt(2 / n) * conditional.diagonal().max()
    assert bool(((done[:, 1:].T.cov() - conditional).abs() < limit).all())


def test_samples_have_the_moments_of_the_model():
    model, n = linear_gaussian(), 20_000
    x = model.sample(n, rng=9).x
    cov = evidence(model).covariance_matrix
    assert bool(((x.mean(0) - MU).abs() < 5 * (cov.diagonal() / n).sqrt()).all())
    assert bool(((x.T.cov() - cov).abs() < 5 * math.sqrt(2 / n) * cov.diagonal().max()).all())
    still = model.sample(3, rng=9, temperature=0.0, noise=0.0).x
    assert torch.allclose(still, MU.expand(3, 4))


def test_a_likelihood_of_many_draws_may_be_decoded_in_parts(monkeypatch: pytest.MonkeyPatch):
    model, x = linear_gaussian(stretch=1.5), points(10)
    whole = model.log_likelihood(x, rng=1, k=30).nats
    monkeypatch.setattr(autoencoder, "ELEMENTS", 300)
    assert torch.allclose(model.log_likelihood(x, rng=1, k=30).nats, whole)


# -- classes ----------------------------------------------------------------------------------------------------------

LABELLED = Space(
    fields={"bits": Continuous(low=-1.0, high=1.0, levels=2, shape=(3,))},
    y=Classes(names=("a", "b", "c")),
    measure="bits",
)


def labelled(n: int = 60) -> Stored:
    y = torch.tensor([0] * 30 + [1] * 20 + [2] * 10)
    return Stored(space=LABELLED, x=Rng(1).integers(2, (n, 3)).to(torch.uint8), y=y)


def test_the_labels_marginal_is_counted():
    model = VAE(VAEConfig(latent=2), LABELLED)
    assert torch.allclose(model.label_log_prob().exp(), torch.full((3,), 1 / 3))
    model.fit(labelled())
    assert isinstance(model, Labelled)
    assert torch.allclose(model.label_log_prob().exp(), torch.tensor([31.0, 21.0, 11.0]) / 63)
    drawn = model.sample(3000, rng=0)
    assert drawn.y is not None
    share = torch.bincount(drawn.y, minlength=3) / 3000
    assert bool(((share - model.label_log_prob().exp()).abs() < 5 * math.sqrt(0.25 / 3000)).all())
    assert bool((model.sample(5, y=torch.full((5,), 2), rng=0).y == 2).all())


def test_without_a_label_classes_are_summed_out():
    model = VAE(VAEConfig(latent=2), LABELLED)
    model.fit(labelled())
    batch = labelled().batch(torch.arange(60), Rng(0))
    each = torch.stack([model.log_likelihood(batch.x, y=torch.full((60,), c), rng=2, k=3).nats for c in range(3)])
    want = torch.logsumexp(each + model.label_log_prob()[:, None], 0)
    assert torch.allclose(model.log_likelihood(batch.x, rng=2, k=3).nats, want)


def test_labels_are_asked_for_where_they_are_needed():
    batch = labelled().batch(torch.arange(4), Rng(0))
    model, plain = VAE(VAEConfig(latent=2), LABELLED), linear_gaussian()
    with pytest.raises(ValueError, match="give y="):
        model.encode(batch.x)
    with pytest.raises(ValueError, match="leave y out"):
        plain.sample(2, y=torch.tensor([0, 1]), rng=0)
    with pytest.raises(ValueError, match="knows no classes"):
        plain.label_log_prob()
    with pytest.raises(ValueError, match="the data has none"):
        model.fit(Stored(space=LABELLED, x=batch.x))


# -- settings ---------------------------------------------------------------------------------------------------------

OBJECTIVES = [
    VAEConfig(latent=2),
    VAEConfig(latent=2, beta=4.0),
    VAEConfig(latent=2, objective=bounds.iwae, draws=5),
    VAEConfig(latent=2, objective=bounds.beta_tc, beta=6.0),
    VAEConfig(latent=2, objective=bounds.Capacity(gamma=5.0, final=3.0, steps=10)),
    VAEConfig(latent=2, objective=bounds.WarmedUp(steps=10)),
    VAEConfig(latent=2, likelihood=heads.Mixture(components=3), networks=backbones.Dense(hidden=(16,))),
]


@pytest.mark.parametrize("config", OBJECTIVES)
def test_every_objective_trains(config: VAEConfig):
    space = Space(fields={"level": Continuous(low=0.0, high=7.0, levels=8, shape=(6,), centre=3.5, scale=2.0)})
    data = Stored(space=space, x=Rng(2).integers(4, (64, 1)).expand(64, 6).to(torch.uint8))
    model = VAE(config, space)
    before = model.state_dict()["encoder.layers.0.weight"].clone()
    done = train(model, data, Training(steps=12, batch=16))
    assert all(math.isfinite(v) for row in done.log for v in row.values())
    assert int(model.steps_taken) == 12
    assert int(model.examples) == 64
    assert not torch.equal(before, model.encoder.layers[0].weight)


@pytest.mark.parametrize("config", OBJECTIVES)
def test_configs_are_written_down_and_read_again(config: VAEConfig):
    from simulacra.core import optimisers
    from simulacra.nets import activations

    known = settings.table([vae, bounds, heads, backbones, activations, optimisers, missingness])
    assert settings.from_json(settings.to_json(config), known) == config


@pytest.mark.parametrize("wrong", [{"latent": 0}, {"draws": 0}, {"beta": -1.0}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        VAEConfig(**wrong)


def test_a_condition_that_is_no_class_is_refused():
    space = Space(fields=SPACE.fields, y=Space(fields={"caption": Categorical(k=5, shape=(3,))}))
    with pytest.raises(ValueError, match="classes only"):
        VAE(VAEConfig(), space)


def test_the_schedules_counter_is_part_of_the_state():
    model = linear_gaussian()
    assert {"steps_taken", "examples", "label_counts"} <= set(model.state_dict())


def test_weights_are_a_function_of_the_seed():
    torch.manual_seed(0)
    first = VAE(VAEConfig(latent=2), SPACE, rng=3).state_dict()
    torch.manual_seed(1)
    again, other = (
        VAE(VAEConfig(latent=2), SPACE, rng=3).state_dict(),
        VAE(VAEConfig(latent=2), SPACE, rng=4).state_dict(),
    )
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not torch.equal(first["encoder.layers.0.weight"], other["encoder.layers.0.weight"])


GAPPED = Space(fields=SPACE.fields, missing=("point",), measure="four coordinates")


def gapped(n: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    z, e = Rng(5)("z").normal((n, 2), dtype=F64), Rng(5)("e").normal((n, 4), dtype=F64)
    x = z @ W.T + MU + SIGMA * e
    known = Rng(5)("known").bernoulli(torch.full((n, 4), 0.6))
    return torch.where(known, x, math.nan), known


def test_the_bound_of_rows_with_gaps_is_of_what_was_observed():
    # MIWAE's bound (Mattei & Frellsen 2019, eq. 6) under the exact decoder: below the marginal's density, and near it
    x, known = gapped()
    model = VAE(VAEConfig(latent=2, networks=LINEAR, objective=bounds.iwae, draws=2000), GAPPED).double()
    plain = linear_gaussian()
    model.decoder.load_state_dict(plain.decoder.state_dict())
    with torch.no_grad():  # an encoder that says N(0, 1.5^2) whatever it sees
        model.encoder.layers[0].weight.zero_()
        model.encoder.layers[0].bias.copy_(torch.tensor([0.0, 0.0, math.log(1.5), math.log(1.5)]))
    found = -model.loss(Batch(x=x, known=known), Rng(1)).total.detach() / len(x)
    covariance = W @ W.T + SIGMA**2 * torch.eye(4, dtype=F64)
    exact = 0.0
    for row, seen in zip(x, known, strict=True):
        if seen.any():
            marginal = MultivariateNormal(MU[seen], covariance[seen][:, seen])
            exact += float(marginal.log_prob(row[seen])) / len(x)
    assert exact - 0.05 < float(found) < exact + 0.02


def test_a_mask_that_says_nothing_adds_its_own_probability():
    x, known = gapped()
    settings = VAEConfig(latent=2, networks=LINEAR, objective=bounds.iwae, draws=3)
    plain = VAE(settings, GAPPED, rng=1).double()
    hiding = VAE(dataclasses.replace(settings, missingness=SelfMasking()), GAPPED, rng=1).double()
    one, two = (float(m.loss(Batch(x=x, known=known), Rng(1)).total.detach()) for m in (plain, hiding))
    # slopes and offsets begin at zero: every entry is hidden with probability one half
    assert abs((two - one) - len(x) * 4 * math.log(2)) < 1e-9


def test_hiding_is_told_by_real_columns_that_may_be_missing():
    with pytest.raises(ValueError, match="may be missing"):
        VAE(VAEConfig(latent=2, networks=LINEAR, missingness=SelfMasking()), SPACE)


@pytest.mark.slow
def test_what_hides_itself_is_found_by_a_model_of_why():
    # large values of the second column hide: what is observed of it has a mean far below the truth, 0
    n = 2000
    z = Rng(8)("z").normal((n, 2))
    x = torch.stack([z[:, 0], 0.8 * z[:, 0] + 0.6 * z[:, 1]], 1)
    seen = ~Rng(8)("hidden").bernoulli(torch.sigmoid(4 * x[:, 1]))
    known = torch.stack([torch.ones(n, dtype=torch.bool), seen], 1)
    space = Space(fields={"point": Continuous(low=-INF, high=INF, shape=(2,))}, missing=("point",), measure="plane")
    data = Stored(space=space, x=torch.where(known, x, 0.0), known=known)
    means = []
    for why in (at_random, SelfMasking(sign=1)):
        config = VAEConfig(
            latent=2, networks=LINEAR, objective=bounds.iwae, draws=10, missingness=why,
            optimiser=AdamW(lr=1e-2, schedule=Warmup(steps=50, decay=0.5)),
        )  # fmt: skip
        trained = train(VAE(config, space, rng=0), data, Training(steps=800, batch=128))
        means.append(float(trained.averaged.sample(4000, rng=1).x[:, 1].mean()))
    assert abs(means[1]) < 0.15
    assert means[0] < means[1] - 0.1
