"""The mark in the latent: marginally normal, fresh in every sample, found by whatever inverts, with an exact null."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.mathematics.significance import binomial_p
from simulacra.responsibility import inversion
from simulacra.responsibility.inversion import recovered
from simulacra.responsibility.keys import Key
from simulacra.responsibility.latent import LatentMark, checked, pilots

SIZE = 96
FIELD = Continuous(low=-math.inf, high=math.inf, shape=(SIZE,))
CODES = Space(fields={"z": FIELD}, measure="codes")


def key(number: int) -> Key:
    return Key(secret=number.to_bytes(32, "big"))


def mark(number: int = 0, nonces: int = 4096) -> LatentMark:
    return LatentMark(key=key(number), nonces=nonces)


class Drawing:
    """x = 2 z + its class: what draws from a latent."""

    space = Space(fields={"x": FIELD}, y=Classes(names=("a", "b")), measure="points")

    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        rng = Rng.of(rng)
        y = rng("y").integers(2, (n,)) if y is None else y
        z = torch.cat([rng.rows(at)("z").normal((min(3, n - at), SIZE)) for at in range(0, n, 3)])
        return Batch(x=2 * z + 3 * y[:, None], y=y)


class Inverting(Drawing):
    latent = CODES

    def to_latent(self, x: Tensor, *, y: Tensor | None = None):
        assert y is not None
        return (x - 3 * y[:, None]) / 2, x.new_full((len(x),), -SIZE * math.log(2))

    def from_latent(self, z: Tensor, *, y: Tensor) -> Tensor:
        return 2 * z + 3 * y[:, None]


class Coding(Drawing):
    latent = CODES
    decode = Inverting.from_latent

    def encode(self, x: Tensor, *, y: Tensor | None = None) -> Tensor:
        assert y is not None
        return (x - 3 * y[:, None]) / 2


class Denoising(Drawing):
    """The same distribution, of which only E[clean | noisy] is known: a Gaussian's."""

    space = Space(fields={"x": FIELD}, measure="points")

    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        return Batch(x=2 * Rng.of(rng)("z").normal((n, SIZE)))

    def denoise(self, x: Tensor, sigma: Tensor, *, y: Tensor | None = None) -> Tensor:
        return x * (4 / (4 + torch.as_tensor(sigma).reshape(-1, 1) ** 2))


class Generating(Drawing):
    """A generator that mixes its latent, and knows no way back."""

    latent = CODES
    rotation = torch.linalg.qr(Rng(0)("rotation").normal((SIZE, SIZE)))[0]

    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        y = torch.zeros(n, dtype=torch.int64) if y is None else y
        return Batch(x=self.decode(Rng.of(rng)("z").normal((n, SIZE)), y=y), y=y)

    def decode(self, z: Tensor, *, y: Tensor) -> Tensor:
        return torch.tanh(0.3 * z @ self.rotation) + y[:, None]


class Through:
    """A model of another's codes."""

    space = Space(fields={"x": FIELD}, y=Classes(names=("a", "b")), measure="points")
    codec, inner = Coding(), Inverting()

    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        codes = self.inner.sample(n, y=y, rng=rng)
        return Batch(x=self.codec.decode(codes.x, y=codes.y), y=codes.y)


MODELS = (Inverting, Coding, Denoising, Generating, Through)


@pytest.mark.parametrize("kind", MODELS, ids=lambda k: k.__name__)
def test_it_is_found_by_what_a_model_can_do(kind, monkeypatch):
    monkeypatch.setattr(inversion, "STARTS", 1)
    monkeypatch.setattr(inversion, "STEPS", 100)
    model, signed = kind(), mark().rng(5)
    x = model.sample(7, rng=signed).x
    assert all(v.p < 1e-12 for v in checked(model, x, signed))
    codes = list(recovered(model, x))
    assert not any(v.found(1e-3) for v in mark(1).look(codes))
    plain = list(recovered(model, model.sample(7, rng=5).x))
    assert not any(v.found(1e-3) for v in mark().look(plain))


def test_samples_do_not_depend_on_how_many_are_drawn():
    few, many = (Inverting().sample(n, rng=mark().rng(5)).x for n in (4, 9))
    assert torch.equal(few, many[:4])


def test_a_latent_is_normal_over_keys_and_only_its_signs_are_changed():
    size, keys = 64, 200
    z = torch.stack([mark(k).rng(1)("z").normal((2, size)) for k in range(keys)])
    plain = Rng(1)("z").normal((2, size))
    assert torch.equal(z.abs(), plain.abs().expand(keys, 2, size))
    # over keys each sign is a fair coin, on its own and beside any other: of the same sample or of two
    signs = z.sign().reshape(keys, -1)
    pairs = (signs.T @ signs / math.sqrt(keys))[*np.triu_indices(2 * size, 1)]
    assert float(stats.kstest((signs.sum(0) / math.sqrt(keys)).numpy(), "norm").pvalue) > 1e-4
    assert abs(float(pairs.square().mean()) - 1) < 5 * math.sqrt(2 / len(pairs))
    # and over seeds with one key, numbers are those of N(0, 1)
    one = torch.cat([mark().rng(s)("z").normal((4, size)) for s in range(40)])
    assert float(stats.kstest(one.flatten().numpy(), "norm").pvalue) > 1e-4


def test_samples_of_one_key_are_uncorrelated():
    z = mark().rng(2)("z").normal((400, 64))
    between = (z @ z.T / 8)[*np.triu_indices(400, 1)]
    assert abs(float(between.mean())) < 5 / math.sqrt(len(between))
    assert abs(float(between.square().mean()) - 1) < 0.05
    # nor are two coordinates of them, which a pad that is the same for all samples would tie together
    across = (z.T @ z / 20)[*np.triu_indices(64, 1)]
    assert abs(float(across.square().mean()) - 1) < 5 * math.sqrt(2 / len(across))


def test_the_null_is_exact_over_keys():
    z = [Rng(0)("other").normal((1, 64)), Rng(1)("other").normal((1, 64))]
    found = [mark(k, 100).look(z[:1])[0] for k in range(400)]
    for rate in (0.3, 0.05):
        levels = (-math.expm1(100 * math.log1p(-binomial_p(m, 64))) for m in range(20, 65))
        level = max(p for p in levels if p <= rate)
        hits = sum(v.p <= rate * (1 + 1e-12) for v in found)
        assert stats.binomtest(hits, len(found), level).pvalue > 1e-4
    # two conditions tried: p is doubled
    (both,), (one,) = mark(0, 100).look(z), mark(0, 100).look(z[:1])
    assert both.looks == 200
    assert both.p >= one.p or both.matches > one.matches


def test_a_message_is_read_and_none_where_none_was_given():
    message = tuple(bool(int(b)) for b in "1011001110001011")
    for given in (message, message[:3], ()):
        z = mark().rng(3, given)("z").normal((3, 600))
        noisy = z + 0.2 * Rng(0)("noise").normal(z.shape)
        for v in mark().look([noisy]):
            assert v.p < 1e-9
            assert v.message == ((*given, *[False] * (16 - len(given))) if given else None)
    assert len(pilots(key(0), 600)) == 600 - 16 * 4


def test_what_cannot_be_marked_is_refused():
    with pytest.raises(ValueError, match="a latent of 63 numbers is too small"):
        mark().rng(0)("z").normal((2, 63))
    with pytest.raises(ValueError, match="a message needs a latent of 512 numbers or more; this one has 64"):
        mark().rng(0, (True,))("z").normal((2, 64))
    with pytest.raises(ValueError, match="at most 16 bits; got 17"):
        mark().rng(0, (True,) * 17)
    with pytest.raises(ValueError, match="at most 4,096 samples a seed; got 4,097"):
        mark().rng(0).rows(4000)("z").normal((97, 64))
    with pytest.raises(ValueError, match=r"1 \.\. 2\*\*32; got 0"):
        mark(nonces=0)


def test_samples_that_are_not_marked_are_never_passed_off_as_marked():
    signed = mark().rng(0)
    with pytest.raises(ValueError, match="drew 0 for 2 samples"):
        checked(Inverting(), Inverting().sample(2, rng=0).x, signed)
    signed = mark().rng(0)
    x = Inverting().sample(4, rng=signed).x
    x[2] = Rng(9)("another").normal((SIZE,))
    with pytest.raises(ValueError, match="stays in 3 of these 4 samples"):
        checked(Inverting(), x, signed)
    with pytest.raises(
        ValueError, match="an Invertible, an Encoder to real numbers, a Denoiser or a Decoder; Drawing is"
    ):
        list(recovered(Drawing(), x))
