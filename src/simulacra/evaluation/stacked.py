"""Modes of stacked digits: Srivastava et al. 2017 ("VEEGAN"), section 5.2, as Lin et al. 2018 count them.

A classifier of single digits, trained on the grey pictures, says which digit is red, which green, which blue; the three
are the mode. 26,000 samples show how many of the thousand there are, and how far their shares are from the data's.
The classifier errs: what it says of held-out stacks stands beside.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from simulacra.core.capabilities import Sampler, require
from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation.extractors import BATCH, Extractor, tensor
from simulacra.modalities.modes import CountedModes, counted_modes
from simulacra.modalities.stacked import mode_of

SAMPLES = 26_000  # of the papers: 26 a mode
CHUNK = 1_000  # samples drawn at a time


@torch.no_grad()
def modes_seen(x: Tensor, classify: Callable[[Tensor], Tensor]) -> Tensor:
    """The mode of each stack (n, 3, h, w), int64 (n,); ``classify``: (b, 1, h, w) -> probabilities (b, classes)."""
    if x.ndim != 4 or x.shape[1] != 3:
        raise ValueError(f"stacks are pictures of three colours, (n, 3, h, w); got {tuple(x.shape)}")
    grey = x.reshape(-1, 1, *x.shape[2:])
    said = torch.cat([classify(part) for part in grey.split(BATCH)])
    return mode_of(said.argmax(1).reshape(-1, 3), said.shape[1])


def modes_of_samples(
    model: object, judge: Extractor, weights: Tensor, *, n: int = SAMPLES, rng: Rng | int = 0
) -> CountedModes:
    """What n samples of a model show of the modes, whose true shares are ``weights`` (modes,)."""
    assert judge.classify is not None
    sampler, rng = require(model, Sampler, "counting modes"), Rng.of(rng)
    seen = [
        modes_seen(tensor(sampler.sample(min(CHUNK, n - i), rng=rng.rows(i)).x), judge.classify)
        for i in range(0, n, CHUNK)
    ]
    return counted_modes(torch.cat(seen), weights)


def figures_of_modes(found: CountedModes, judge: Extractor, *, seed: int) -> list[Figure]:
    """The number of modes and the reverse KL, with what the classifier is worth."""
    right, tried = judge.accuracy or (float("nan"), 0)
    said = f"one frozen classifier of digits, {100 * right:.1f} % of {tried:,} held-out ones right"
    common = {"n": found.n, "seed": seed, "extractor": judge.name, "extractor_hash": judge.hash, "note": said}
    expected = (found.k - 1) / (2 * found.n)
    return [
        Figure(name=f"modes of {found.k:,}", value=float(found.modes), direction="higher", unit="modes", **common),
        Figure(
            name="reverse KL of the modes",
            value=found.reverse_kl,
            direction="lower",
            unit="nats",
            **{**common, "note": f"{said}; {expected:.3f} in expectation for samples of the data itself"},
        ),
    ]
