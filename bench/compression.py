"""Lossless compression of test pictures by models that are fitted here in minutes, against PNG and WebP.

What is measured is the codec. Without what a file has once (header, checksum, the bits that bits-back begins with) it
is to be no longer than the model's own bound but for 1 %, and with it shorter than what PIL writes; the weights, which
a reader needs, are in neither. MNIST's pictures are coded by a VAE and by a hierarchical one with bits-back,
CIFAR-10's by a small PixelCNN in the manner of PixelCNN++, whose likelihood is exact. The opponents get whichever is
smallest: a file a picture, or one contact sheet or strip of all of them, in the fewest bits a pixel they have.

``python -m bench compression`` runs all; ``python -m bench.compression CASE ...`` some of them, and writes nothing.
"""

from __future__ import annotations

import dataclasses
import io
import math
import sys
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from bench.harness import Row


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """Pictures, the model that codes them, and how.

    config    of the family's recipe, for a space and a number of examples -> the settings.
    training  settings of the run, as ``Training`` takes them.
    pictures  how many of the test pictures, from the first on.
    ways      (arithmetic, backend, pictures), by name: the first one is what the opponents are compared with.
    batch     pictures the model is asked for at a time; None chooses.
    """

    what: str
    data: str
    options: dict[str, Any]
    family: str
    config: Callable[[Any, int], Any]
    training: dict[str, Any]
    pictures: int
    ways: tuple[tuple[str, str, int], ...]
    batch: int | None = None


def dense_vae(components: int) -> Callable[[Any, int], Any]:
    """A VAE with dense networks."""

    def config(space: Any, examples: int) -> Any:
        from simulacra.nets.backbones import Dense
        from simulacra.nets.heads import Mixture
        from simulacra.recipes.known_good import vae_recipe

        settings, _ = vae_recipe(space, examples)
        return dataclasses.replace(
            settings, networks=Dense(hidden=(512, 256)), likelihood=Mixture(components=components), latent=24
        )

    return config


def ladder(space: Any, examples: int) -> Any:
    """A hierarchical VAE of three groups."""
    from simulacra.families.hvae import HVAEConfig
    from simulacra.mathematics.ladder import LadderWarmup

    return HVAEConfig(groups=(0, 1, 2), latent=4, width=16, objective=LadderWarmup(steps=200))


def plus_plus(space: Any, examples: int) -> Any:
    """A mixture of logistics for each pixel, green and blue linear in what comes before; gated layers, the cheapest."""
    from simulacra.core.optimisers import AdamW, Warmup
    from simulacra.families.pixelcnn import PixelCNNConfig
    from simulacra.nets.causal_network import gated
    from simulacra.nets.cell_outputs import Logistics

    return PixelCNNConfig(
        network=gated(layers=3, width=32, first=5), output=Logistics(components=4),
        optimiser=AdamW(lr=5e-3, schedule=Warmup(steps=50, decay=0.6, final=0.02)),
    )  # fmt: skip


NATIVE, PORTABLE = ("native", "rans-64/32"), ("portable", "rans-64/32")
BINARY = {"labels": "none", "binarise": "dynamic"}
CASES = {
    "vae-binary": Case(
        what="MNIST black and white, VAE", data="mnist", options=BINARY, family="vae", config=dense_vae(1),
        training={"steps": 1500, "batch": 128}, pictures=3000, ways=((*NATIVE, 3000), (*PORTABLE, 500)),
    ),
    "hvae-binary": Case(
        what="MNIST black and white, hierarchical VAE", data="mnist", options=BINARY, family="hvae", config=ladder,
        training={"steps": 500, "batch": 128}, pictures=2000, ways=((*NATIVE, 2000),),
    ),
    "vae-8bit": Case(
        what="MNIST 8-bit, VAE", data="mnist", options={"labels": "none"}, family="vae", config=dense_vae(5),
        training={"steps": 400, "batch": 128}, pictures=500, ways=((*NATIVE, 500), (*PORTABLE, 100)),
    ),
    "pixelcnn-cifar10": Case(
        what="CIFAR-10, PixelCNN with logistics", data="cifar10", options={"labels": "none"},
        family="pixelcnn", config=plus_plus, training={"steps": 6000, "batch": 4, "precision": "bfloat16"},
        pictures=400, ways=((*NATIVE, 400), ("native", "constriction-range", 50)), batch=200,
    ),
}  # fmt: skip


def run() -> list[Row]:
    """The rows of the table."""
    return [row for case in CASES.values() for row in measured(case)]


def measured(case: Case) -> list[Row]:
    """Length against the bound, against both opponents, and the time it takes."""
    import torch

    from bench.harness import Row
    from simulacra.core.randomness import Rng

    model, cost, held_out = fitted(case)
    x = held_out.batch(torch.arange(case.pictures), Rng(0)).x
    bits, kind = bound(model, x)
    rows, first = [], None
    for arithmetic, backend, n in case.ways:
        whole, once, spent = coded(model, x[:n], arithmetic, backend, case.batch)
        ideal, net = float(bits[:n].sum()), 8 * whole - once
        first = 8 * whole / x[:n].numel() if first is None else first
        rows.append(
            Row(what=f"{case.what}, {arithmetic} arithmetic, {backend}: net length over the model's {kind}",
                unit="bits/dim", ours=net / x[:n].numel(), peer=ideal / x[:n].numel(), target="<= 1 % over",
                met=net <= 1.01 * ideal,
                note=f"{100 * (net / ideal - 1):+.3f} %; a file has {once:,} bits once, with them"
                f" {100 * (8 * whole / ideal - 1):+.2f} %; {1000 * spent[0] / n:.1f} CPU-ms a picture to write,"
                f" {1000 * spent[1] / n:.1f} to read; {n} test pictures decoded and equal; fitted in {cost:.0f} CPU-s,"
                f" {sum(p.numel() for p in model.parameters()):,} weights",
                rounds={"bytes": whole, "bits_once": once, "ideal_bits": ideal, "cpu_s": spent, "fit_cpu_s": cost})
        )  # fmt: skip
    assert first is not None
    pictures = as_bytes(x, binary="binarise" in case.options)
    for opponent in ("PNG", "WebP"):
        size, how = smallest(pictures, opponent)
        rate = 8 * size / x.numel()
        rows.append(
            Row(what=f"{case.what}: whole file against {opponent} without loss", unit="bits/dim", ours=first,
                peer=rate, target="smaller", met=first < rate,
                note=f"{opponent} is {rate / first:.2f} times as long; {how}")
        )  # fmt: skip
    return rows


def fitted(case: Case) -> tuple[Any, float, Any]:
    """The model, the CPU-seconds its fit took, and the test pictures."""
    import simulacra
    from simulacra.modalities.sources import open_data
    from simulacra.training.settings import Training

    data = open_data(case.data, **case.options)
    config = case.config(data.train.space, len(data.train))
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        run = simulacra.fit(case.family, data, config=config, training=Training(**case.training), out=f"{folder}/run")
        return run.model, time.process_time() - began, data.held_out


def bound(model: Any, x: Any) -> tuple[Any, str]:
    """Bits of each picture, float64, and what they are: exact, or a bound of which four draws are averaged."""
    import torch

    found, kind = [], ""
    for part in x.split(100):
        said = model.log_likelihood(part, rng=0)
        kind = said.kind
        draws = [said, *(model.log_likelihood(part, rng=s) for s in range(1, 4 if kind == "bound" else 1))]
        found.append(-torch.stack([d.nats.double() for d in draws]).mean(0) / math.log(2))
    return torch.cat(found), {"exact": "own exact likelihood"}.get(kind, "own bound")


def coded(model: Any, x: Any, arithmetic: str, backend: str, batch: int | None) -> tuple[int, int, list[float]]:
    """Bytes of a file, the bits of it that a file has once, and CPU-seconds to write and to read it."""
    import torch

    from simulacra.uses.arithmetic import ARITHMETICS
    from simulacra.uses.backends import BACKENDS
    from simulacra.uses.compress import compress, decompress
    from simulacra.uses.container import unpack

    began = time.process_time()
    data = compress(model, x, arithmetic=ARITHMETICS[arithmetic], backend=BACKENDS[backend], batch=batch)
    middle = time.process_time()
    if not torch.equal(decompress(model, data).x, x):
        raise RuntimeError(f"{arithmetic}, {backend}: what was decoded is not what was written")
    spent = [middle - began, time.process_time() - middle]
    header, payload = unpack(data)
    # a stack's head begins with 31 bits of nothing, in bits-back with 63 drawn ones and as many words as it lacked
    begun = {"walk": 31 if "lanes" in header["coder"] else 0, "bits-back": 63 + 32 * header["coder"].get("drawn", 0)}
    return len(data), 8 * (len(data) - len(payload)) + begun[header["scheme"]], spent


def as_bytes(x: Any, *, binary: bool) -> np.ndarray:
    """Pictures (n, c, h, w) as PIL has them: bool or uint8, (n, h, w) or (n, h, w, 3)."""
    import torch

    levels = (x > 0) if binary else ((x + 1) * 127.5).round().to(torch.uint8)
    return levels[:, 0].numpy() if x.shape[1] == 1 else levels.movedim(1, -1).numpy()


def smallest(pictures: np.ndarray, kind: str) -> tuple[int, str]:
    """Bytes of pictures (n, h, w) or (n, h, w, 3), bool or uint8, at an opponent's best, and how that was."""
    n, h, w, *colours = pictures.shape
    across = math.isqrt(n)
    while n % across:
        across -= 1
    sheet = pictures.reshape(n // across, across, h, w, *colours).swapaxes(1, 2)
    sheet = sheet.reshape(n // across * h, across * w, *colours)
    ways = {"a file a picture": sum(written(p, kind) for p in pictures), "one contact sheet": written(sheet, kind)}
    if n * h <= 16383:  # WebP's longest side
        ways["one strip"] = written(pictures.reshape(n * h, w, *colours), kind)
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


if __name__ == "__main__":
    from bench.harness import show

    for name in sys.argv[1:] or CASES:
        show(name, measured(CASES[name]))
