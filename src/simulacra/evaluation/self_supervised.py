"""The extractor `encoder`: trained without labels on the user's own pictures, by two views of each.

For pictures that are unlike photographs and carry no labels, features of other people's networks say little and pixels
less. Here a small network learns to give distorted views of one picture the same features and every feature something
to tell (VICReg; SimCLR is another loss passed in). It has its own short loop and a fixed seed, so that what judges does
not depend on what is judged, and is kept by the data's fingerprint. What the views may differ in, the features do not
see: blur of half a pixel or a shift are forgiven, and figures of pixels are to be read beside them.
"""

from __future__ import annotations

from pathlib import Path

from simulacra.core.batch import Data, fingerprint
from simulacra.core.space import Continuous
from simulacra.evaluation.extractors import Extractor
from simulacra.evaluation.kept import keep, place, read_back
from simulacra.nets.self_supervised import Encoder, EncoderConfig, learn_encoder

LEAST = 20  # pictures


def encoder(data: Data, *, folder: Path | None = None, config: EncoderConfig | None = None) -> Extractor:
    """The extractor of unlabelled pictures; trained, or read from folder if it was kept there before.

    folder  where trained weights are kept, as safetensors under the data's fingerprint; None keeps nothing.
    ValueError for data that are not pictures, or fewer than 20 of them.
    """
    config = config or EncoderConfig()
    if data.space.layout != "grid" or not isinstance(data.space.only, Continuous):
        raise ValueError(f"the encoder takes pictures (c, h, w); got {list(data.space.fields)}: use plain features")
    if len(data) < LEAST:
        raise ValueError(f"the encoder needs at least {LEAST} pictures to learn from; got {len(data)}: use pixels")
    network = Encoder(config, data.space)
    path = place(folder, "encoder", data, config)
    if path is not None and path.exists():
        read_back(path, network)
    else:
        learn_encoder(network, data, config)
        if path is not None:
            keep(path, network, {})
    network.eval().requires_grad_(False)
    kept = {name: t for name, t in sorted(network.state_dict().items()) if not name.startswith("head.")}
    return Extractor(name="encoder", hash=fingerprint(kept), features=network.features)
