"""Exact likelihoods: what drawing pixel by pixel costs.

``python -m bench likelihood`` runs all parts; ``python -m bench.likelihood pixelcnn-sampling`` one of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
SIDE, LAYERS, CHANNELS, PICTURES = 28, 8, 32, 16
EVERY = 14  # of the peer's passes one in so many is run: all cost the same, whatever pixel they are for


def run(parts: tuple[str, ...] = ()) -> list[Any]:
    """The rows of the parts asked for, of all of them for none."""
    rows: list[Any] = []
    for part in parts or tuple(PARTS):
        rows += PARTS[part]()
    return rows


# -- drawing from a PixelCNN ------------------------------------------------------------------------------------------


def pixelcnn_sampling() -> list[Any]:
    """Cached against naive, the same network and noise; and against a naive network as pytorch-generative has it."""
    from bench.harness import Side, compare, faster

    ours = Side(file=HERE, function="our_drawing", settings={"cached": True})
    what = f"PixelCNN {SIDE}x{SIDE}, {LAYERS} layers x {CHANNELS} channels, {PICTURES} pictures: cached drawing against"
    naive = compare(ours, Side(file=HERE, function="our_drawing", settings={"cached": False}), rounds=1, warm_up=0)
    if naive.ours[0].value != naive.peer[0].value:
        raise RuntimeError("cached and naive drawing give other pictures under the same noise")
    published = compare(ours, Side(file=HERE, function="published_drawing"), rounds=5)
    rows = [
        faster(f"{what} naive, equal pictures", naive, at_least=50),
        faster(f"{what} pytorch-generative's way", published, at_least=100),
    ]
    note = (
        "pip finds no pytorch-generative: its published gated network (convolutions as in models/autoregressive/"
        f"gated_pixel_cnn.py) and a whole pass a pixel, rewritten; one in {EVERY} of its passes measured"
    )
    rows[1] = _with_note(rows[1], note)
    return [_with_note(rows[0], "CPU-seconds a picture; SHA-256 of the pictures equal"), rows[1]]


def _with_note(row: Any, note: str) -> Any:
    from dataclasses import replace

    return replace(row, note=note)


def our_drawing(cached: bool):
    """Pictures drawn from an untrained Gated PixelCNN: what the weights are makes no difference to the time."""
    import hashlib

    import torch

    from simulacra.core.space import Continuous, Space
    from simulacra.families.pixelcnn import PixelCNN, PixelCNNConfig
    from simulacra.nets.causal_network import Cached, Recomputed, gated
    from simulacra.nets.cell_outputs import Levels

    torch.set_num_threads(1)
    picture = Continuous(low=0.0, high=1.0, levels=2, shape=(1, SIDE, SIDE))
    config = PixelCNNConfig(network=gated(layers=LAYERS, width=CHANNELS), output=Levels(hidden=CHANNELS))
    model = PixelCNN(config, Space(fields={"picture": picture}, measure="binary pixels"), rng=0)

    def one_round() -> dict[str, Any]:
        x = model.sample(PICTURES, rng=1, along=Cached if cached else Recomputed).x
        return {"work": PICTURES, "value": hashlib.sha256(x.numpy().tobytes()).hexdigest()}  # type: ignore[union-attr]

    return one_round


def published_drawing():
    """A gated network with the convolutions that pytorch-generative's has, one whole pass for every pixel drawn."""
    import torch
    from torch import nn

    torch.set_num_threads(1)

    def gate(x: Any) -> Any:
        return torch.tanh(x[:, : x.shape[1] // 2]) * torch.sigmoid(x[:, x.shape[1] // 2 :])

    class Layer(nn.Module):
        def __init__(self, inputs: int, kernel: int, first: bool) -> None:
            super().__init__()
            c, half = CHANNELS, kernel // 2
            self.first = first
            self.wide = nn.Conv2d(inputs, c, (1, kernel), padding=(0, half))
            self.tall = nn.Conv2d(c, 2 * c, (half + 1, 1), padding=(half + 1, 0))
            self.beside, self.link = nn.Conv2d(inputs, 2 * c, 1), nn.Conv2d(2 * c, 2 * c, 1)
            self.left = nn.Conv2d(inputs, 2 * c, (1, half + 1), padding=(0, half + first))
            self.residual, self.skip = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1)

        def forward(self, v: Any, h: Any) -> Any:
            seen = self.tall(self.wide(v))[:, :, :SIDE]
            g = gate(self.link(seen) + self.left(h)[..., :SIDE])
            out = self.residual(g)
            return gate(seen + self.beside(v)), out if self.first else out + h, self.skip(g)

    layers = [Layer(1, 7, True), *(Layer(CHANNELS, 3, False) for _ in range(LAYERS))]
    head = nn.Sequential(nn.ReLU(), nn.Conv2d(CHANNELS, 32, 1), nn.ReLU(), nn.Conv2d(32, 1, 1))

    @torch.no_grad()
    def one_round() -> dict[str, Any]:
        x = -torch.ones(PICTURES, 1, SIDE, SIDE)
        passes = range(0, SIDE * SIDE, EVERY)
        for place in passes:
            row, column = divmod(place, SIDE)
            v, h, skips = x, x, 0
            for layer in layers:
                v, h, skip = layer(v, h)
                skips = skips + skip
            x[:, :, row, column] = torch.bernoulli(torch.sigmoid(head(skips)[:, :, row, column]))
        return {"work": PICTURES * len(passes) / (SIDE * SIDE)}

    return one_round


PARTS = {"pixelcnn-sampling": pixelcnn_sampling}

if __name__ == "__main__":
    from bench.harness import RESULTS, save, show

    asked = tuple(sys.argv[1:]) or tuple(PARTS)
    result = run(asked)
    show("likelihood", result)
    print(json.dumps([{"what": r.what, "ours": r.ours, "peer": r.peer, "note": r.note} for r in result], indent=1))
    save(
        "likelihood-" + "-".join(asked), result, folder=RESULTS, command=f"python -m bench.likelihood {' '.join(asked)}"
    )
