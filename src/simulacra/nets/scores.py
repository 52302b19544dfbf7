"""Normal scores: each column taken through its own quantile function onto the normal's, by straight lines.

g(x) = Phi^-1(F(x)) at knots of the observed values' distribution function F, straight lines between them and beyond: a
bijection of the whole line, so that densities in the column's own units are exact, log p(x) = log p(g(x)) + log g'(x).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

TAIL = 0.05  # share of the values whose average slope goes on beyond the outermost knot


class NormalScores(nn.Module):
    """The columns' bijections, as buffers: knots (columns, count) and their scores. The identity before ``fit``.

    knots  at most, of each column: no more than twice the root of the number of values, so that slopes stay densities.
    """

    at: Tensor
    score: Tensor
    slope: Tensor

    def __init__(self, columns: int, knots: int = 100) -> None:
        super().__init__()
        if knots < 2:
            raise ValueError(f"normal scores need at least 2 knots; got {knots}")
        line = torch.linspace(-3, 3, knots, dtype=torch.float64).repeat(columns, 1)
        self.register_buffer("at", line)
        self.register_buffer("score", line.clone())
        self.register_buffer("slope", torch.ones(columns, 2, dtype=torch.float64))

    @torch.no_grad()
    def fit(self, u: Tensor, seen: Tensor) -> None:
        """Quantiles of what is seen of each column, u (n, columns); a column of one value is only shifted."""
        knots = self.at.shape[1]
        for j in range(u.shape[1]):
            values, counts = u[seen[:, j], j].unique(return_counts=True)
            if len(values) < 2:
                centre = float(values[0]) if len(values) else 0.0
                line = torch.linspace(-3, 3, knots, dtype=torch.float64)
                self.at[j], self.score[j], self.slope[j] = line.to(self.at) + centre, line.to(self.at), 1.0
                continue
            # the middle of each value's own stretch of the distribution function
            share = (counts.cumsum(0) - 0.5 * counts) / counts.sum()
            used = min(knots, math.ceil(2 * math.sqrt(len(values))))
            place = torch.linspace(0, len(values) - 1, used, device=u.device).round().long()
            place = torch.cat([place, place[-1:].expand(knots - used)])
            x, z = values[place], torch.special.ndtri(share.double())[place]
            self.at[j], self.score[j] = x, z
            few = max(1, math.ceil(TAIL * (len(values) - 1)))
            z_all = torch.special.ndtri(share.double())
            self.slope[j, 0] = (z_all[few] - z_all[0]) / (values[few] - values[0])
            self.slope[j, 1] = (z_all[-1] - z_all[-1 - few]) / (values[-1] - values[-1 - few])

    def inward(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """u (b, columns) -> scores alike, and the log of each one's slope."""
        return self._along(u, self.at, self.score, self.slope)

    def outward(self, z: Tensor) -> Tensor:
        """Scores (b, columns) -> values."""
        return self._along(z, self.score, self.at, 1 / self.slope)[0]

    def _along(self, x: Tensor, at: Tensor, to: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        if not x.shape[1]:
            return x, x
        # values repeat among the knots of a column that has few: the last of equal ones is where a stretch begins
        place = torch.searchsorted(at, x.T.contiguous(), right=True).clamp(1, at.shape[1] - 1)
        last = torch.searchsorted(at, at.gather(1, place), right=False).clamp(min=1)
        x0, x1 = at.gather(1, last - 1), at.gather(1, last)
        y0, y1 = to.gather(1, last - 1), to.gather(1, last)
        rise = (y1 - y0) / (x1 - x0)
        value = y0 + rise * (x.T - x0)
        low, high = at[:, :1], at[:, -1:]
        below, above = low > x.T, high < x.T
        value = torch.where(below, to[:, :1] + slope[:, :1] * (x.T - low), value)
        value = torch.where(above, to[:, -1:] + slope[:, 1:] * (x.T - high), value)
        rise = torch.where(below, slope[:, :1], torch.where(above, slope[:, 1:], rise))
        return value.T, rise.log().T
