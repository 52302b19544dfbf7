"""Molecules that were drawn, against held-out ones and those that were learned from.

Shares follow MOSES (Polykovskiy et al. 2020, section 2), but nothing is filtered and nothing is masked: of what was
drawn, what is no molecule counts against the model, an empty text and an atom with too many bonds among it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from simulacra.core.figure import Figure
from simulacra.evaluation import intervals
from simulacra.evaluation.intervals import Interval
from simulacra.mathematics.association import binned_divergence
from simulacra.mathematics.fingerprints import counts_cosine, internal_diversity, nearest_similarity
from simulacra.mathematics.sliced import wasserstein_powers
from simulacra.modalities.molecules.chemistry import canonical, fault, fingerprints, properties, scaffold

UNIQUE_AT = (1_000, 10_000)  # of so many valid molecules, the first that were drawn, how many differ
MOST = 2_000  # molecules a side whose properties and fingerprints are compared: a few milliseconds each
UNITS = {"weight": "daltons"}
PAIRS = intervals.none("pairs share molecules, and no method was tried")
SETS = intervals.none("no method was tried")


def figures_of_molecules(
    fake: Sequence[str], real: Sequence[str], *, train: Sequence[str], seed: int | None = None
) -> list[Figure]:
    """Validity, variety, novelty, scaffolds and properties of molecules that were drawn, SMILES or what is none.

    real, train  SMILES of held-out molecules, and of those learned from.
    Each figure's note says what it comes to for real molecules. ValueError for fewer than two samples or held-out
    molecules; where fewer than two samples are molecules, their share is all that is told.
    """
    if min(len(fake), len(real)) < 2:
        raise ValueError(f"molecules are compared from 2 on; got {len(fake)} samples and {len(real)} held out")
    written = [canonical(text) for text in fake]
    valid = [smiles for smiles in written if smiles is not None]
    held = [smiles for text in real if (smiles := canonical(text)) is not None]
    known = {smiles for text in train if (smiles := canonical(text)) is not None}
    found = [valid_share(fake, seed=seed), *_unique(valid, seed)]
    if len(valid) < 2 or len(held) < 2:
        return found
    found.append(_novel(valid, held, known, seed))
    # as many real molecules of each kind as are drawn: what is counted over sets depends on their size
    count = min(MOST, len(valid), len(held))
    learned = sorted(known)[:: max(1, len(known) // count)][:count]
    drawn, unseen, basis = valid[:count], held[:count], _Basis(n=count, n_real=count, seed=seed)
    found += _fingerprints(drawn, unseen, learned, basis)
    found += _scaffolds(drawn, unseen, learned, known, basis)
    return found + _properties(drawn, unseen, learned, basis)


def valid_share(fake: Sequence[str], *, seed: int | None = None) -> Figure:
    """The share of texts that are molecules; its note counts why the others are none."""
    why = Counter(f for text in fake if (f := fault(text)) is not None)
    hits = len(fake) - sum(why.values())
    note = ", ".join(f"{n:,} {kind}" for kind, n in why.most_common()) or "all are molecules"
    interval = intervals.of_share(hits, len(fake))
    return _Basis(n=len(fake), seed=seed).figure("valid molecules", hits / len(fake), "higher", interval, note)


@dataclass(frozen=True, kw_only=True)
class _Basis:
    """What figures rest on: how many samples, how many held-out molecules, and the seed."""

    n: int
    n_real: int | None = None
    seed: int | None = None

    def figure(
        self,
        name: str,
        value: float,
        direction: Literal["lower", "higher", "neither"],
        interval: Interval,
        note: str,
        unit: str = "",
    ) -> Figure:
        """A figure on this basis."""
        return Figure(
            name=name,
            value=value,
            direction=direction,
            n=self.n,
            n_real=self.n_real,
            interval=interval.bounds,
            interval_method=interval.method,
            level=intervals.LEVEL,
            seed=self.seed,
            note=note,
            unit=unit,
        )


def _unique(valid: Sequence[str], seed: int | None) -> list[Figure]:
    """Of the first 1,000 and 10,000 valid ones, where there are so many, and of all: the more, the fewer differ."""
    sizes = {f"unique@{k}": k for k in UNIQUE_AT if k <= len(valid)}
    sizes |= {"unique molecules": len(valid)} if len(valid) > 1 else {}
    notes = {"unique molecules": "of all that are valid; the more are drawn, the fewer differ"}
    return [
        _Basis(n=k, seed=seed).figure(
            name, len(set(valid[:k])) / k, "higher", SETS, notes.get(name, "of the first valid ones")
        )
        for name, k in sizes.items()
    ]


def _novel(valid: Sequence[str], held: Sequence[str], known: set[str], seed: int | None) -> Figure:
    different, others = set(valid), set(held)
    new, other = len(different - known), len(others - known) / len(others)
    note = f"of the different ones, not among {len(known):,} learned from; held-out molecules: {other:.3g}"
    interval = intervals.of_share(new, len(different))
    basis = _Basis(n=len(different), n_real=len(others), seed=seed)
    return basis.figure("novel molecules", new / len(different), "neither", interval, note)


def _fingerprints(fake: Sequence[str], real: Sequence[str], train: Sequence[str], basis: _Basis) -> list[Figure]:
    mine, theirs, learned = (torch.from_numpy(fingerprints(part)) for part in (fake, real, train))
    near, usual = nearest_similarity(mine, theirs), float(nearest_similarity(learned, theirs).mean())
    varied, other = internal_diversity(mine), internal_diversity(theirs)
    said = f"training molecules: {usual:.4f}"
    return [
        basis.figure("internal diversity", varied, "neither", PAIRS, f"held-out molecules: {other:.4f}"),
        basis.figure(
            "similarity to the nearest held-out molecule", float(near.mean()), "neither", intervals.of_mean(near), said
        ),
    ]


def _scaffolds(
    fake: Sequence[str], real: Sequence[str], train: Sequence[str], known: set[str], basis: _Basis
) -> list[Figure]:
    mine, theirs, learned = (Counter(s for text in part if (s := scaffold(text))) for part in (fake, real, train))
    alike, usual = counts_cosine(mine, theirs), counts_cosine(learned, theirs)
    said = f"cosine of their counts; training molecules: {usual:.3g}"
    found = [basis.figure("scaffold similarity", alike, "higher", SETS, said)]
    if mine and theirs:
        seen = {s for text in known if (s := scaffold(text))}
        new, other = len(set(mine) - seen), len(set(theirs) - seen) / len(theirs)
        note = f"of {len(mine):,} different ones; held-out molecules: {other:.3g}"
        found.append(
            basis.figure("new scaffolds", new / len(mine), "neither", intervals.of_share(new, len(mine)), note)
        )
    return found


def _properties(fake: Sequence[str], real: Sequence[str], train: Sequence[str], basis: _Basis) -> list[Figure]:
    """How far each property's distribution lies from that of held-out molecules, in its own unit and in nats."""
    mine, theirs, learned = (properties(part) for part in (fake, real, train))
    found: list[Figure] = []
    for name in mine:
        a, b, c = (_finite(part[name]) for part in (mine, theirs, learned))
        if min(len(a), len(b), len(c)) < 2:
            continue  # a build of RDKit without what this property needs
        far, usual = _distance(a, b), _distance(c, b)
        note = f"training molecules: {usual:.3g}; means drawn and held out: {a.mean():.4g}, {b.mean():.4g}"
        unit = UNITS.get(name, "")
        found.append(basis.figure(f"Wasserstein distance of {name}", far, "lower", SETS, note, unit))
        apart, chance = binned_divergence(a, b), binned_divergence(c, b)
        note = f"over 20 cells; training molecules: {chance:.3g}"
        found.append(basis.figure(f"KL divergence of {name}", apart, "lower", SETS, note, "nats"))
    return found


def _finite(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values[np.isfinite(values)])


def _distance(a: Tensor, b: Tensor) -> float:
    """Wasserstein distance of order one of two samples of numbers."""
    return float(wasserstein_powers(a[:, None], b[:, None], p=1.0)) if len(a) and len(b) else math.nan
