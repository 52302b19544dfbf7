"""How long examples are: what a model of rows up to a length learns by counting."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from simulacra.core.batch import Data
from simulacra.core.randomness import Rng


class LengthMarginal(nn.Module):
    """p(length | class) by counts, one example's worth spread evenly over all lengths; nothing where none varies.

    longest  lengths are 0 .. longest; 0: nothing varies.
    classes  how many there are; 0: none.
    """

    counts: Tensor

    def __init__(self, longest: int, classes: int) -> None:
        super().__init__()
        self.longest = longest
        shape = (max(classes, 1), longest + 1) if longest else (0,)
        self.register_buffer("counts", torch.zeros(shape, dtype=torch.int64))

    def fit(self, data: Data) -> None:
        """Counts the lengths of data."""
        if not self.longest:
            return
        counts = torch.zeros(self.counts.shape, dtype=torch.int64)
        for part in torch.arange(len(data)).split(4096):
            batch = data.batch(part, Rng(0))
            length = batch.length if batch.length is not None else torch.full((len(part),), self.longest)
            y = batch.y if isinstance(batch.y, Tensor) and len(counts) > 1 else torch.zeros_like(length)
            number = y.cpu() * (self.longest + 1) + length.cpu()
            counts += torch.bincount(number, minlength=counts.numel()).reshape(counts.shape)
        self.counts.copy_(counts)

    def log_prob(self, length: Tensor | None, y: Tensor | None, n: int) -> Tensor:
        """log p(length | y) of n examples, nats (n,); 0 where nothing varies. No length: the longest."""
        device = self.counts.device
        if not self.longest:
            return torch.zeros(n, device=device)
        length = torch.full((n,), self.longest, device=device) if length is None else length.to(device)
        return self._table(y, n).gather(1, length[:, None])[:, 0]

    def draw(self, n: int, y: Tensor | None, rng: Rng) -> Tensor | None:
        """n lengths, int64 (n,); None where nothing varies."""
        return rng.categorical(self._table(y, n)) if self.longest else None

    def _table(self, y: Tensor | None, n: int) -> Tensor:
        """log p of every length for each of n labels, (n, longest + 1)."""
        counts = self.counts.to(torch.get_default_dtype())
        counts = counts + 1 / (self.longest + 1)
        if y is None or len(counts) == 1:
            counts = counts.sum(0, keepdim=True).expand(n, -1)
        else:
            counts = counts[y.to(counts.device)]
        return (counts / counts.sum(1, keepdim=True)).log()
