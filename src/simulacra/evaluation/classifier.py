"""The extractor `classifier`: a small convolutional network trained on the data's own labels.

It stands in for Inception where pictures are small, grey or not photographs: its features separate what the data's own
labels separate. It is trained by its own short loop, so that what judges does not depend on what is judged, from a
fixed seed, and kept by the data's fingerprint: two runs on the same data are judged by the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.core.batch import Batch, Data, fingerprint
from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.evaluation.extractors import BATCH, Extractor, tensor
from simulacra.evaluation.kept import keep, place, read_back
from simulacra.nets.halving import halving
from simulacra.nets.initialise import initialise


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """The network and its training.

    features  size of the last hidden layer, the features: few, so that few examples already tell a distance of them.
    channels  of the first convolution; doubled at each halving of the picture, up to four times.
    examples  how many are seen in all; held_out share of the data, at most 2,000 examples, measures the accuracy.
    """

    features: int = 32
    channels: int = 16
    examples: int = 60_000
    batch: int = 64
    lr: float = 3e-3
    weight_decay: float = 1e-2
    held_out: float = 0.1
    seed: int = 0


class Network(nn.Module):
    """Pictures (b, c, h, w) to features (b, features) and to what is learnt of them, (b, outputs)."""

    spread: Tensor

    def __init__(self, config: ClassifierConfig, space: Space, outputs: int) -> None:
        super().__init__()
        self.body = halving(space.only.shape, config.channels, config.features)
        # features are taken before the last activation: saturated ones would not see how far off a sample is
        self.head = nn.Sequential(nn.SiLU(), nn.Linear(config.features, outputs))
        self.register_buffer("spread", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))

    def features(self, x: Tensor) -> Tensor:
        """The last hidden layer in units of its own spread over held-out data: the kernel distance has a scale."""
        return self.body(x) / self.spread


def classifier(data: Data, *, folder: Path | None = None, config: ClassifierConfig | None = None) -> Extractor:
    """The extractor of labelled pictures; trained, or read from folder if it was kept there before.

    folder  where trained weights are kept, as safetensors under the data's fingerprint; None keeps nothing.
    ValueError for data without classes, that are not pictures, or with fewer than 20 examples.
    """
    config = config or ClassifierConfig()
    if data.space.layout != "grid":
        raise ValueError(f"the classifier takes pictures (c, h, w); got {list(data.space.fields)}: use plain features")
    if len(data.space.classes) < 2 or len(data) < 20:
        raise ValueError(
            f"the classifier needs at least 2 classes and 20 examples; got {len(data.space.classes)} and {len(data)}:"
            " use pixels"
        )
    network = Network(config, data.space, len(data.space.classes))
    path = place(folder, "classifier", data, config)
    if path is not None and path.exists():
        noted = read_back(path, network, ("right", "tried"))
        right, tried = int(noted["right"]), int(noted["tried"])
    else:
        right, tried = _train(network, data, config)
        if path is not None:
            keep(path, network, {"right": str(right), "tried": str(tried)})
    network.eval().requires_grad_(False)
    return Extractor(
        name="classifier",
        hash=fingerprint(dict(sorted(network.state_dict().items()))),
        features=network.features,
        classify=lambda x: network(x).softmax(1),
        accuracy=(right / tried, tried),
    )


def _train(network: Network, data: Data, config: ClassifierConfig) -> tuple[int, int]:
    """Trains the network; how many of how many held-out examples it then gets right."""
    right, kept = learn(
        network,
        data,
        config,
        rng=Rng(config.seed, ("classifier",)),
        loss=lambda out, batch: F.cross_entropy(out, tensor(batch.y)),
        score=lambda out, batch: (out.argmax(1) == tensor(batch.y)).sum(),
    )
    return int(right), kept


def learn(
    network: Network,
    data: Data,
    config: ClassifierConfig,
    *,
    rng: Rng,
    loss: Callable[[Tensor, Batch], Tensor],
    score: Callable[[Tensor, Batch], Tensor],
) -> tuple[float, int]:
    """Trains a network on all but a held-out part of the data; the sum of its scores on that part, and how large it is.

    loss   of a network's outputs (b, ...) for a batch, the mean over it; score: the sum over it.
    """
    initialise(network, rng("weights"))
    order = rng("held out").permutation(len(data))
    kept = max(1, min(2000, int(config.held_out * len(data))))
    test, train = order[:kept], order[kept:]
    steps = max(1, config.examples // config.batch)
    (optimiser,) = AdamW(lr=config.lr, weight_decay=config.weight_decay).build(network)
    network.train()
    shuffled, at, epoch = train[:0], 0, 0
    for step in range(steps):
        if at + config.batch > len(shuffled):
            shuffled, at, epoch = train[rng("epoch", epoch).permutation(len(train))], 0, epoch + 1
        batch = data.batch(shuffled[at : at + config.batch], rng("batch", step))
        at += config.batch
        for group in optimiser.param_groups:
            group["lr"] = config.lr * min(1.0, (step + 1) / 50) * (1 - step / steps)
        optimiser.zero_grad(set_to_none=True)
        loss(network(tensor(batch.x)), batch).backward()
        optimiser.step()
    network.eval()
    total, hidden = 0.0, []
    with torch.no_grad():
        for start in range(0, kept, BATCH):
            batch = data.batch(test[start : start + BATCH], rng("test").rows(start))
            hidden.append(network.body(tensor(batch.x)))
            total += float(score(network.head(hidden[-1]), batch))
        network.spread.copy_(torch.cat(hidden).std().clamp(min=1e-6))
    return total, kept
