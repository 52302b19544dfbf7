"""Detectors of generated pictures on kinds of models they have never seen, beside a baseline of frequencies alone.

Five families learn Fashion-MNIST at 16x16 for a few hundred steps each; each is left out in turn. Real and generated
pictures go through the same JPEG. What was trained is kept in ``bench/out``, so a bench that was stopped goes on.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from bench.harness import Row

HERE = Path(__file__).resolve()
FOLDER = HERE.parent / "out" / "responsibility_detectors"
# family -> optimiser steps of its recipe: under a CPU-minute each
STEPS = {"vae": 600, "dcgan": 1500, "flow_matching": 400, "glow": 600, "hvae": 300}
N = 1_000  # samples of each family, and real pictures on either side
QUALITIES = (None, 75)


def run() -> list[Row]:
    """A row for each kind of handling and detector, and whether the network is ahead."""
    from simulacra.core.randomness import Rng
    from simulacra.evaluation.extractors import values
    from simulacra.modalities.sources import open_data
    from simulacra.responsibility.detection import Convolutional, Frequencies, Handling, figures_of_detection, left_out

    data = open_data("fashion-mnist", size=16)
    real, unseen = values(data.train, 4 * N, Rng(0)("real")), values(data.held_out, N, Rng(0)("unseen"))
    drawn = {family: samples(family, data) for family in STEPS}
    sheet(drawn, unseen, data.train.space)
    rows: list[Row] = []
    for quality in QUALITIES:
        handle = Handling(quality=quality)
        handled = {name: handle(x) for name, x in drawn.items()}
        means: list[float] = []
        for by, learn in (("network and spectrum", Convolutional()), ("spectrum alone", Frequencies())):
            start = time.process_time()
            found = left_out(handle(real), handle(unseen), handled, learn)
            area, precision = figures_of_detection(found, by, n_real=N)
            means.append(area.value)
            low, high = area.interval or (area.value, area.value)
            each = ", ".join(f"{f.name} {f.area:.3f}" for f in found)
            rows.append(
                Row(
                    what=f"{by}; {'no JPEG' if quality is None else f'JPEG {quality}'}",
                    unit="AUC, mean of families left out", ours=area.value,
                    target="ahead of the spectrum alone" if by != "spectrum alone" else "",
                    note=f"over families [{low:.3f}, {high:.3f}]; average precision {precision.value:.3f}; {each};"
                    f" {time.process_time() - start:.0f} CPU-s",
                )
            )  # fmt: skip
        rows[-2] = dataclasses.replace(rows[-2], met=means[0] > means[1])
    return rows


def samples(family: str, data: Any) -> Any:
    """N pictures of a family's model, (n, 1, 16, 16), trained unless it has been."""
    import torch

    from simulacra.core.checkpoint import load_tensors, save_tensors
    from simulacra.evaluation.streaming import of_model
    from simulacra.recipes.families import FAMILIES
    from simulacra.training.loop import train

    kept = FOLDER / f"{family}.safetensors"
    if kept.exists():
        return load_tensors(kept)["x"]
    config, training = FAMILIES[family].recipe(data.train.space, len(data.train))
    training = dataclasses.replace(training, steps=STEPS[family], minutes=None, examples=None)
    model = FAMILIES[family].build(config, data.train.space, rng=0)
    done = train(model, data.train, training, folder=FOLDER / family, resume=True)
    if done.ended != "budget":
        raise KeyboardInterrupt
    part = of_model(done.averaged, 0)
    with torch.no_grad():
        x = torch.cat([part(at, at + 100).x for at in range(0, N, 100)])  # type: ignore[list-item]
    save_tensors(kept, {"x": x})
    return x


def sheet(drawn: dict[str, Any], unseen: Any, space: Any) -> None:
    """A row of pictures of each family, and one of real ones, for looking at."""
    import torch

    from simulacra.modalities import grids
    from simulacra.modalities.images import to_uint8

    rows = torch.cat([x[:16] for x in (*drawn.values(), unseen)])
    (FOLDER / "samples.png").write_bytes(grids.png(grids.grid(to_uint8(rows, space), columns=16)))


if __name__ == "__main__":
    from bench.harness import show

    show("responsibility_detectors", run())
