"""The extractor `regressor`: what `classifier` is for classes, for pictures whose labels are numbers.

The same network, loop and place to keep it; it learns every number of the labels, each in units of its own spread.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from simulacra.core.batch import Batch, Data, fingerprint
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.evaluation.classifier import ClassifierConfig, Network, learn
from simulacra.evaluation.extractors import Extractor, tensor
from simulacra.evaluation.kept import keep, place, read_back


def regressor(data: Data, *, folder: Path | None = None, config: ClassifierConfig | None = None) -> Extractor:
    """The extractor of pictures labelled with numbers; trained, or read from folder if it was kept there before.

    folder  where trained weights are kept, as safetensors under the data's fingerprint; None keeps nothing.
    ValueError for labels that are not numbers alone, data that are not pictures, or fewer than 20 examples.
    """
    config = config or ClassifierConfig()
    y = data.space.y
    if data.space.layout != "grid" or len(data) < 20:
        raise ValueError(
            f"the regressor takes pictures (c, h, w), 20 or more; got {len(data)} examples of {data.name}: use pixels"
        )
    if not isinstance(y, Space) or not all(isinstance(f, Continuous) and not f.varying for f in y.fields.values()):
        raise ValueError(f"the regressor learns labels that are numbers; those of {data.name} are not: use classifier")
    network = Network(config, data.space, sum(math.prod(f.shape) for f in y.fields.values()))
    path = place(folder, "regressor", data, config)
    if path is not None and path.exists():
        read_back(path, network, ())
    else:
        learn(
            network,
            data,
            config,
            rng=Rng(config.seed, ("regressor",)),
            loss=lambda out, batch: F.mse_loss(out, numbers(batch, y)),
            score=lambda out, batch: -(out - numbers(batch, y)).square().sum(),
        )
        if path is not None:
            keep(path, network, {})
    network.eval().requires_grad_(False)
    return Extractor(
        name="regressor",
        hash=fingerprint(dict(sorted(network.state_dict().items()))),
        features=network.features,
    )


def numbers(batch: Batch, space: Space) -> Tensor:
    """All numbers of a batch's labels, (b, numbers), each by its field's centre and scale."""
    values = {next(iter(space.fields)): batch.y} if isinstance(batch.y, Tensor) else batch.y
    assert values is not None
    found: list[Tensor] = []
    for name, f in space.fields.items():
        assert isinstance(f, Continuous)
        found.append((tensor(values[name]).float() - f.centre).flatten(1) / f.scale)
    return torch.cat([v if v.ndim > 1 else v[:, None] for v in found], dim=1)
