"""Bits-back: the net length is the bound, of one group of codes as of several, and what it begins with is small."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Independent, Laplace, Normal
from worlds import Dots, Tower

from simulacra.core.indices import to_indices
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.hvae import HVAE, HVAEConfig
from simulacra.uses import container
from simulacra.uses.arithmetic import native, portable
from simulacra.uses.bits_back import DIGITS, BitsBack
from simulacra.uses.compress import compress, decompress, describe, model_hash


def net_bits(data: bytes) -> int:
    """Without the container, a head, and the words that were drawn because nothing was written yet."""
    header, payload = container.unpack(data)
    return 8 * len(payload) - 64 - 32 * header["coder"]["drawn"]


@pytest.mark.parametrize("kind", [Dots, Tower])
def test_the_net_length_is_the_bound_of_the_codes_that_were_taken(kind):
    class Recorded(kind):
        def choice_log_probs(self, z, *, y=None):
            self.codes.append(z)
            return super().choice_log_probs(z)

    model = Recorded(size=24)
    x = model.sample(400, rng=0).x
    model.codes = []
    data = compress(model, x)
    z = torch.cat(model.codes[:-1])[-400:]  # the first are the plan's, the last the probe's
    own = kind.choice_log_probs(model, z).gather(2, x.flatten(1).long()[..., None]).sum()
    nats = own + Normal(0.0, 1.0).log_prob(z).sum() - model.posterior(x).log_prob(z).sum()
    ideal = -float(nats.detach()) / math.log(2)
    # a head is up to 32 bits emptier than it began
    assert abs(net_bits(data) - ideal) < 32 + 2e-3 * ideal < 0.01 * ideal
    assert torch.equal(decompress(kind(size=24), rename(data, kind)).x, x)


def rename(data: bytes, kind: type[Dots]) -> bytes:
    """The same file by a model of the class that was recorded."""
    header, payload = container.unpack(data)
    return container.pack({**header, "model": model_hash(kind(size=24))}, payload)


def little_hvae() -> HVAE:
    space = Space(
        fields={"picture": Continuous(low=-1.0, high=1.0, levels=5, shape=(1, 6, 5))},
        y=Classes(names=("a", "b")), measure="5-level pixels",
    )  # fmt: skip
    model = HVAE(HVAEConfig(groups=(1, 2), latent=2, width=4), space)
    with torch.no_grad():  # posteriors of an untrained model say next to nothing
        for j in range(3):
            model.down.group(j).posterior[-1].weight.mul_(40)
        model.down.group(1).posterior[-1].bias[2:] -= 3.0
    return model


@pytest.mark.parametrize("arithmetic", [native, portable], ids=lambda a: a.name)
def test_a_ladder_of_groups_comes_back(arithmetic):
    model = little_hvae()
    y = torch.arange(30) % 2
    x = model.sample(30, y=y, rng=1).x
    data = compress(model, x, y=y, arithmetic=arithmetic, batch=16)
    again = decompress(model, data)
    assert torch.equal(again.x, x)
    assert torch.equal(again.y, y)
    bits = [DIGITS.index(digit) for digit in describe(data)["plan"]["bits"]]
    assert len(bits) == model.latent.size
    assert len(set(bits)) > 2  # groups that say something, and some that say more than others


def test_a_coordinate_is_cut_as_finely_as_its_posteriors_are_narrow():
    class Uneven(Dots):
        """Codes of deviation 1 at the origin, 1/4 and 1/64, which the decoder all but ignores."""

        def posterior(self, x, *, y=None):
            mean = torch.zeros(len(x), 3)
            return Independent(Normal(mean, torch.tensor([1.0, 0.25, 2.0**-6]).expand_as(mean)), 1)

    model = Uneven(latent=3)
    with torch.no_grad():
        model.W.mul_(1e-3)
    x = model.sample(20, rng=0).x
    plan = BitsBack.plan(model, model, to_indices(model.space, x).numpy(), None)
    # half a deviation is the width sqrt(2 pi) / 2^bits of a bin at the middle: 4.3 and 8.3 bits
    assert plan["bits"] == "059"
    # 14 bits at most come off for each example, of which there is
    code = torch.zeros(20, 3)
    says = -model.choice_log_probs(code).gather(2, x.flatten(1).long()[..., None]).sum() / 20
    nats = float(says.detach()) + sum(-math.log(s) + (s * s - 1) / 2 for s in (0.25, 2.0**-6))
    assert plan["ramp"] == math.ceil(14 * math.log(2) / nats)


def test_a_coordinate_that_the_decoder_heeds_is_not_left_at_its_middle():
    class Contrary(Dots):
        """The posterior is the prior, and what the prior's middle is decoded to is the least likely of all."""

        def posterior(self, x, *, y=None):
            return Independent(Normal(torch.zeros(len(x), 2), 1.0), 1)

        def choice_log_probs(self, z, *, y=None):
            logits = 6 * (1 - z[:, :1].square()).expand(-1, 12)
            return torch.nn.functional.logsigmoid(torch.stack([-logits, logits], -1))

    model = Contrary()
    plan = BitsBack.plan(model, model, torch.zeros(20, 12, dtype=torch.int64).numpy(), None)
    assert plan["bits"] == "44"


def test_what_a_file_begins_with_is_little():
    model = Tower(size=24)
    x = model.sample(200, rng=0).x
    header = describe(compress(model, x))
    assert 32 * header["coder"]["drawn"] <= sum(DIGITS.index(digit) for digit in header["plan"]["bits"]) + 64


def test_a_plan_of_other_codes_is_refused():
    model = Tower()
    header, payload = container.unpack(compress(model, model.sample(3, rng=0).x))
    for bits, said in (
        ("44", "codes have 2 coordinates, this model's 4"),
        ("44z4", "a digit of 0 to e for each coordinate of a code; got 44z4"),
    ):
        hurt = container.pack({**header, "plan": {**header["plan"], "bits": bits}}, payload)
        with pytest.raises(ValueError, match=said):
            decompress(model, hurt)


def test_a_posterior_that_is_not_normal_is_refused_by_name():
    class Pointed(Dots):
        def posterior(self, x, *, y=None):
            return Laplace(torch.zeros(len(x), 2), 1.0)

    model = Pointed()
    with pytest.raises(ValueError, match="posteriors that are normal, at once or part after part; got a Laplace"):
        compress(model, model.sample(3, rng=0).x)


def test_codes_that_are_not_numbers_are_refused():
    model = little_hvae()
    with torch.no_grad():
        model.up.down[0].weight.fill_(math.nan)
    with pytest.raises(ValueError, match="codes that are not numbers"):
        compress(model, torch.full((3, 1, 6, 5), -1.0), y=torch.zeros(3, dtype=torch.int64))
