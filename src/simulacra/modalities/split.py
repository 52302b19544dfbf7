"""Which examples are held out: decided by what they are, so that no order, no name and no other file changes it."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from simulacra.core.batch import Stored


def split(data: Stored, *, share: float = 0.1) -> tuple[Stored, Stored]:
    """(train, held out): an example is held out where the hash of its contents, as a fraction, lies below share.

    Equal examples fall on the same side, labels are not looked at; with the same share, adding some moves no others.
    Where that leaves one side empty, the examples nearest to crossing cross, so that each side has at least one.
    Raises ValueError for a share outside (0, 1), and where fewer than two different examples leave nothing to split.
    """
    if not 0 < share < 1:
        raise ValueError(f"the held-out share must lie between 0 and 1; got {share}")
    assert isinstance(data.x, Tensor)
    fraction = content_fractions(data.x.cpu().numpy())
    kinds = np.unique(fraction)
    if len(kinds) < 2:
        said = "one example" if len(fraction) == 1 else f"{len(fraction)} equal examples"
        raise ValueError(f"{data.name}: {said} cannot be split into a part to learn and one to judge; expected two")
    held = fraction < share
    if not held.any():
        held = fraction == kinds[0]
    if held.all():
        held = fraction != kinds[-1]
    index = torch.from_numpy(held)
    return (
        data.subset((~index).nonzero()[:, 0], name=data.name),
        data.subset(index.nonzero()[:, 0], name=f"{data.name} (held out)"),
    )


def content_fractions(examples: np.ndarray) -> np.ndarray:
    """A number in [0, 1) for each row, (n,) float64: BLAKE2b of its bytes, so that it is the same everywhere."""
    rows = np.ascontiguousarray(examples).reshape(len(examples), -1)
    words = [int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "little") for row in rows]
    return (np.array(words, np.uint64) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def enough(n: int) -> float:
    """The share held out of n examples where nobody says, 0.1 .. 0.3: more of small data, so that it can judge.

    600 examples are what the intervals of most figures ask for (``evaluation.intervals``).
    """
    return min(0.3, max(0.1, 600 / max(n, 1)))
