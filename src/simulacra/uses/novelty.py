"""How strange an example is to a model: scores, larger for stranger, and where each is known to fail.

No score here is a probability that an example is strange, and each has a failure that has been published. A density
is high where there is little volume, so simple pictures (flat, smooth, dark) are likely under models of complicated
ones: a model of CIFAR-10 finds house numbers likelier than its own data (Nalisnick et al. 2019, "Do deep generative
models know what they don't know?"). Look at several scores, and at data that is strange in the way you expect.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from simulacra.core.batch import Batch, Values
from simulacra.core.capabilities import Likelihood, require
from simulacra.core.figure import Figure
from simulacra.core.indices import to_indices
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.evaluation import intervals
from simulacra.evaluation.likelihood import resting
from simulacra.mathematics.ranking import auc
from simulacra.uses.checks import check_examples, check_labels, device_of, space_of

ROWS = 256  # examples scored at a time
Coded = Callable[[Values, Space], Tensor]  # examples -> bits (n,) that a compressor takes for each


@runtime_checkable
class Score(Protocol):
    """A score of strangeness: its name, its known failure in a sentence, and itself, from bits (n,) of each example."""

    @property
    def name(self) -> str: ...

    @property
    def failure(self) -> str: ...

    def __call__(self, bits: Tensor, x: Values) -> Tensor:
        """bits  -log2 p(x) of each example under the model, float64 (n,); the score is (n,), larger is stranger."""
        ...


@dataclass(frozen=True)
class Surprise:
    """-log2 p(x) itself: the strange are taken to be improbable (Bishop 1994)."""

    name = "likelihood"
    failure = "simple examples look familiar whatever they show, as they are likely under any model"

    def __call__(self, bits: Tensor, x: Values) -> Tensor:
        return bits


@dataclass(frozen=True)
class Typicality:
    """Distance of -log2 p(x) from its mean over the model's own data (Nalisnick et al. 2019, "Detecting
    out-of-distribution inputs to deep generative models using typicality", with one example at a time).

    mean  of -log2 p over examples the model knows, but was not fitted on.
    """

    mean: float
    name = "typicality"
    failure = "strange examples that happen to be as likely as the usual ones pass, and unusual but genuine ones do not"

    def __call__(self, bits: Tensor, x: Values) -> Tensor:
        return (bits - self.mean).abs()


@dataclass(frozen=True)
class Ratio:
    """Bits under the model less bits under a background: what the model knows beyond what anything would.

    background  a model of the data at large, or of the data with noise (Ren et al. 2019, "Likelihood ratios for
                out-of-distribution detection"), by ``model_bits``; or a compressor (Serra et al. 2020, "Input
                complexity and out-of-distribution detection with likelihood-based generative models").
    """

    background: Coded
    space: Space
    what: str
    failure = "it is only as good as its background: one that is too good or too poor decides the score alone"

    @property
    def name(self) -> str:
        return f"ratio to {self.what}"

    def __call__(self, bits: Tensor, x: Values) -> Tensor:
        return bits - self.background(x, self.space).double()


@torch.no_grad()
def bits_of(
    model: object,
    x: Values,
    *,
    y: Tensor | None = None,
    rng: Rng | int = 0,
    options: Mapping[str, Any] | None = None,
) -> tuple[Tensor, str]:
    """-log2 p of each example, float64 (n,), and the kind of that likelihood: "exact" | "bound" | "estimate".

    Raises ValueError for a model without likelihoods and examples that are not of its space.
    """
    scorer = require(model, Likelihood, "novelty")
    space = space_of(model, "novelty")
    n = check_examples(space, x)
    check_labels(space, y, n)
    stream, whole, parts, kind = Rng.of(rng)("novelty"), Batch(x=x, y=y), [], "exact"
    with resting(model):
        for first in range(0, n, ROWS):
            part = whole.rows(slice(first, first + ROWS)).to(device_of(model))
            found = scorer.log_likelihood(part.x, **part.given(), rng=stream.rows(first), **dict(options or {}))
            parts.append(found.nats.double().cpu())
            kind = found.kind
    return -torch.cat(parts) / math.log(2), kind


@dataclass(frozen=True)
class model_bits:
    """Another model as the background of ``Ratio``."""

    model: object

    def __call__(self, x: Values, space: Space) -> Tensor:
        return bits_of(self.model, x)[0]


def zlib_bits(x: Values, space: Space) -> Tensor:
    """Bits that zlib at its best takes for each example's values, one byte a value (two beyond 256 values)."""
    index = to_indices(space, x).cpu().numpy()
    rows = index.astype(np.uint8 if int(index.max(initial=0)) < 256 else np.uint16)
    return torch.tensor([8.0 * len(zlib.compress(row.tobytes(), 9)) for row in rows], dtype=torch.float64)


def png_bits(x: Values, space: Space) -> Tensor:
    """Bits that PNG takes for each picture; ValueError for what is no picture PNG can hold."""
    shape = space.only.shape
    levels = getattr(space.only, "levels", None)
    if len(shape) != 3 or shape[0] not in (1, 3, 4) or levels is None or levels > 256:
        raise ValueError(f"PNG holds pictures of 1, 3 or 4 channels and at most 256 levels; got {space.only}")
    index = to_indices(space, x).reshape(-1, *shape).permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)
    found = []
    for picture in index:
        out = io.BytesIO()
        if levels == 2 and shape[0] == 1:
            Image.fromarray(picture[..., 0] * np.uint8(255)).convert("1").save(out, "PNG", optimize=True)
        else:
            Image.fromarray(picture[..., 0] if shape[0] == 1 else picture).save(out, "PNG", optimize=True)
        found.append(8.0 * len(out.getvalue()))
    return torch.tensor(found, dtype=torch.float64)


def figure_of(score: Score, usual: Tensor, strange: Tensor, *, kind: str, seed: int | None = None) -> Figure:
    """How well a score tells strange examples from usual ones: the area under the receiver operating curve."""
    value, error = auc(usual, strange)
    interval = intervals.of_auc(value, error, len(usual), len(strange))
    return Figure(
        name=f"AUC of {score.name}", value=value, direction="higher", n=len(strange), n_real=len(usual),
        interval=interval.bounds, interval_method=interval.method, level=intervals.LEVEL, seed=seed,
        note=f"likelihood of kind {kind}; known failure: {score.failure}",
    )  # fmt: skip
