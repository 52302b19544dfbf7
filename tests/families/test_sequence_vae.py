"""A VAE of sequences: proper given its code, its bound below the evidence, its code not seen where it must not be."""

from __future__ import annotations

import itertools

import pytest
import torch

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Space
from simulacra.families.sequence_vae import SequenceVAE, SequenceVAEConfig
from simulacra.nets.causal_rows import Attending, Recurrent

SPACE = Space(fields={"word": Categorical(k=2, shape=(3,), varying=True)}, measure="letters")
NETWORKS = {"recurrent": Recurrent(width=8), "attending": Attending(width=8, depth=1, heads=2)}


def model(network: str = "recurrent", **settings: float) -> SequenceVAE:
    config = SequenceVAEConfig(latent=2, encoder=NETWORKS[network], decoder=NETWORKS[network], **settings)  # type: ignore[arg-type]
    made = SequenceVAE(config, SPACE, rng=2).double()
    for p in made.network.parameters():
        p.data *= 2
    return made


def every_word() -> Batch:
    """The 15 words of up to three letters."""
    words = [w for n in range(4) for w in itertools.product(range(2), repeat=n)]
    x = torch.tensor([[*w, *[0] * (3 - len(w))] for w in words])
    return Batch(x=x, length=torch.tensor([len(w) for w in words]))


@pytest.mark.parametrize("network", NETWORKS)
def test_the_probabilities_of_all_words_given_a_code_sum_to_one(network):
    made, words = model(network), every_word()
    for z in Rng(0)("z").normal((3, 2), dtype=torch.float64):
        nats = made.log_prob_given(words.x, z.expand(15, 2), length=words.length)
        assert float(nats.exp().sum()) == pytest.approx(1.0, abs=1e-12)


def test_the_bound_lies_below_the_evidence_and_comes_near_it():
    """log p(x) by a fine grid of codes; IWAE with many draws is within its error of it, the ELBO below."""
    made, words = model(), every_word()
    line = torch.linspace(-5, 5, 41, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    log_p = -0.5 * grid.square().sum(1) - torch.log(torch.tensor(2 * torch.pi)) + 2 * torch.log(line[1] - line[0])
    rows = torch.arange(4, 15, 6)
    evidence = torch.stack([
        (made.log_prob_given(words.x[r].expand(len(grid), 3), grid, length=words.length[r].expand(len(grid))) + log_p)
        .logsumexp(0) for r in rows
    ])  # fmt: skip
    part = words.rows(rows)
    many = made.log_likelihood(part.x, length=part.length, rng=1, k=200).nats
    assert float((many - evidence).abs().max()) < 0.1
    draws = torch.stack([made.log_likelihood(part.x, length=part.length, rng=i).nats for i in range(30)])
    assert bool((draws.mean(0) < evidence + 4 * draws.std(0) / 30**0.5).all())


def test_what_a_code_is_decoded_to_is_the_likeliest_step_by_step():
    made = model()
    z = Rng(1)("z").normal((5, 2), dtype=torch.float64)
    found = made.sample_from(z, rng=0, temperature=0.0)
    steps = made.steps(z)
    running = torch.ones(5, dtype=torch.bool)
    assert found.length is not None
    for t in range(3):
        best = steps.log_probs().argmax(1)
        running = running & (best != 2)
        assert torch.equal(running, t < found.length)
        assert torch.equal(found.x[running, t], best[running])  # type: ignore[index]
        steps.take(torch.where(running, best, 0))
    assert torch.equal(made.decode(z), found.x)


def test_tokens_that_are_left_out_are_not_seen():
    """With all left out what the decoder says of a place does not depend on the tokens before it."""
    made = model()
    x, z = torch.tensor([[0, 1, 0], [1, 0, 0]]), torch.zeros(2, 2, dtype=torch.float64)
    seen = made.network(z, torch.where(torch.ones(2, 2, dtype=torch.bool), made.network.missing, x[:, :2]))
    assert torch.equal(seen[0], seen[1])
    length, both = torch.tensor([3, 3]), torch.ones(2, 3, dtype=torch.bool)
    hidden = made._decoded(x, length, z, None, both)
    wanted = torch.stack([seen[0].log_softmax(-1)[torch.arange(3), row].sum() for row in x])
    assert torch.allclose(hidden, wanted)
    assert not torch.allclose(hidden, made._decoded(x, length, z, None))


def test_settings_that_cannot_be_are_told():
    with pytest.raises(ValueError, match=r"dropped in \[0, 1\)"):
        SequenceVAEConfig(dropped=1.0)
    with pytest.raises(ValueError, match="one sequence of categories"):
        SequenceVAE(SequenceVAEConfig(), Space(fields={"x": Categorical(k=2, shape=(2, 2))}))
