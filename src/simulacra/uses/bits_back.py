"""Bits-back: examples coded by a latent variable model whose codes cost no more than what they say about the example.

A code is taken off what was written before, by q(z | x): these bits come back on reading. Then the example is written
given the code, and the code as its prior has it, N(0, I): -log2 p(x | z) - log2 p(z) + log2 q(z | x) in all, the
evidence bound (Townsend, Bird & Barber 2019, "Practical lossless compression with latent variables using bits back
coding"). Where the posterior decides groups of codes one after another, a ladder's, they are taken off in that order
and put back in reverse; their standardised units cut every group by its own prior given those above it (Townsend,
Bird, Kunze & Barber 2020, "HiLLoC: lossless image compression with hierarchical latent variable models").

What the first example takes off was never written: these initial bits are drawn, and stay in the file. To keep them
few, a coordinate is cut no finer than its posteriors are narrow, and one that says next to nothing is left at its
prior's middle. Interleaving groups (Kingma, Abbeel & Ho 2019, "Bit-Swap") would not help: it puts a group back before
the next one is taken, for which a group's posterior may depend on the group below alone. Here it depends on the
example, which a reader has only once all groups are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from simulacra.core.batch import Batch
from simulacra.core.capabilities import Codec, Factorised, Successive
from simulacra.core.indices import choices, from_indices
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.mathematics import coding
from simulacra.mathematics.coding import (
    CODE_BITS,
    NORMAL_BITS,
    EvenBins,
    NormalBins,
    Stack,
    Whole,
    finder,
    of_symbols,
    shares,
)
from simulacra.uses.arithmetic import PROBE, Rounding
from simulacra.uses.checks import device_of, space_of

AT_ONCE = 1 << 22  # probabilities held at a time
SILENT = 1e-3  # share of the bound that the coordinates left at their prior's middle may say together
DEARER = 3e-3  # share by which examples may cost more for it: twice what the first ones' scatter makes it
COARSEST = 4  # bits of a coordinate that is not: its outermost bins end 1.5 deviations from the middle
SHARE = 0.5  # a bin is at most so many of the posterior's deviations wide
DIGITS = "0123456789abcde"

# (where in the live coordinates, the normals over their bins, row after row) -> bins, (b * coordinates,)
Choose = Callable[[slice, NormalBins], Whole]


class BitsBack:
    """A code from q(z | x) off the stack, the example given the code onto it, then the code as the prior has it.

    plan  bits: a hexadecimal digit for each coordinate of a code, into how many bins it is cut; ramp: see ``Scheme``.
    """

    name = "bits-back"

    def __init__(self, codec: Codec, factorised: Factorised, rounding: Rounding, plan: Mapping[str, Any]) -> None:
        self.codec, self.factorised, self.rounding = codec, factorised, rounding
        self.space, self.shape = space_of(codec, "compress"), codec.latent.only.shape
        if not set(plan["bits"]) <= set(DIGITS):
            raise ValueError(f"a plan has a digit of 0 to e for each coordinate of a code; got {plan['bits']}")
        bits = np.array([DIGITS.index(digit) for digit in plan["bits"]], np.int64)
        if len(bits) != codec.latent.size:
            raise ValueError(f"the file's codes have {len(bits)} coordinates, this model's {codec.latent.size}")
        self.live = np.flatnonzero(bits)
        self.drop = CODE_BITS - bits[self.live]
        self.ramp = int(plan["ramp"])

    @staticmethod
    def plan(codec: Codec, factorised: Factorised, x: Whole, y: Whole | None) -> dict[str, Any]:
        """How finely codes are cut and how fast batches may grow, by what the first examples come to."""
        none = np.zeros(codec.latent.size, bool)
        mean, scale, nats = _tried(codec, factorised, x, y, none)
        says = _says(mean, scale)
        # a bin at z is sqrt(2 pi) exp(z^2 / 2) / 2^bits wide
        wide = 0.5 * math.log2(2 * math.pi) + (mean**2 / 2) / math.log(2)
        bits = np.ceil((wide - np.log2(SHARE * scale)).max(0)).clip(COARSEST, CODE_BITS).astype(np.int64)
        order = np.argsort(says, kind="stable")
        for share in (SILENT, SILENT / 10):
            silent = none.copy()
            silent[order[np.cumsum(says[order]) < share * nats]] = True
            # that a posterior is the prior does not mean that the decoder, half trained, takes no notice
            if _tried(codec, factorised, x, y, silent)[2] <= (1 + DEARER) * nats:
                bits[silent] = 0
                break
        return {
            "bits": "".join(DIGITS[b] for b in bits),
            "ramp": max(1, math.ceil(bits.sum() * math.log(2) / max(nats, 1.0))),
        }

    def push(self, stack: Stack, number: int, x: Whole, y: Whole | None) -> None:
        code = np.empty((len(x), len(self.live)), np.int64)

        def choose(where: slice, bins: NormalBins) -> Whole:
            taken = stack.pop(len(bins.mean), bins.find, NORMAL_BITS)
            code[:, where] = taken.reshape(len(x), -1)
            return taken

        self._posteriors(x, y, number, choose)
        for rows, count in self._values(code, y, number):
            stack.push(*of_symbols(count, x.reshape(-1)[rows]))
        stack.push(*self._prior(len(x)).of_symbols(code.reshape(-1)), CODE_BITS)

    def pop(self, stack: Stack, number: int, b: int, y: Whole | None) -> Whole:
        code = stack.pop(b * len(self.live), self._prior(b).find, CODE_BITS).reshape(b, -1)
        x = np.empty(b * self.space.size, np.int64)
        for rows, count in reversed(list(self._values(code, y, number))):
            x[rows] = stack.pop(len(count), finder(count))
        x = x.reshape(b, -1)
        for bins, index in reversed(self._given(x, y, number, code)):
            stack.push(*bins.of_symbols(index), NORMAL_BITS)
        return x

    def probe(self, b: int, y: Whole | None) -> list[Whole]:
        rng = Rng(0)("probe")
        code = rng("z").integers(1 << CODE_BITS, (b, len(self.live))).numpy() >> self.drop
        u = rng("x").uniform((b, self.space.size), dtype=torch.float64).numpy()
        x = np.floor(u * _each_choices(self.space)).astype(np.int64)
        normals = [numbers for bins, _ in self._given(x, y, PROBE, code) for numbers in (bins.mean, bins.log_scale)]
        return [*normals, *(count for _, count in self._values(code, y, PROBE))]

    def _given(self, x: Whole, y: Whole | None, number: int, code: Whole) -> list[tuple[NormalBins, Whole]]:
        """Each group's normals and bins, of a code that is known."""
        found: list[tuple[NormalBins, Whole]] = []

        def choose(where: slice, bins: NormalBins) -> Whole:
            found.append((bins, code[:, where].reshape(-1)))
            return found[-1][1]

        self._posteriors(x, y, number, choose)
        return found

    def _posteriors(self, x: Whole, y: Whole | None, number: int, choose: Choose) -> None:
        """Asks for the bins of every group's live coordinates, in the order that the posterior decides them."""
        first, group = 0, 0

        def pick(normal: Normal) -> Tensor:
            nonlocal first, group
            size = normal.mean.shape[1]
            where = slice(*np.searchsorted(self.live, [first, first + size]).tolist())
            own = torch.from_numpy(self.live[where] - first).to(normal.mean.device)
            mean, scale = (t.index_select(1, own).flatten() for t in (normal.mean, normal.stddev))
            bins = NormalBins(
                self.rounding.means(mean, number, 3 * group), self.rounding.log_scales(scale, number, 3 * group + 1),
                np.tile(self.drop[where], len(x)),
            )  # fmt: skip
            index = choose(where, bins)
            first, group = first + size, group + 1
            z = torch.from_numpy(coding.centres(index, bins.drop)).to(normal.mean).reshape(len(x), -1)
            return torch.zeros_like(normal.mean).index_copy(1, own, z)

        _decide(_posterior(self.codec, self.space, x, self._tensor(y)), pick)

    def _values(self, code: Whole, y: Whole | None, number: int) -> Iterator[tuple[slice, Whole]]:
        """Shares of every element's values given codes, in pieces of what is held at a time."""
        like = next(self.codec.parameters(), None) if isinstance(self.codec, nn.Module) else None
        z = torch.zeros(len(code), self.codec.latent.size, dtype=torch.float64)
        z[:, torch.from_numpy(self.live)] = torch.from_numpy(coding.centres(code, self.drop))
        z = z.reshape(-1, *self.shape).to(torch.get_default_dtype() if like is None else like)
        log_probs = self.factorised.choice_log_probs(z, y=self._tensor(y)).flatten(0, 1)
        at_once = max(1, AT_ONCE // log_probs.shape[1])
        for i, first in enumerate(range(0, len(log_probs), at_once)):
            rows = slice(first, min(first + at_once, len(log_probs)))
            yield rows, shares(self.rounding.log_probs(log_probs[rows], number, 3 * i + 2))

    def _prior(self, b: int) -> EvenBins:
        return EvenBins(np.tile(self.drop, b))

    def _tensor(self, y: Whole | None) -> Tensor | None:
        return None if y is None else torch.from_numpy(y).to(device_of(self.codec))


def _posterior(codec: Codec, space: Space, x: Whole, y: Tensor | None) -> Any:
    return codec.posterior(Batch(x=from_indices(space, torch.from_numpy(x))).to(device_of(codec)).x, y=y)


def _decide(q: Any, pick: Callable[[Normal], Tensor]) -> Tensor:
    """The code that is picked from a posterior, part after part or whole; ValueError for one that is not normal."""
    if isinstance(q, Successive):
        return q.decide(pick)
    normal = q.base_dist if isinstance(q, Independent) else q
    if not isinstance(normal, Normal):
        raise ValueError(f"bits-back needs posteriors that are normal, at once or part after part; got a {normal}")
    return pick(Normal(normal.mean.flatten(1), normal.stddev.flatten(1), validate_args=False))


def _tried(
    codec: Codec, factorised: Factorised, x: Whole, y: Whole | None, silent: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Posteriors' means and deviations (n, size) of codes that are drawn, and the bound's cost of an example, nats.

    silent  (size,): coordinates that are left at their prior's middle, and cost nothing.
    """
    space, found, rng = space_of(codec, "compress"), list[Normal](), Rng(0)("plan")
    given = None if y is None else torch.from_numpy(y).to(device_of(codec))
    live = torch.from_numpy(~silent).to(device_of(codec))
    first = 0

    def pick(normal: Normal) -> Tensor:
        nonlocal first
        like, size = normal.mean, normal.mean.shape[1]
        noise = rng(len(found)).normal(like.shape, dtype=like.dtype, device=like.device)
        found.append(normal)
        first += size
        return (like + normal.stddev * noise) * live[first - size : first]

    code = _decide(_posterior(codec, space, x, given), pick)
    mean = torch.cat([normal.mean for normal in found], 1).detach().double().cpu().numpy()
    scale = torch.cat([normal.stddev for normal in found], 1).detach().double().cpu().numpy()
    if np.isnan(mean).any() or np.isnan(scale).any():
        raise ValueError("the model gives codes that are not numbers: look for diverged weights")
    log_probs = factorised.choice_log_probs(code.reshape(len(x), *codec.latent.only.shape), y=given)
    own = log_probs.gather(2, torch.from_numpy(x).to(log_probs.device)[..., None])
    scale = np.maximum(scale, 1e-30)
    return mean, scale, float(_says(mean, scale)[~silent].sum() - float(own.detach().double().sum()) / len(x))


def _says(mean: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """KL(N(mean, scale^2) || N(0, 1)) of each coordinate, averaged over examples, nats (size,)."""
    return ((mean**2 + scale**2 - 1) / 2 - np.log(scale)).mean(0)


def _each_choices(space: Space) -> Whole:
    return np.concatenate([np.full(int(np.prod(f.shape)), choices(f)) for f in space.fields.values()])
