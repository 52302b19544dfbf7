"""A column of numbers as a component of a mixture and the offset within: what adversarial families take."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simulacra.core.space import Categorical, Continuous, Field
from simulacra.modalities.tables.cells import snapped
from simulacra.modalities.tables.columns import MISSING, Fitted, normal_at
from simulacra.modalities.tables.schema import Column, written_number

LEAST_WEIGHT = 0.005  # of a component that is kept (Xu et al. 2019, CTGAN's released settings)
FITTED_TO = 10_000  # rows that a mixture is fitted to, evenly taken
STEP = 0.499  # how far into the neighbouring steps a jittered number may lie: less than half


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Numbers as a component of a Gaussian mixture and the offset within: what adversarial families take.

    components  at most so many; a variational mixture leaves out those that it does not need.
    """

    components: int = 10

    def __call__(self, column: Column, cells: np.ndarray, missing: bool) -> Fitted:
        from sklearn.mixture import BayesianGaussianMixture

        held = cells[np.isfinite(cells) & ~np.isin(cells, np.array(column.peaks))]
        if not len(held):
            return Mixed(column, missing, (), (), (), column.peaks)
        some = held[np.linspace(0, len(held) - 1, min(len(held), FITTED_TO)).astype(np.int64)]
        spread = float(some.std()) or 1.0
        scaled = (some - some.mean()) / spread
        k = min(self.components, len(np.unique(scaled)))
        found = BayesianGaussianMixture(
            n_components=k, weight_concentration_prior=1e-3, max_iter=100, random_state=0, init_params="k-means++"
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one that has not converged after 100 rounds is good enough here
            found.fit(scaled[:, None])
        kept = found.weights_ > LEAST_WEIGHT
        means = found.means_[kept, 0] * spread + some.mean()
        deviations = np.sqrt(found.covariances_[kept].reshape(-1)) * spread
        weights = found.weights_[kept] / found.weights_[kept].sum()
        return Mixed(
            column, missing, tuple(means.tolist()), tuple(deviations.tolist()), tuple(weights.tolist()), column.peaks
        )


@dataclass(frozen=True)
class Mixed:
    """A column of numbers as a component of a mixture and the standardised offset from its mean (mode-specific
    normalisation, Xu et al. 2019, section 4.2); peaks and what is missing are components of their own, whose offset is
    noise.
    """

    column: Column
    missing: bool
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    weights: tuple[float, ...]
    peaks: tuple[float, ...]

    @property
    def fields(self) -> Mapping[str, Field]:
        return self._fields

    @cached_property
    def _fields(self) -> Mapping[str, Field]:
        told = [*(f"around {m:.4g}" for m in self.means), *(written_number(self.column, p) for p in self.peaks)]
        names = (*told, MISSING) if self.missing else tuple(told)
        offset = Continuous(low=-math.inf, high=math.inf)
        return {self.column.name: Categorical(k=len(names), names=names), f"{self.column.name}.offset": offset}

    def encode(self, cells: np.ndarray) -> dict[str, np.ndarray]:
        n, gone = len(self.means), np.isnan(cells)
        index, offset = np.zeros(len(cells), np.int64), np.zeros(len(cells))
        if n:
            means, deviations = np.array(self.means), np.array(self.deviations)
            apart = (np.where(np.isfinite(cells), cells, 0.0)[:, None] - means) / deviations
            index = (np.log(self.weights) - np.log(deviations) - 0.5 * apart**2).argmax(1)
            offset = np.take_along_axis(apart, index[:, None], 1)[:, 0]
        for i, peak in enumerate(self.peaks):
            index = np.where(cells == peak, n + i, index)
        index = np.where(gone, n + len(self.peaks) if self.missing else 0, index)
        return {self.column.name: index, f"{self.column.name}.offset": np.where(index < n, offset, 0.0)}

    def decode(self, x: Mapping[str, np.ndarray]) -> np.ndarray:
        index, offset, n = x[self.column.name], x[f"{self.column.name}.offset"].astype(np.float64), len(self.means)
        single = np.array([*self.peaks, np.nan])[np.clip(index - n, 0, len(self.peaks))]
        if not n:
            return single
        within = np.minimum(index, n - 1)
        ranged = np.array(self.means)[within] + np.nan_to_num(offset) * np.array(self.deviations)[within]
        low, high = self.column.low, self.column.high
        assert low is not None
        assert high is not None
        return np.where(index < n, np.clip(snapped(ranged, self.column.step), low, high), single)

    @property
    def chances(self) -> int:
        return 1

    def jitter(self, x: Mapping[str, Tensor], u: Tensor) -> dict[str, Tensor]:
        # a row needs one number: its place in the step, or noise where it is of a component without offset
        name = f"{self.column.name}.offset"
        index, offset, n, u = x[self.column.name], x[name], len(self.means), u[:, 0]
        if self.column.step is not None and n:
            width = torch.as_tensor(self.deviations, dtype=torch.float64, device=offset.device)[index.clamp(max=n - 1)]
            offset = (offset + 2 * STEP * self.column.step * (u - 0.5) / width).to(offset.dtype)
        if not self.peaks and not self.missing and n:
            return {name: offset}
        return {name: torch.where(index < n, offset, normal_at(u).to(offset.dtype))}

    def log_units(self, x: Mapping[str, np.ndarray]) -> np.ndarray:
        index, offset = x[self.column.name], x[f"{self.column.name}.offset"].astype(np.float64)
        normal = -0.5 * offset**2 - 0.5 * math.log(2 * math.pi)
        if not self.means:
            return -normal
        width = np.array(self.deviations)[np.minimum(index, len(self.means) - 1)]
        return np.where(index < len(self.means), math.log(self.column.step or 1.0) - np.log(width), -normal)

    def to_json(self) -> dict[str, Any]:
        parts = {"means": self.means, "deviations": self.deviations, "weights": self.weights}
        peaks = [p if math.isfinite(p) else str(p) for p in self.peaks]
        return {"how": "mixture", "missing": self.missing, **{k: list(v) for k, v in parts.items()}, "peaks": peaks}
