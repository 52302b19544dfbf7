"""How a model's numbers become whole numbers that two machines agree on.

A coder needs exactly the same whole numbers on both sides. Rounding alone does not give them: wherever a number lies
next to a boundary between two of them, the last bits of a machine's arithmetic decide. Two ways are offered:

``native``    the model as it is, in its own precision. Fast; what is written is read with the same weights, on the same
              kind of device, with the same version of torch, number of threads and so on. Where any of that differs the
              probe's digest tells, nearly always before anything is decoded, and that of the contents tells always.
``portable``  the model in float64. A number within ``guard`` grid steps of a boundary, about 2**-30 of a bit, is
              written down as an exception and rounded down on both sides, so two machines agree as long as their
              float64 results differ by less than that: some ten thousand times what reordering float64 sums usually
              does. All after the rounding is integer arithmetic. What is guaranteed is this condition, not that every
              network in every future library fulfils it: one that amplifies rounding errors from 1e-13 to 1e-9 may
              not, and is then refused by the same digests. Probabilities that are looked up are exact anyway.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from simulacra.mathematics.coding import MEAN_STEPS, NARROWEST, SCALE_STEPS, SMALLEST, STEPS, WIDEST, Whole

Exception_ = tuple[int, int, int]  # batch, site in it, place in the flattened numbers of that site
PROBE = -1  # the number of the batch that is none: the probe's, and the labels'


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """How a model is evaluated for a coder: dtype None is its own; guard in grid steps, see above."""

    name: str
    dtype: torch.dtype | None = None
    guard: float = 0.0

    @contextmanager
    def model(self, model: object) -> Iterator[object]:
        """The model to ask, in this arithmetic; the one given is left as it is."""
        if self.dtype is None:
            yield model
            return
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)  # what a model makes of categories and levels has the default dtype
        try:
            yield copy.deepcopy(model).to(self.dtype) if isinstance(model, nn.Module) else model
        finally:
            torch.set_default_dtype(before)


native = Arithmetic(name="native")
portable = Arithmetic(name="portable", dtype=torch.float64, guard=2.0**-24)
ARITHMETICS = {a.name: a for a in (native, portable)}


class Rounding:
    """Numbers to whole numbers, the same on both sides.

    exceptions  None on the writing side, which finds them; what it found, on the reading side.
    """

    def __init__(self, arithmetic: Arithmetic, exceptions: Iterable[Exception_] | None = None) -> None:
        self.guard = arithmetic.guard
        self.found: list[Exception_] | None = [] if exceptions is None else None
        self._known: dict[tuple[int, int], list[int]] = {}
        for batch, site, place in exceptions or ():
            self._known.setdefault((batch, site), []).append(place)

    def log_probs(self, nats: Tensor, batch: int, site: int) -> Whole:
        """-log2 p in 64ths of a bit, 0 .. 1921 (impossible), of log p in nats; ValueError for NaN."""
        values = nats.detach().double().cpu().numpy()
        if np.isnan(values).any():
            raise ValueError("the model gives probabilities that are not numbers: look for diverged weights")
        # beyond the smallest that is told apart, and -inf, count as impossible
        return self._whole(np.clip(values * (-STEPS / np.log(2.0)), 0, SMALLEST + 1), batch, site)

    def means(self, mean: Tensor, batch: int, site: int) -> Whole:
        """In steps of 2**-11, within +-16."""
        values = mean.detach().double().cpu().numpy() * MEAN_STEPS
        return self._whole(np.clip(_number(values), -16 * MEAN_STEPS, 16 * MEAN_STEPS), batch, site)

    def log_scales(self, scale: Tensor, batch: int, site: int) -> Whole:
        """log2 of a spread, in 1/32, within what is tabled."""
        values = np.log2(np.maximum(_number(scale.detach().double().cpu().numpy()), 1e-30)) * SCALE_STEPS
        return self._whole(np.clip(values, NARROWEST, WIDEST), batch, site)

    def _whole(self, values: np.ndarray, batch: int, site: int) -> Whole:
        whole = np.rint(values).astype(np.int64)
        if self.guard == 0:
            return whole
        down = np.floor(values).astype(np.int64).reshape(-1)
        if self.found is None:
            places = self._known.get((batch, site), [])
            if places and max(places) >= down.size:
                raise ValueError("an exception lies outside the numbers it belongs to; the file is damaged")
        else:
            fraction = values - np.floor(values)
            places = np.flatnonzero(np.abs(fraction - 0.5).reshape(-1) < self.guard).tolist()
            self.found.extend((batch, site, place) for place in places)
        flat = whole.reshape(-1)
        flat[places] = down[places]
        return flat.reshape(whole.shape)


def _number(values: np.ndarray) -> np.ndarray:
    if np.isnan(values).any():
        raise ValueError("the model gives codes that are not numbers: look for diverged weights")
    return values
