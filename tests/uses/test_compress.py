"""Compression: what comes out is what went in, of the length the model's own bound says, and no fault is silent."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import replace

import pytest
import torch
from worlds import Chain, Dots

from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.families.gan import GAN, GANConfig
from simulacra.families.vae import VAE, VAEConfig
from simulacra.nets.backbones import Dense
from simulacra.uses import container
from simulacra.uses.arithmetic import ARITHMETICS, Arithmetic, Rounding, native, portable
from simulacra.uses.compress import compress, decompress, describe


def bits(data: bytes) -> int:
    return 8 * len(container.unpack(data)[1])


def little_vae(**changes) -> VAE:
    space = Space(
        fields={"picture": Continuous(low=-1.0, high=1.0, levels=5, shape=(1, 4, 4))},
        y=Classes(names=("a", "b")), measure="5-level pixels",
    )  # fmt: skip
    return VAE(VAEConfig(latent=3, networks=Dense(hidden=(8,)), **changes), space)


@pytest.mark.parametrize("arithmetic", [native, portable], ids=lambda a: a.name)
@pytest.mark.parametrize("model", [Chain(), Chain(classes=2), Dots(), little_vae()], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("n", [1, 70])
def test_what_comes_out_is_what_went_in(model, arithmetic, n):
    given = model.space.y is not None
    y = Rng(0)("y").integers(2, (n,)) if given else None
    x = model.sample(n, y=y, rng=1).x
    again = decompress(model, compress(model, x, y=y, arithmetic=arithmetic, batch=16))
    assert torch.equal(again.x, x)
    assert (again.y is None) if y is None else torch.equal(again.y, y)
    assert again.x.dtype == x.dtype


@pytest.mark.parametrize("arithmetic", [native, portable], ids=lambda a: a.name)
def test_an_exact_density_costs_its_own_log_probability(arithmetic):
    model = Chain(side=6, levels=4)
    x = model.sample(400, rng=0).x
    ideal = -float(model.log_likelihood(x).nats.double().sum()) / math.log(2)
    # one lane: 31 bits of nothing below, up to 32 unfilled above
    assert abs(bits(compress(model, x, arithmetic=arithmetic)) - 31 - ideal) < 33 + 1e-3 * ideal


def test_bits_back_costs_the_bound_and_no_more():
    model = Dots(size=24)
    x = model.sample(1500, rng=0).x
    once = torch.stack([model.elbo(x, Rng(1)("once", i), 1) for i in range(20)])
    ideal = -float(once.mean(0).sum()) / math.log(2)
    # what is coded is one draw of each bound; it begins with two codes of 14 bits each, and a head
    error = float(once.std(0).square().sum().sqrt()) / math.log(2)
    assert -4 * error < bits(compress(model, x)) - ideal < 4 * error + 150
    assert 4 * error + 150 < 0.03 * ideal


def test_labels_cost_their_own_information_and_may_be_left_to_the_model():
    model = Chain(side=4, classes=3)
    y = Rng(0)("y").categorical(model.label_log_prob().expand(300, 3))
    x = model.sample(300, y=y, rng=0).x
    ideal = -(float(model.log_likelihood(x, y=y).nats.sum()) + float(model.label_log_prob()[y].sum())) / math.log(2)
    assert abs(bits(compress(model, x, y=y)) - 31 - ideal) < 33 + 1e-3 * ideal
    chosen = decompress(model, data := compress(model, x))
    assert torch.equal(chosen.x, x)
    joint = torch.stack([
        model.log_likelihood(x, y=torch.full((300,), c)).nats + model.label_log_prob()[c] for c in range(3)
    ])  # fmt: skip
    assert torch.equal(chosen.y, joint.argmax(0))
    assert len(data) <= len(compress(model, x, y=y))


def small():
    model = Chain()
    x = model.sample(5, rng=3).x
    return model, x, compress(model, x)


def test_a_file_cut_short_anywhere_is_told():
    model, _, data = small()
    for length in range(len(data)):
        with pytest.raises(ValueError, match=r"cut short|not a compressed file") as caught:
            decompress(model, data[:length])
        assert "\n" not in str(caught.value)


def test_a_flipped_bit_anywhere_is_told():
    _, _, data = small()
    for place in range(8 * len(data)):
        hurt = bytearray(data)
        hurt[place // 8] ^= 1 << place % 8
        with pytest.raises(ValueError, match=r"damaged|cut short|not a compressed file"):
            container.unpack(bytes(hurt))


def test_too_many_bytes_are_told():
    with pytest.raises(ValueError, match="damaged"):
        decompress(small()[0], small()[2] + b"\0")


def test_damage_behind_a_checksum_that_fits_is_told_by_the_stack_or_the_contents():
    model, x, data = small()
    header, payload = container.unpack(data)
    silent = 0
    for place in range(0, 8 * len(payload), 3):
        hurt = bytearray(payload)
        hurt[place // 8] ^= 1 << place % 8
        try:
            silent += not torch.equal(decompress(model, container.pack(header, bytes(hurt))).x, x)
        except ValueError:
            continue
    assert silent == 0


def rewritten(data: bytes, **changes) -> bytes:
    header, payload = container.unpack(data)
    return container.pack({**header, **changes}, payload)


def test_another_model_space_version_or_arithmetic_is_refused():
    model, _, data = small()
    with pytest.raises(ValueError, match="written with another model"):
        decompress(Chain(seed=1), data)
    with pytest.raises(ValueError, match="another space"):
        decompress(Chain(levels=4), data)
    with pytest.raises(ValueError, match="arithmetic differs from the writer's: torch 1.0 then"):
        decompress(model, rewritten(data, probe="0" * 32, made={**describe(data)["made"], "torch": "1.0"}))
    with pytest.raises(ValueError, match="backend is rans-128/64; expected rans"):
        decompress(model, rewritten(data, backend="rans-128/64"))
    with pytest.raises(ValueError, match="lacks what it must say"):
        decompress(model, container.pack({"scheme": "walk"}, b""))
    version = bytearray(data)
    version[4:6] = (3).to_bytes(2, "little")
    body = bytes(version[:-4])
    with pytest.raises(ValueError, match="format 3, this version reads 2"):
        decompress(model, body + zlib.crc32(body).to_bytes(4, "little"))


class Shaken(Chain):
    """The same chain on a machine whose arithmetic differs in the last bits."""

    def walk(self, n: int, *, y=None):
        walk = super().walk(n, y=y)
        walk.log_p = walk.log_p + self.shake * torch.sin(1e3 * walk.log_p)
        return walk


def shaken(shake: float) -> Shaken:
    model = Shaken(side=5, levels=16)
    model.shake = shake
    return model


def test_portable_files_are_read_where_the_arithmetic_differs_a_little_and_refused_where_it_differs_more():
    x = shaken(0.0).sample(60, rng=0).x
    data = compress(shaken(0.0), x, arithmetic=portable)
    for shake in (1e-12, -1e-12):
        assert torch.equal(decompress(shaken(shake), data).x, x)
    with pytest.raises(ValueError, match="arithmetic differs|not what was written"):
        decompress(shaken(1e-2), data)


class ShakenDots(Dots):
    def posterior(self, x, *, y=None):
        q = super().posterior(x)
        q.base_dist.loc = q.base_dist.loc + 0.1 * self.shake * torch.sin(1e3 * q.base_dist.loc)
        return q

    def choice_log_probs(self, z, *, y=None):
        log_p = super().choice_log_probs(z)
        return log_p + self.shake * torch.sin(1e3 * log_p)


@pytest.mark.parametrize("make", [lambda: Shaken(side=5, levels=16, classes=2), ShakenDots], ids=["walk", "bits-back"])
def test_exceptions_carry_a_file_over_as_far_as_the_guard_says(make, monkeypatch):
    wide = replace(portable, guard=0.05)  # of a 64th of a bit, and of 2**-11 of a mean
    monkeypatch.setitem(ARITHMETICS, "portable", wide)
    here, there = make(), make()
    here.shake, there.shake = 0.0, 1e-4
    y = torch.arange(40) % 2 if here.space.y is not None else None
    x = here.sample(40, y=y, rng=0).x
    data = compress(here, x, y=y, arithmetic=wide, batch=7)
    assert len(describe(data)["exceptions"]) > 100
    assert torch.equal(decompress(there, data).x, x)
    there.shake = 1e-3
    with pytest.raises(ValueError, match="arithmetic differs|not what was written|not the probabilities"):
        decompress(there, data)


def test_numbers_next_to_a_boundary_round_alike_on_both_sides():
    wide = Arithmetic(name="wide", dtype=torch.float64, guard=0.05)
    nats = -Rng(0)("p").uniform((2000, 3), dtype=torch.float64) * 8
    off = 4e-4 * (2 * Rng(0)("off").uniform(nats.shape, dtype=torch.float64) - 1)  # up to 0.04 steps
    here = Rounding(wide)
    whole = here.log_probs(nats, 0, 0)
    there = Rounding(wide, here.found).log_probs(nats + off, 0, 0)
    assert len(here.found) == pytest.approx(0.1 * nats.numel(), rel=0.2)
    assert (whole == there).all()
    assert (Rounding(wide, []).log_probs(nats + off, 0, 0) != whole).any()  # it is the exceptions that do it


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.full((2, 1, 3, 3), 0.1), "3 levels in"),
        (torch.full((2, 1, 3, 3), 2.0), "3 levels in"),
        (torch.full((2, 1, 3, 3), math.nan), "NaN"),
        (torch.zeros(2, 1, 3, 4), "shape"),
        (torch.zeros(2, 1, 3, 3, dtype=torch.int64), "floating point"),
        (torch.zeros(0, 1, 3, 3), "at least one"),
        ({"other": torch.zeros(2, 1, 3, 3)}, "must have the fields"),
    ],
)
def test_what_is_not_of_the_space_is_refused(x, said):
    with pytest.raises(ValueError, match=said) as caught:
        compress(Chain(), x)
    assert "\n" not in str(caught.value)


def test_classes_that_do_not_exist_are_refused():
    model = Chain(classes=2)
    x = model.sample(3, y=torch.zeros(3, dtype=torch.int64), rng=0).x
    for y, said in ((torch.tensor([0, 1, 2]), "0 .. 1; got 0 .. 2"), (torch.zeros(2, dtype=torch.int64), r"\(3,\)")):
        with pytest.raises(ValueError, match=said):
            compress(model, x, y=y)
    with pytest.raises(ValueError, match="without classes"):
        compress(Chain(), x, y=torch.zeros(3, dtype=torch.int64))


def test_models_that_cannot_code_are_refused_by_name():
    square = Space(fields={"picture": Continuous(low=-1.0, high=1.0, levels=5, shape=(1, 4, 4))})
    with pytest.raises(ValueError, match="compress needs a Codec"):
        compress(GAN(GANConfig(generator=(8,), critic=(8,)), square), torch.zeros(1, 1, 4, 4))
    real = Space(fields={"x": Continuous(low=-math.inf, high=math.inf, shape=(2,))})
    with pytest.raises(ValueError, match="real numbers, which have no shortest form"):
        compress(VAE(VAEConfig(latent=2), real), torch.zeros(1, 2))
    words = Space(fields={"w": Categorical(k=3, shape=(4,), varying=True)})
    with pytest.raises(ValueError, match="varies in length"):
        compress(VAE(VAEConfig(latent=2), words), torch.zeros(1, 4, dtype=torch.int64))


def test_fields_of_several_kinds_are_coded_together():
    space = Space(fields={
        "job": Categorical(k=3), "mark": Continuous(low=1.0, high=5.0, levels=5), "pair": Categorical(k=2, shape=(2,)),
    })  # fmt: skip
    model = VAE(VAEConfig(latent=2, networks=Dense(hidden=(8,))), space)
    x = model.sample(40, rng=0).x
    for arithmetic in (native, portable):
        again = decompress(model, compress(model, x, arithmetic=arithmetic)).x
        assert all(torch.equal(again[name], x[name]) for name in x)


def test_the_header_says_what_it_takes():
    header = describe(small()[2])
    assert json.dumps(header)
    assert header["count"] == 5
    assert {"scheme", "backend", "batch", "plan", "model", "space", "probe", "contents", "made"} <= set(header)
