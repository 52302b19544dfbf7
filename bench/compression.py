"""Lossless compression of MNIST's test pictures by a VAE with bits-back, against PNG and WebP.

The models are fitted here, in a few CPU-minutes: what is measured is the codec, whose files are to be no longer than
the model's own bound but for 1 %, and shorter than what PIL writes. The opponents get whichever is smaller: a file a
picture, or one contact sheet of all of them, in the fewest bits a pixel they have.
"""

from __future__ import annotations

import io
import math
import tempfile
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from bench.harness import Row

PICTURES = 4000  # the first of the 10,000 test pictures; the fixed 4,000 bits of a file are 1 % of 1,700
CASES: dict[str, dict[str, Any]] = {
    "black and white": {"binarise": "dynamic", "steps": 1500},
    "8-bit": {"steps": 400, "components": 5},
}


def run() -> list[Row]:
    """The rows of the table."""
    return [row for name, case in CASES.items() for row in measured(name, **case)]


def fitted(folder: str, *, steps: int, binarise: str | None = None, components: int = 1) -> Any:
    """A run of a VAE with dense networks."""
    import dataclasses

    import simulacra
    from simulacra.modalities.sources import open_data
    from simulacra.nets.backbones import Dense
    from simulacra.nets.heads import Mixture
    from simulacra.recipes.families import vae_recipe

    data = open_data("mnist", labels="none", **({} if binarise is None else {"binarise": binarise}))
    config, _ = vae_recipe(data.train.space, len(data.train))
    config = dataclasses.replace(
        config, networks=Dense(hidden=(512, 256)), likelihood=Mixture(components=components), latent=24
    )
    return simulacra.fit("vae", data, config=config, steps=steps, out=folder)


def measured(name: str, **case: Any) -> list[Row]:
    """Length against the bound, against both opponents, and the time it takes."""
    import torch

    from bench.harness import Row
    from simulacra.core.randomness import Rng
    from simulacra.uses.arithmetic import native, portable
    from simulacra.uses.compress import compress, decompress

    with tempfile.TemporaryDirectory() as folder:
        run = fitted(f"{folder}/run", **case)
        x = run.data().held_out.batch(torch.arange(PICTURES), Rng(0)).x
    nats = torch.stack([run.model.log_likelihood(x, rng=seed).nats.double().sum() for seed in range(4)])
    bound = -float(nats.mean()) / math.log(2) / x.numel()
    rows = []
    lengths = {}
    for arithmetic in (native, portable):
        began = time.process_time()
        data = compress(run.model, x, arithmetic=arithmetic)
        middle = time.process_time()
        if not torch.equal(decompress(run.model, data).x, x):
            raise RuntimeError(f"{name}, {arithmetic.name}: what was decoded is not what was written")
        spent = [middle - began, time.process_time() - middle]
        lengths[arithmetic.name] = rate = 8 * len(data) / x.numel()
        rows.append(
            Row(what=f"MNIST {name}, {arithmetic.name} arithmetic: whole file over the model's bound", unit="bits/dim",
                ours=rate, peer=bound, target="<= 1 % over", met=rate <= 1.01 * bound,
                note=f"{100 * (rate / bound - 1):+.2f} %; {1000 * spent[0] / PICTURES:.2f} CPU-ms a picture to write,"
                f" {1000 * spent[1] / PICTURES:.2f} to read; {PICTURES} pictures decoded and equal",
                rounds={"bytes": len(data), "bound_bits_per_dim": bound, "cpu_s": spent})
        )  # fmt: skip
    pictures = (x > 0).numpy() if case.get("binarise") else ((x + 1) * 127.5).round().to(torch.uint8).numpy()
    for kind in ("PNG", "WebP"):
        size, how = smallest(pictures[:, 0], kind)
        rate = 8 * size / x.numel()
        ours = lengths["native"]
        rows.append(
            Row(what=f"MNIST {name}, against {kind} without loss", unit="bits/dim", ours=ours, peer=rate,
                target="smaller", met=ours < rate, note=f"{kind} is {rate / ours:.2f} times as long; {how}")
        )  # fmt: skip
    return rows


def smallest(pictures: np.ndarray, kind: str) -> tuple[int, str]:
    """Bytes of pictures (n, h, w), bool or uint8, at an opponent's best, and how that was."""
    n, h, w = pictures.shape
    across = math.isqrt(n)
    while n % across:
        across -= 1
    sheet = pictures.reshape(n // across, across, h, w).swapaxes(1, 2).reshape(n // across * h, across * w)
    strip = pictures.reshape(n * h, w)
    ways = {"a file a picture": sum(written(p, kind) for p in pictures), "one contact sheet": written(sheet, kind)}
    if len(strip) <= 16383:  # WebP's longest side
        ways["one strip"] = written(strip, kind)
    how = min(ways, key=lambda way: ways[way])
    return ways[how], f"{how} was its best"


def written(picture: np.ndarray, kind: str) -> int:
    """Bytes that PIL writes for one picture, trying hard."""
    from PIL import Image

    image = Image.fromarray(picture)
    out = io.BytesIO()
    if kind == "PNG":
        image.save(out, "PNG", optimize=True)
    else:
        image.convert("RGB").save(out, "WEBP", lossless=True, quality=100, method=6)
    return len(out.getvalue())
