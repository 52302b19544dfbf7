"""Mixtures of normals and categories: within a component real coordinates are normal, categories independent.

One module holds what is learnt as buffers; how it is learnt is the affair of the family that owns it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.mathematics.covariances import Covariances
from simulacra.mathematics.gaussians import Normals
from simulacra.nets.mixed import Parts

NUMBERS = 1 << 22  # intermediate numbers of rows taken at a time


class LatentClasses(nn.Module):
    """p(x) = sum_k w_k N(u; mean_k, S_k) prod_j p(c_j | k), of whatever is seen of an example; all in float64.

    k       number of components.
    d       number of real coordinates.
    sizes   number of categories of each categorical element.
    cells   (d,) variances of places within levels' cells (``nets.mixed``).
    """

    weights: Tensor
    means: Tensor
    spread: Tensor
    tables: Tensor
    cells: Tensor

    def __init__(self, k: int, d: int, sizes: list[int], cells: Tensor, covariances: Covariances) -> None:
        super().__init__()
        self.covariances, self.sizes = covariances, sizes
        self.offsets = [sum(sizes[:j]) for j in range(len(sizes))]
        spread = torch.ones(covariances.shape(k, d), dtype=torch.float64)
        spread = spread if spread.ndim == 2 else torch.eye(d, dtype=torch.float64).repeat(k, 1, 1)
        total = torch.cat([torch.full((s,), 1 / s, dtype=torch.float64) for s in sizes] or [torch.zeros(0).double()])
        self.register_buffer("weights", torch.full((k,), 1 / k, dtype=torch.float64))
        self.register_buffer("means", torch.zeros(k, d, dtype=torch.float64))
        self.register_buffer("spread", spread)
        self.register_buffer("tables", total.log().repeat(k, 1))
        self.register_buffer("cells", cells, persistent=False)

    @property
    def normals(self) -> Normals:
        """The components' normals."""
        return self.covariances.normals(self.means, self.spread)

    def parameters_free(self, k: int) -> int:
        """How many numbers k of its components are free to choose."""
        d = self.means.shape[1]
        return k - 1 + k * (d + sum(s - 1 for s in self.sizes)) + self.covariances.parameters(k, d)

    # -- learning ---------------------------------------------------------------------------------------------------

    def maximise(self, parts: Parts, share: Tensor) -> None:
        """The M step: what rows weighted by their share of each component, (b, used), make likeliest.

        Components beyond those get no weight. Tables are smoothed by one row of the column's overall shares.
        """
        k, used = len(self.weights), share.shape[1]
        self.weights.zero_()
        self.weights[:used] = share.mean(0)
        if self.means.shape[1]:
            before = self.covariances.normals(self.means[:used], self.spread[:used])
            moments = before.expected(parts.u, parts.seen, share, self.cells)
            self.means[:used] = moments.mean
            self.spread[:used] = self.covariances.fit(moments)
        for j, size in enumerate(self.sizes):
            seen = parts.marked[:, j]
            counts = torch.zeros(size, used, dtype=share.dtype, device=share.device)
            counts.index_add_(0, parts.index[seen, j], share[seen])
            overall = (counts.sum(1) + 1 / size) / (counts.sum() + 1)
            table = (counts.T + overall) / (counts.sum(0)[:, None] + 1)
            self.tables[:used, self.offsets[j] : self.offsets[j] + size] = table.log()
            self.tables[used:k, self.offsets[j] : self.offsets[j] + size] = overall.log()

    # -- scoring ----------------------------------------------------------------------------------------------------

    def given(self, parts: Parts) -> Tensor:
        """log p(what is seen | component), without log_det, nats (b, k)."""
        step = max(1, NUMBERS // max(1, len(self.weights) * (len(self.sizes) + 1)))
        return torch.cat([self._given(parts.rows(at)) for at in torch.arange(len(parts)).split(step)])

    def _given(self, parts: Parts) -> Tensor:
        found = parts.u.new_zeros(len(parts), len(self.weights))
        if parts.u.shape[1]:
            found = found + self.normals.log_prob(parts.u, parts.seen, self.cells)
        if self.sizes:
            place = parts.index + torch.tensor(self.offsets, device=parts.index.device)
            each = self.tables.T[place]  # (b, m, k)
            found = found + torch.where(parts.marked[..., None], each, 0.0).sum(1)
        return found

    def joint(self, parts: Parts) -> Tensor:
        """log p(what is seen, component), without log_det, nats (b, k)."""
        return self.given(parts) + self.weights.log()

    def table(self, j: int) -> Tensor:
        """log p(category | component) of one categorical element, (k, size)."""
        return self.tables[:, self.offsets[j] : self.offsets[j] + self.sizes[j]]

    # -- drawing ----------------------------------------------------------------------------------------------------

    def draw(self, which: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Coordinates (b, d) and categories (b, m) of an example of each row's component."""
        noise = rng("u").normal((len(which), self.means.shape[1]), dtype=torch.float64, device=which.device)
        u = self.normals.draw(which, noise) if self.means.shape[1] else noise
        return u, self._symbols(which, rng("symbols"))

    def complete(self, parts: Parts, which: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """The same, given what is seen and the component."""
        noise = rng("u").normal((len(which), self.means.shape[1]), dtype=torch.float64, device=which.device)
        u = self.normals.complete(parts.u, parts.seen, which, noise) if self.means.shape[1] else noise
        return u, torch.where(parts.marked, parts.index, self._symbols(which, rng("symbols")))

    def _symbols(self, which: Tensor, rng: Rng) -> Tensor:
        found = torch.zeros(len(which), len(self.sizes), dtype=torch.int64, device=which.device)
        for j, size in enumerate(self.sizes):
            table, step = self.table(j), max(1, NUMBERS // size)
            for first in range(0, len(which), step):
                logits = table[which[first : first + step]]
                found[first : first + step, j] = rng(j).rows(first).categorical(logits)
        return found


def nearest_centres(parts: Parts, k: int, rng: Rng) -> Tensor:
    """One-hot shares (b, k) of the nearest of k centres (k-means) of coordinates and categories, gaps averaged."""
    from sklearn.cluster import KMeans  # here: whoever only loads or draws need not wait for it

    columns = [torch.where(parts.seen, parts.u, (parts.u * parts.seen).sum(0) / parts.seen.sum(0).clamp_min(1))]
    for j in range(parts.index.shape[1]):
        if bool(parts.marked[:, j].any()) and (size := int(parts.index[:, j].max()) + 1) <= 64:
            shares = torch.nn.functional.one_hot(parts.index[:, j], size).double()
            average = shares[parts.marked[:, j]].mean(0)
            columns.append(torch.where(parts.marked[:, j, None], shares, average))
    points = torch.cat(columns, 1)
    spread = points.std(0, correction=0)
    points = (points / torch.where(spread > 1e-9, spread, 1.0)).cpu().numpy()
    seed = int(rng("centres").integers(1 << 31, (1,)))
    means = KMeans(n_clusters=min(k, len(points)), n_init="auto", random_state=seed)
    labels = torch.as_tensor(means.fit_predict(points), device=parts.u.device).long()
    return torch.nn.functional.one_hot(labels, k).double()
