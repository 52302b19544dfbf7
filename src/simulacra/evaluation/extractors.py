"""Feature extractors: what turns examples into the rows that two-sample statistics compare.

A figure depends on its extractor, so an extractor has a name and a hash, and both are written beside the figure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Data, Values
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space

BATCH = 500


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A named map from examples to features.

    name      "pixels", "classifier" ...
    hash      SHA-256, hexadecimal, of all that the features depend on: weights, or the name of a fixed rule.
    features  x (b, *event) -> (b, d), float.
    classify  x (b, *event) -> p(class | x) (b, classes), where there are classes.
    accuracy  share of held-out examples that ``classify`` gets right, and of how many; None where it does not apply.
    standard  our name of a figure -> the one it is published under with this extractor, and the number of samples
              of the published protocol: "Frechet distance" -> ("FID-50k", 50_000).
    """

    name: str
    hash: str
    features: Callable[[Tensor], Tensor]
    classify: Callable[[Tensor], Tensor] | None = None
    accuracy: tuple[float, int] | None = None
    standard: Mapping[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])

    def published(self, name: str, n: int) -> str:
        """The name that a figure of n samples may bear: the published one only where the protocol was kept."""
        known, samples = self.standard.get(name, (name, n))
        return known if samples == n else name

    def __call__(self, x: Values) -> Tensor:
        """Features of examples of one field, (n, d), float32 or wider, on the CPU; taken in batches."""
        return _in_batches(self.features, x)

    def probabilities(self, x: Values) -> Tensor | None:
        """p(class | x), (n, classes), on the CPU; None from an extractor that knows no classes."""
        return None if self.classify is None else _in_batches(self.classify, x)


def flatten(x: Tensor) -> Tensor:
    """Examples as rows of their own values, (b, *event) -> (b, d)."""
    return x.flatten(1).float() if not x.is_floating_point() else x.flatten(1)


def _fixed(name: str) -> Extractor:
    return Extractor(name=name, hash=hashlib.sha256(name.encode()).hexdigest(), features=flatten)


pixels = _fixed("pixels")
points = _fixed("points")  # the same rule: vectors are their own features


def plain(space: Space) -> Extractor | None:
    """The extractor that takes an example's own values as features; None for a space without such values."""
    fields = list(space.fields.values())
    if len(fields) != 1 or not isinstance(fields[0], Continuous) or fields[0].varying:
        return None
    return pixels if space.layout == "grid" else points


def batches(data: Data, n: int, rng: Rng | int, *, batch: int = BATCH) -> Iterator[Batch]:
    """n of the examples: all in their order, or a random choice of fewer, as files are often sorted by class.

    The choice and what is drawn for its i-th example depend on rng and n, not on the size of the batches.
    """
    stream = Rng.of(rng)
    chosen = torch.arange(len(data)) if n >= len(data) else stream("chosen").permutation(len(data))[:n]
    for start in range(0, len(chosen), batch):
        yield data.batch(chosen[start : start + batch], stream.rows(start))


def values(data: Data, n: int, rng: Rng | int) -> Tensor:
    """x of n examples (``batches``) of data of one field, (n, *event), on the CPU."""
    return torch.cat([tensor(b.x).cpu() for b in batches(data, n, rng)])


def tensor(x: Values | None) -> Tensor:
    """The one tensor of examples of one field; ValueError for a mapping, or nothing."""
    if isinstance(x, Tensor):
        return x
    got = "nothing" if x is None else f"fields {list(x)}"
    raise ValueError(f"an extractor takes examples of one field; got {got}: give an extractor of your own")


@torch.no_grad()
def _in_batches(function: Callable[[Tensor], Tensor], x: Values) -> Tensor:
    whole = tensor(x)
    if not len(whole):
        raise ValueError("an extractor needs at least one example; got none")
    return torch.cat([function(whole[i : i + BATCH]).cpu() for i in range(0, len(whole), BATCH)])
