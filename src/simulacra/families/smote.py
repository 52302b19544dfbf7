"""SMOTE as a generator: points between an example and one of its nearest neighbours (Chawla et al. 2002).

    u = u_i + t (u_j - u_i),   t uniform on [0, 1), j among the nearest of i's class; categories by majority

(SMOTE-NC, section 6.1 there: rows that differ in a category are the median deviation apart.) It was made to balance
classes; as a generative model it is the baseline that embarrasses: hardly anything beats its train-on-synthetic scores,
because its samples are the data, moved a little. Its distance to the closest record says so.

What it cannot do: score, complete, or protect anybody. Gaps are filled with the column's average or commonest category.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.nets.marginal import LabelMarginal
from simulacra.nets.mixed import Mixed, Parts, everything, labels_of

ROWS = 1024  # whose neighbours are sought at a time


@dataclass(frozen=True, kw_only=True)
class SMOTEConfig:
    """Interpolation between neighbours.

    neighbours  of each row, of which one is the other end; 5 there.
    rows        rows that are kept, at most; of more examples, so many are chosen at random.
    """

    neighbours: int = 5
    rows: int = 20_000

    def __post_init__(self) -> None:
        if self.neighbours < 1 or self.rows < 2:
            raise ValueError(f"neighbours must be at least 1 and rows 2; got {self.neighbours} and {self.rows}")


class SMOTE(nn.Module):
    """Rows and their neighbours, classes apart."""

    u: Tensor
    index: Tensor
    y: Tensor
    count: Tensor
    near: Tensor

    def __init__(self, config: SMOTEConfig, space: Space, rng: Rng | int = 0) -> None:
        super().__init__()
        self.config, self.space, self.rng = config, space, Rng.of(rng)("fit")
        self.mixed = Mixed(space, "SMOTE")
        self.classes = self.mixed.classes
        self.marginal = LabelMarginal(self.classes)
        most = config.rows
        self.register_buffer("u", torch.zeros(most, self.mixed.d, dtype=torch.float64))
        self.register_buffer("index", torch.zeros(most, len(self.mixed.k), dtype=torch.int64))
        self.register_buffer("y", torch.zeros(most, dtype=torch.int64))
        self.register_buffer("count", torch.tensor(most))
        self.register_buffer("near", torch.zeros(most, config.neighbours, dtype=torch.int64))

    @torch.no_grad()
    def fit(self, data: Data) -> None:
        """Keep the rows and find each one's nearest neighbours in its class; a class of one row has itself."""
        self.marginal.fit(data)
        batch = everything(data, self.config.rows, self.rng)
        parts, y = self.mixed.inward(batch.x, batch.known, self.u), labels_of(batch, self.classes)
        u, index = _filled(parts, self.mixed.k)
        n = len(parts)
        label = self.y.new_zeros(n) if y is None else y.to(self.y.device)
        self.count.fill_(n)
        self.u[:n], self.index[:n], self.y[:n] = u, index, label
        spread = u.std(0, correction=0)
        scaled = u / torch.where(spread > 1e-9, spread, 1.0)
        # a category that differs counts as one deviation: their median, in units of themselves
        for c in label.unique().tolist():
            mine = (label == c).nonzero()[:, 0]
            for part in torch.arange(len(mine), device=mine.device).split(ROWS):
                rows = mine[part]
                far = torch.cdist(scaled[rows], scaled[mine]).square()
                for j in range(index.shape[1]):
                    far = far + (index[rows, j, None] != index[mine, j]).double()
                far[torch.arange(len(rows)), part] = torch.inf
                k = min(self.config.neighbours, max(len(mine) - 1, 1))
                found = mine[far.topk(k, largest=False).indices]
                # fewer than asked for: again and again
                self.near[rows] = found[:, torch.arange(self.config.neighbours, device=found.device) % k]

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): counted, each class once more than it was seen."""
        return self.marginal.log_prob()

    @torch.no_grad()
    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        """n examples; y (n,) classes, None: drawn from their learned marginal. A class without rows gets any."""
        rng, device = Rng.of(rng), self.u.device
        y = self.marginal.draw(n, rng("y")) if y is None else y
        label = torch.zeros(n, dtype=torch.int64, device=device) if y is None else y.to(device)
        there = self.y[: int(self.count)]
        order = there.argsort(stable=True)
        counts = torch.bincount(there, minlength=max(self.marginal.classes, 1))
        first, many = (counts.cumsum(0) - counts)[label], counts[label]
        first, many = torch.where(many > 0, first, 0), torch.where(many > 0, many, len(there))
        place = (rng("row").uniform((n,), dtype=torch.float64, device=device) * many).long()
        row = order[first + place.minimum(many - 1)]
        near = self.near[row]
        other = near.gather(1, rng("neighbour").integers(near.shape[1], (n, 1), device=device))[:, 0]
        t = rng("t").uniform((n, 1), dtype=torch.float64, device=device)
        u = self.u[row] + t * (self.u[other] - self.u[row])
        return Batch(x=self.mixed.outward(u, self.index[near].mode(1).values), y=y)


def _filled(parts: Parts, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Coordinates and categories with gaps filled by the column's average and commonest category."""
    mean = (parts.u * parts.seen).sum(0) / parts.seen.sum(0).clamp_min(1)
    index = parts.index.clone()
    for j, size in enumerate(sizes):
        common = torch.bincount(index[parts.marked[:, j], j], minlength=size).argmax()
        index[:, j] = torch.where(parts.marked[:, j], index[:, j], common)
    return torch.where(parts.seen, parts.u, mean), index
