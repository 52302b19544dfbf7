"""What molecules can be wanted for: scores of SMILES from 0 to 1, 0 for a text that is no molecule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simulacra.modalities.molecules.chemistry import PROPERTIES, fingerprints, parsed

Objective = Callable[[Sequence[str]], np.ndarray]
BITS = 2048  # of the fingerprints that are compared, ECFP4 as it is mostly used


@dataclass(frozen=True)
class DrugLikeness:
    """QED (Bickerton et al. 2012), which lies between 0 and 1 as it is."""

    def __call__(self, smiles: Sequence[str]) -> np.ndarray:
        """Float64 (n,)."""
        return np.array([_of(s, PROPERTIES["QED"]) for s in smiles])

    def __str__(self) -> str:
        return "QED"


@dataclass(frozen=True, kw_only=True)
class Lipophilicity:
    """logP on a straight line from 0 at ``low`` to 1 at ``high``, and no further: what grows without end is gamed."""

    low: float = 0.0
    high: float = 8.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low must lie below high; got {self.low} and {self.high}")

    def __call__(self, smiles: Sequence[str]) -> np.ndarray:
        """Float64 (n,)."""
        # what is no molecule scores as the lowest does
        found = np.array([_of(s, PROPERTIES["logP"], self.low) for s in smiles])
        return np.clip((found - self.low) / (self.high - self.low), 0.0, 1.0)

    def __str__(self) -> str:
        return f"logP from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Likeness:
    """Tanimoto similarity to one molecule by Morgan fingerprints of radius 2; ValueError where that is none."""

    to: str
    _bits: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if parsed(self.to) is None:
            raise ValueError(f"{self.to!r} is no molecule, so nothing is like it; expected a SMILES")
        object.__setattr__(self, "_bits", fingerprints([self.to], bits=BITS)[0].astype(bool))

    def __call__(self, smiles: Sequence[str]) -> np.ndarray:
        """Float64 (n,)."""
        there = [i for i, s in enumerate(smiles) if parsed(s) is not None]
        found, bits = np.zeros(len(smiles)), fingerprints([smiles[i] for i in there], bits=BITS).astype(bool)
        if there:
            found[there] = (bits & self._bits).sum(1) / np.maximum((bits | self._bits).sum(1), 1)
        return found

    def __str__(self) -> str:
        return f"similarity to {self.to}"


def _of(smiles: str, measure: Callable[[Any], float], otherwise: float = 0.0) -> float:
    found = parsed(smiles)
    return otherwise if found is None else measure(found)
