"""A partition of data into cells of similar examples, and what samples show in it: modes visited, missed and repeated.

Richardson & Weiss 2018, "On GANs and GMMs", section 3, bin samples by the data's k-means cells; Arora, Risteski & Zhang
2018, "Do GANs learn the distribution? Some theory and empirics", section 2, count coincidences among samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.mathematics.neighbours import nearest

EXPECTED = 8.0  # a cell that fewer samples are expected in says nothing: P(none | 8) = 3e-4
FEW = 0.2  # share of the expected number below which a cell counts as missed: P(at most 1 of 8) = 3e-3, 4 of 20: 2e-5


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Centres (k, d) of cells, the share of the data in each, and its mean squared distance from the centre, (k,)."""

    centres: Float[Tensor, "k d"]
    shares: Float[Tensor, " k"]
    squared: Float[Tensor, " k"]

    def of(self, x: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        """The cell of each row: the one whose centre is nearest."""
        return nearest(x, self.centres)[1][:, 0]

    def dispersion(self, x: Float[Tensor, "n d"]) -> float:
        """Root mean square distance of rows from the centres of their cells, over what the data's is there.

        Below 1 rows are more typical than data, as blurred pictures are; above it they lie beside the data.
        """
        distance, cell = nearest(x, self.centres)
        usual = float(self.squared[cell[:, 0]].mean())
        return (float(distance.square().mean()) / usual) ** 0.5 if usual > 0 else 1.0

    def counts(self, x: Float[Tensor, "n d"]) -> Int[Tensor, " k"]:
        """How many rows lie in each cell."""
        return torch.bincount(self.of(x), minlength=len(self.centres))


def partition(x: Float[Tensor, "n d"], k: int, rng: Rng, *, rounds: int = 20) -> Cells:
    """Cells by k-means, begun as k-means++ (Arthur & Vassilvitskii 2007, section 2.2); fewer where rows coincide.

    ValueError for fewer rows than cells.
    """
    if not 1 <= k <= len(x):
        raise ValueError(f"a partition of {len(x)} rows has 1 to {len(x)} cells; got {k}")
    chance = rng("seeds").uniform((k,), dtype=torch.float64).tolist()
    chosen = [min(int(chance[0] * len(x)), len(x) - 1)]
    away = (x - x[chosen[0]]).square().sum(1).double()
    for share in chance[1:]:
        far = away.cumsum(0)
        if float(far[-1]) <= 0:
            break
        chosen.append(min(int(torch.searchsorted(far, share * far[-1], right=True)), len(x) - 1))
        away = torch.minimum(away, (x - x[chosen[-1]]).square().sum(1).double())
    centres = x[chosen].clone()
    for _ in range(rounds):
        cell = nearest(x, centres)[1][:, 0]
        counts = torch.bincount(cell, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, cell, x)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None].to(x), centres)
    distance, cell = nearest(x, centres)
    counts = torch.bincount(cell[:, 0], minlength=len(centres))
    squares = distance.new_zeros(len(centres)).index_add_(0, cell[:, 0], distance[:, 0].square())
    return Cells(centres=centres, shares=counts.double() / len(x), squared=squares / counts.clamp_min(1))


def missed_share(counts: Int[Tensor, " k"], shares: Float[Tensor, " k"]) -> float:
    """Share of the data in kinds that samples all but lack, 0 .. 1.

    A kind is missed where its count is below ``FEW`` of what its share lets expect; kinds that fewer than ``EXPECTED``
    samples are expected of are left out of account.
    """
    expected = shares.double() * float(counts.sum())
    judged = expected >= EXPECTED
    missed = judged & (counts.double() < FEW * expected)
    total = float(shares[judged].sum())
    return float(shares[missed].sum()) / total if total else 0.0


def shift(counts: Int[Tensor, " k"], shares: Float[Tensor, " k"]) -> float:
    """Total variation between the samples' shares of the kinds and the data's, 0 .. 1: the mass to be moved.

    Of n good samples about sqrt(k / (2 pi n)), where the data's shares are known and about equal.
    """
    return 0.5 * float((counts.double() / counts.sum() - shares.double()).abs().sum())


def coincidences(x: Float[Tensor, "n d"], within: float) -> int:
    """Pairs of different rows at most ``within`` apart."""
    near = torch.cdist(x.double(), x.double()) <= within
    return (int(near.sum()) - len(x)) // 2


def support(n: int, pairs: int) -> float:
    """Of how many equally likely examples n draws would show so many coinciding pairs: n (n - 1) / 2 / pairs, or inf.

    1 / P(two draws coincide). Arora, Risteski & Zhang 2018, section 2, from the birthday paradox: a pair among n draws
    shows a support of the order of n^2.
    """
    return n * (n - 1) / (2 * pairs) if pairs else float("inf")
