"""The hierarchical VAE where the truth is known: with linear layers it is a Gaussian, whose evidence is a density."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from simulacra.core.batch import Batch, Stored
from simulacra.core.optimisers import AdamW, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.families import hvae
from simulacra.families.hvae import HVAE, HVAEConfig
from simulacra.mathematics.ladder import FreeBits, LadderBound, LadderWarmup, ladder_elbo
from simulacra.nets.ladder import REACH
from simulacra.training.loop import train
from simulacra.training.settings import Training

F64 = torch.float64
SIGMA = 0.5
W = torch.tensor([[1.0, 0.5], [-1.0, 0.5], [0.5, 1.0], [0.5, -1.0]], dtype=F64)  # orthogonal columns
MU = torch.tensor([1.0, -1.0, 0.5, 0.0], dtype=F64)
SPACE = Space(fields={"point": Continuous(low=-math.inf, high=math.inf, shape=(4,))}, measure="four coordinates")


def raw(log_scale: float) -> float:
    """What a network has to put out for this log scale."""
    return REACH * math.atanh(log_scale / REACH)


def silent(groups: int, latent: int) -> HVAE:
    """A ladder of linear layers over a single place, every weight zero but those that hand the code to the output."""
    config = HVAEConfig(groups=(groups,), latent=latent, width=8, activation=nn.Identity)
    model = HVAE(config, SPACE).double()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        for j in range(groups):
            # group j writes its z into channels of its own
            model.down.group(j).into.weight[j * latent : (j + 1) * latent, :, 0, 0] = torch.eye(latent)
        head = model.down.out.out
        head.weight.view(4, 2, 8)[:, 0, :2] = W
        head.bias.view(4, 2)[:, 0] = MU
        head.bias.view(4, 2)[:, 1] = math.log(SIGMA)
    return model


def noise(model: HVAE) -> float:
    """The deviation the head makes of its raw log sigma: a soft floor moves it by less than one in a thousand."""
    return float(model.likelihood(torch.zeros(1, 2, dtype=F64)).parts["point"].log_scale[0, 0].exp().detach())


def one_group(stretch: float = 1.0) -> HVAE:
    """x = W z + mu + sigma e with one group, whose posterior is the true one, its deviation stretched."""
    model = silent(1, 2)
    precision = 1 + W.square().sum(0) / noise(model) ** 2  # diagonal, because the columns are orthogonal
    group = model.down.group(0)
    with torch.no_grad():
        regression = W.T / noise(model) ** 2 / precision[:, None]
        model.up.down[0].weight[:2, :, 0, 0] = regression
        model.up.down[0].bias[:2] = -regression @ MU
        group.from_data.weight[:2, :2, 0, 0] = torch.eye(2)
        group.posterior[1].weight[:2, :2, 0, 0] = torch.eye(2)
        for i in range(2):
            group.posterior[1].bias[2 + i] = raw(float(-0.5 * precision[i].log()) + math.log(stretch))
    return model


A, S = 0.8, 0.6


def two_groups() -> HVAE:
    """z_1 ~ N(0, 1), z_2 ~ N(A z_1, S^2), x = W (z_1, z_2) + mu + sigma e; posteriors are N(0, 1), whatever x is."""
    model = silent(2, 1)
    prior = model.down.group(1).prior
    with torch.no_grad():
        prior.first.weight[0, 0, 0, 0] = A
        prior.second.weight[0, 0, 0, 0] = 1.0
        prior.second.bias[1] = raw(math.log(S))
    return model


def evidence(model: HVAE, covariance: torch.Tensor) -> MultivariateNormal:
    return MultivariateNormal(MU, W @ covariance @ W.T + noise(model) ** 2 * torch.eye(4, dtype=F64))


CHAINED = torch.tensor([[1.0, A], [A, A * A + S * S]], dtype=F64)
IDENTITY = torch.eye(2, dtype=F64)


def points(n: int) -> torch.Tensor:
    return MU + Rng(0)("z").normal((n, 2), dtype=F64) @ W.T + SIGMA * Rng(0)("e").normal((n, 4), dtype=F64)


@pytest.mark.parametrize("k", [1, 17])
def test_one_group_at_the_true_posterior_gives_the_evidence(k: int):
    model, x = one_group(), points(40)
    found = model.log_likelihood(x, rng=3, k=k)
    assert torch.allclose(found.nats, evidence(model, IDENTITY).log_prob(x), atol=1e-9)
    assert found.kind == "bound"
    assert found.count == 4


def test_one_group_has_the_bound_of_a_plain_vae():
    """E log p(x | z) - KL in closed form: quadratic in z, so its expectation is known."""
    model, x = one_group(stretch=1.5), points(4000)
    q = model.posterior(x)
    mean, scale = q.mean, 1.5 * (1 + W.square().sum(0) / noise(model) ** 2).rsqrt()
    miss = (x - MU - mean @ W.T).square().sum(1) + (W.square() * scale.square()).sum()
    fit = -miss / (2 * noise(model) ** 2) - 4 * math.log(noise(model)) - 2 * math.log(2 * math.pi)
    kl = 0.5 * (mean.square() + scale.square() - 1 - 2 * scale.log()).sum(1)
    bound = model.bound(Batch(x=x), Rng(1))
    assert torch.allclose(bound.kl, kl, atol=1e-9)
    gap = (bound.log_px - fit).detach()
    assert abs(float(gap.mean())) < 5 * float(gap.std()) / math.sqrt(len(gap))


def test_bounds_rise_to_the_evidence_of_a_chain_of_two_groups():
    model, x = two_groups(), evidence(two_groups(), CHAINED).sample((1000,))
    exact = evidence(model, CHAINED).log_prob(x)
    gaps = [exact - model.log_likelihood(x, rng=4, k=k).nats for k in (1, 16, 128)]
    means, errors = [float(g.mean()) for g in gaps], [float(g.std()) / math.sqrt(len(g)) for g in gaps]
    assert means[0] > means[1] + 4 * (errors[0] + errors[1])
    assert means[1] > means[2] + 4 * (errors[1] + errors[2])
    assert -4 * errors[2] < means[2] < 0.5


def test_samples_have_the_moments_of_the_chain():
    model, n = two_groups(), 20_000
    x, cov = model.sample(n, rng=9).x, evidence(two_groups(), CHAINED).covariance_matrix
    assert bool(((x.mean(0) - MU).abs() < 5 * (cov.diagonal() / n).sqrt()).all())
    assert bool(((x.T.cov() - cov).abs() < 5 * math.sqrt(2 / n) * cov.diagonal().max()).all())
    assert torch.allclose(model.sample(3, rng=9, temperature=0.0, noise=0.0).x, MU.expand(3, 4))


def test_codes_are_standardised():
    """decode((0, e)) moves x along z_2 by S e, decode((e, 0)) along z_1 by e and along z_2 by A e."""
    model = two_groups()
    x = model.decode(torch.tensor([[0.0, 2.0], [2.0, 0.0]], dtype=F64)) - MU
    assert torch.allclose(x, torch.tensor([[0.0, 2 * S], [2.0, 2 * A]], dtype=F64) @ W.T)


def test_given_a_code_examples_are_normal_around_what_it_decodes_to():
    model, n = two_groups(), 4000
    z = torch.tensor([[0.5, -1.0]], dtype=F64).expand(n, 2)
    mean = model.decode(z[:1])[0].detach()
    x = model.sample_from(z, rng=3).x
    want = MultivariateNormal(mean, noise(model) ** 2 * torch.eye(4, dtype=F64))
    assert torch.allclose(model.log_prob_given(x, z), want.log_prob(x))
    assert bool(((x.mean(0) - mean).abs() < 5 * noise(model) / math.sqrt(n)).all())


def test_the_values_of_each_element_given_a_code_add_up_to_the_whole():
    space = Space(fields={"picture": Continuous(low=-1, high=1, levels=7, shape=(1, 3, 4))})
    model = HVAE(HVAEConfig(groups=(1, 2), latent=2, width=4), space).double()
    z = Rng(1).normal((5, model.latent.size), dtype=F64)
    x = model.sample_from(z, rng=2).x
    index = space.only.index(x).long().flatten(1)
    each = model.choice_log_probs(z).gather(2, index[..., None]).sum((1, 2))
    torch.testing.assert_close(each, model.log_prob_given(x, z).detach(), atol=1e-9, rtol=1e-9)


def test_a_posterior_decides_group_after_group():
    space = Space(fields={"picture": Continuous(low=-1, high=1, levels=7, shape=(1, 3, 4))})
    model = HVAE(HVAEConfig(groups=(1, 2), latent=2, width=4), space).double()
    q = model.posterior(model.sample(4, rng=0).x)
    means: list[torch.Tensor] = []
    code = q.decide(lambda normal: (means.append(normal.mean), normal.mean)[1])
    torch.testing.assert_close(code, q.mean)
    assert [m.shape[1] for m in means] == [math.prod(shape) for shape in model.down.shapes]
    moved = q.decide(lambda normal: normal.mean + (normal.mean.shape[1] == means[0].shape[1]))
    assert (moved[:, means[0].shape[1] :] != code[:, means[0].shape[1] :]).any()  # those below heed those above


def test_completion_draws_from_the_exact_conditional():
    """x_2 .. x_4 given x_1, under an encoder that is wrong: Metropolis' rule corrects it."""
    model, n = one_group(stretch=1.3), 2000
    joint, x = evidence(model, IDENTITY), torch.zeros(2000, 4, dtype=F64)
    x[:, 0] = 2.5
    known = torch.tensor([True, False, False, False]).expand(n, 4)
    done = model.complete(x, known, rng=8, sweeps=60, warm=5).x
    cov = joint.covariance_matrix
    mean = MU[1:] + cov[1:, 0] / cov[0, 0] * (2.5 - MU[0])
    conditional = cov[1:, 1:] - torch.outer(cov[1:, 0], cov[0, 1:]) / cov[0, 0]
    assert bool((done[:, 0] == 2.5).all())
    assert bool(((done[:, 1:].mean(0) - mean).abs() < 5 * (conditional.diagonal() / n).sqrt()).all())
    assert bool(((done[:, 1:].T.cov() - conditional).abs() < 5 * math.sqrt(2 / n) * conditional.diagonal().max()).all())


# -- the ladder with its nonlinearities -------------------------------------------------------------------------------

KINDS = Classes(names=("a", "b"))
BITS = Space(
    fields={"bits": Continuous(low=-1.0, high=1.0, levels=2, shape=(1, 6, 7))}, y=KINDS, measure="binary pixels"
)


def shaken(config: HVAEConfig | None = None, space: Space = BITS) -> HVAE:
    """A model none of whose parts is silent."""
    model = HVAE(config or HVAEConfig(groups=(2, 1, 1), latent=2, width=4), space, rng=1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p += 0.1 * Rng(5)(name).normal(p.shape)
    return model.double()


def bits(n: int) -> Batch:
    return Batch(x=2.0 * Rng(1)("x").integers(2, (n, 1, 6, 7)).to(F64) - 1, y=Rng(1)("y").integers(2, (n,)))


def test_the_groups_kls_add_up_to_the_kl_of_the_whole_code():
    """E_q [log q(z | x) - log p(z)], by draws of the posterior, against the sum of the groups' closed forms."""
    model, batch = shaken(), bits(1000)
    bound = model.bound(batch, Rng(2))
    assert bound.kls.shape == (1000, 4)
    assert torch.allclose(bound.kls.sum(1), bound.kl)
    torch.manual_seed(0)
    q = model.posterior(batch.x, y=batch.y)
    z = q.rsample()
    sampled = q.log_prob(z) - MultivariateNormal(torch.zeros_like(z[0]), torch.eye(z.shape[1], dtype=F64)).log_prob(z)
    gap = (sampled - bound.kl).detach()
    assert abs(float(gap.mean())) < 5 * float(gap.std()) / math.sqrt(len(gap))
    assert float(bound.kls.detach().mean(0).min()) > 0.01


def test_importance_weights_hold_the_bound():
    model, batch = shaken(), bits(600)
    loss = model.loss(batch, Rng(5))
    one, many = (model.log_likelihood(batch.x, y=batch.y, rng=6, k=k) for k in (1, 8))
    assert abs(float(loss.total.detach() / loss.weight) + one.mean()) < 6 * one.standard_error()
    gain = many.nats - one.nats
    assert float(gain.mean()) > 4 * float(gain.std()) / math.sqrt(len(gain))


def test_a_likelihood_of_many_draws_may_be_computed_in_parts(monkeypatch: pytest.MonkeyPatch):
    model, batch = shaken(), bits(7)
    whole = model.log_likelihood(batch.x, rng=1, k=20).nats
    monkeypatch.setattr(hvae, "ELEMENTS", 3 * 16 * model.state)
    assert torch.allclose(model.log_likelihood(batch.x, rng=1, k=20).nats, whole)


def test_a_posterior_takes_several_codes_of_each_example():
    model, batch = shaken(), bits(3)
    q = model.posterior(batch.x, y=batch.y)
    z = q.rsample((5,))
    each = torch.stack([q.log_prob(part) for part in z])
    assert z.shape == (5, 3, model.latent.size)
    assert torch.allclose(q.log_prob(z), each)
    assert torch.allclose(q.log_prob(model.encode(batch.x, y=batch.y)), q.log_prob(q.mean))


@pytest.mark.parametrize("shape", [(1, 1, 5), (3, 2, 2), (1, 9, 4), (2, 28, 28)])
def test_any_size_of_picture_will_do(shape: tuple[int, int, int]):
    space = Space(fields={"x": Continuous(low=0.0, high=1.0, levels=4, shape=shape)}, measure="pixels")
    model = HVAE(HVAEConfig(groups=(1, 0, 1, 1), latent=2, width=4), space)
    drawn = model.sample(2, rng=0)
    assert drawn.x.shape == (2, *shape)
    assert model.decode(model.encode(drawn.x)).shape == (2, *shape)


@pytest.mark.slow
def test_it_learns_what_its_groups_can_say():
    """Pictures of one bright row or column under labels: the bound rises far above that of independent pixels."""
    which, place = Rng(0)("which").integers(2, (256,)), Rng(0)("place").integers(6, (256,))
    x = torch.zeros(256, 1, 6, 7, dtype=torch.uint8)
    for i in range(256):
        x[i, 0][(place[i], slice(None)) if which[i] == 0 else (slice(None), place[i])] = 1
    data = Stored(space=BITS, x=x, y=which)
    schedule = Warmup(steps=20, decay=0.5)
    config = HVAEConfig(groups=(1, 1, 1), latent=2, width=16, objective=LadderWarmup(steps=30),
                        optimiser=AdamW(lr=3e-3, schedule=schedule))  # fmt: skip
    done = train(HVAE(config, BITS), data, Training(steps=300, batch=64))
    batch = data.batch(torch.arange(256), Rng(0))
    share = x.double().mean(0)
    apart = float((share * share.log() + (1 - share) * (1 - share).log()).nan_to_num().sum())
    assert done.model.log_likelihood(batch.x, y=batch.y, rng=1).mean() > apart / 2
    assert int(done.model.steps_taken) == 300


# -- objectives and settings ------------------------------------------------------------------------------------------


def halves(step: int = 0) -> LadderBound:
    kls = torch.tensor([[1.0, 0.1], [3.0, 0.3]], dtype=F64, requires_grad=True)
    return LadderBound(torch.tensor([-5.0, -7.0], dtype=F64), kls, 2.0, torch.tensor(step))


def test_objectives_in_numbers():
    assert ladder_elbo(halves()).tolist() == pytest.approx([-7.2, -13.6])
    assert LadderWarmup(steps=10)(halves(5)).tolist() == pytest.approx([-6.1, -10.3])
    assert LadderWarmup(steps=10)(halves(50)).tolist() == pytest.approx([-7.2, -13.6])
    # the second group uses 0.2 nats on average: it costs 0.5 whatever it does
    assert FreeBits(nats=0.5)(halves()).tolist() == pytest.approx([-8.0, -14.0])
    assert torch.equal(FreeBits(nats=0.0)(halves()), ladder_elbo(halves()))


def test_free_bits_push_only_groups_that_are_used():
    bound = halves()
    (slope,) = torch.autograd.grad(FreeBits(nats=0.5)(bound).sum(), [bound.kls])
    assert slope.tolist() == [[-2.0, 0.0], [-2.0, 0.0]]


@pytest.mark.parametrize(
    "wrong", [{"groups": ()}, {"groups": (1, 0)}, {"latent": 0}, {"width": 0}, {"blocks": -1}, {"beta": -1.0}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        HVAEConfig(**wrong)


@pytest.mark.parametrize("wrong", [lambda: FreeBits(nats=-1.0), lambda: LadderWarmup(steps=0)])
def test_wrong_objectives_are_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        wrong()


def test_sequences_and_captions_are_refused():
    words = Space(fields={"word": Categorical(k=5, shape=(6,), varying=True)})
    with pytest.raises(ValueError, match="this data is a sequence"):
        HVAE(HVAEConfig(), words)
    with pytest.raises(ValueError, match="classes only"):
        HVAE(HVAEConfig(), Space(fields=SPACE.fields, y=words))
