"""Chorales as frames of keys: a setting that learns them in minutes of one core, beside the benchmark's figures."""

from __future__ import annotations

from typing import Any

from simulacra.core.batch import Data
from simulacra.core.figure import Figure
from simulacra.core.optimisers import Warmup
from simulacra.core.randomness import Rng
from simulacra.evaluation.likelihood import figures_of_likelihood, log_likelihood
from simulacra.families.transformer import TransformerConfig
from simulacra.nets.decoder import Decoder
from simulacra.recipes.claims import Published
from simulacra.recipes.known_good import for_sequences
from simulacra.training.settings import Training


def nats_a_frame(model: Any, held_out: Data) -> Figure:
    """-log p of all held-out tunes over all their frames, exact, nats; what ends a tune is paid for too."""
    found = log_likelihood(model, held_out, rng=Rng(1)("score"), batch=8)
    return figures_of_likelihood(found, seed=1)[1]


FALLING = for_sequences(Warmup(steps=30, decay=0.9, final=0.01))

MUSIC: dict[str, Published] = {
    "transformer-jsb": Published(
        what="negative log-likelihood a frame of 88 keys, JSB chorales, keys of a frame one after another",
        published={
            "RNN-NADE, Boulanger-Lewandowski et al. 2012, table 1": "5.19 nats",
            "a trial named in this project's plan, 8 CPU-minutes": "4.88 nats",
        },
        target=(4.75, "lower"),
        family="transformer",
        data="jsb",
        options={"transpose": 6},
        config=TransformerConfig(
            network=Decoder(depth=3),
            optimiser=FALLING,
        ),
        training=Training(steps=4_000, batch=8, log_every=50, average_half_life=1_000.0, save_seconds=120.0),
        score=nats_a_frame,
        cost="about 20 minutes of one core: 4.35 nats",
    ),
}
