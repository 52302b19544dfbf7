"""Differential privacy: epsilon against the exact Gaussian and Opacus, and what a private VAE's samples can teach.

A class-conditional VAE learns MNIST at epsilon = 10, delta = 1e-5. A classifier is trained on its samples alone, and is
then shown the real test pictures for the first time: nothing was chosen by them. The training goes on where it was
stopped; ``bench/out`` keeps it and a sheet of samples. Opacus belongs to the developer's tools (``dev``).
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from bench.harness import Row

HERE = Path(__file__).resolve()
FOLDER = HERE.parent / "out" / "responsibility_private"
EPSILON, DELTA = 10.0, 1e-5
SAMPLES = 20_000
# (noise multiplier, sampling rate, steps): published settings of private training, and one of full batches
SETTINGS = ((1.0, 0.01, 1000), (0.7, 256 / 60_000, 2000), (1.5, 2048 / 60_000, 1500), (4.0, 0.2, 500), (5.0, 1.0, 100))


def run() -> list[Row]:
    """The rows of the accountant and of the private model."""
    return [*accounted(), *taught()]


def exact(noise: float, delta: float) -> float:
    """Epsilon of one Gaussian mechanism of sensitivity 1 (Balle & Wang 2018, theorem 8)."""
    from scipy import optimize as optimize_
    from scipy.stats import norm

    optimize: Any = optimize_  # its functions carry no types

    def excess(e: float) -> float:
        return float(norm.cdf(0.5 / noise - e * noise) - math.exp(e + norm.logcdf(-0.5 / noise - e * noise)) - delta)

    return float(optimize.brentq(excess, 0.0, 5 + 1 / noise**2 + 20 / noise, xtol=1e-12))


def accounted() -> list[Row]:
    """Our epsilon beside the exact one where it is known, and beside that of Opacus."""
    from opacus.accountants import PRVAccountant

    from simulacra.mathematics.privacy import epsilon

    rows: list[Row] = []
    for noise in (0.3, 1.0, 5.0, 50.0):
        ours, truth = epsilon(noise, 1.0, 1, DELTA), exact(noise, DELTA)
        rows.append(
            Row(
                what=f"epsilon of one Gaussian, noise {noise:g}", unit="over the exact one", ours=ours / truth,
                target=">= 1", met=ours >= truth, note=f"{ours:.6f}; exact {truth:.6f}",
            )
        )  # fmt: skip
    for noise, rate, steps in SETTINGS:
        accountant = PRVAccountant()
        accountant.history = [(noise, rate, steps)]
        start = time.process_time()
        ours = epsilon(noise, rate, steps, DELTA)
        mine = time.process_time() - start
        start = time.process_time()
        theirs = float(accountant.get_epsilon(DELTA))
        rows.append(
            Row(
                what=f"epsilon, noise {noise:g}, rate {rate:.4g}, {steps} steps", unit="over Opacus's PRV",
                ours=ours / theirs, target="<= 1.02", met=ours <= 1.02 * theirs,
                note=f"{ours:.4f} in {mine:.2f} CPU-s; Opacus {theirs:.4f} in {time.process_time() - start:.2f}",
            )
        )  # fmt: skip
    return rows


def taught() -> list[Row]:
    """Accuracy on real test pictures of a classifier that saw samples of the private model only; the bound shown."""
    import torch

    from simulacra.core.batch import Stored
    from simulacra.core.randomness import Rng
    from simulacra.evaluation.classifier import classifier
    from simulacra.modalities.sources import open_data
    from simulacra.responsibility.privacy import privacy

    data = open_data("mnist")
    done, cpu = trained(data)
    with torch.no_grad():
        drawn = done.averaged.sample(SAMPLES, rng=1, noise=0.0)
    learned = classifier(Stored(space=data.train.space, x=drawn.x, y=drawn.y, name="samples"))
    assert learned.classify is not None
    test = data.held_out.batch(torch.arange(len(data.held_out)), Rng(0))
    assert isinstance(test.x, torch.Tensor)
    assert isinstance(test.y, torch.Tensor)
    seen = torch.cat([learned.classify(x).argmax(1) for x in test.x.split(500)])
    right = int((seen == test.y).sum())
    found = privacy(done.averaged, data.train, data.held_out, done.private)
    shown = found.figures[1].value
    sheet(done.averaged, data.train.space)
    spent = done.private["epsilon"]
    return [
        Row(
            what="MNIST, private VAE: classifier trained on samples alone", unit="accuracy on real test pictures",
            ours=right / len(seen), target=">= 0.80", met=right / len(seen) >= 0.80,
            note=f"{right:,} of {len(seen):,}; epsilon {spent:.3f} at delta {DELTA:g}, noise"
            f" {done.private['noise']:.3f}, {done.steps} steps of"
            f" {int(done.examples / done.steps):,} expected; {cpu:.0f} CPU-s of training",
        ),
        Row(
            what="MNIST, private VAE: epsilon shown by guessing", unit="epsilon", ours=shown,
            target=f"<= {spent:.2f}", met=shown <= spent, note=found.why,
        ),
    ]  # fmt: skip


def trained(data: Any) -> tuple[Any, float]:
    """The private model, trained or gone on with, and the CPU-seconds it took over all sittings."""
    from simulacra.core.optimisers import AdamW, Warmup
    from simulacra.families.vae import VAE, VAEConfig
    from simulacra.nets.backbones import Dense
    from simulacra.nets.heads import bernoulli
    from simulacra.training.loop import train
    from simulacra.training.settings import Privacy, Training

    # three numbers are left to say what the label does not; a heavy KL keeps codes where samples are drawn from
    config = VAEConfig(
        latent=3, networks=Dense(hidden=(100,)), likelihood=bernoulli, beta=4.0,
        optimiser=AdamW(lr=1e-2, schedule=Warmup(steps=20, decay=0.6)),
    )  # fmt: skip
    training = Training(
        steps=800, batch=2000, private=Privacy(epsilon=EPSILON, delta=DELTA, clip=1.0), average_half_life=40_000.0
    )
    note = FOLDER / "cpu.json"
    before = json.loads(note.read_text()) if note.exists() else 0.0
    start = time.process_time()
    done = train(VAE(config, data.train.space), data.train, training, folder=FOLDER / "run", resume=True)
    cpu = before + time.process_time() - start
    note.write_text(json.dumps(cpu))
    if done.ended != "budget":
        raise KeyboardInterrupt
    return done, cpu


def sheet(model: Any, space: Any) -> None:
    """Ten samples of each class, a row a class, for looking at."""
    import torch

    from simulacra.modalities import grids
    from simulacra.modalities.images import to_uint8

    with torch.no_grad():
        drawn = model.sample(100, y=torch.arange(10).repeat_interleave(10), rng=2, noise=0.0)
    (FOLDER / "samples.png").write_bytes(grids.png(grids.grid(to_uint8(drawn.x, space))))


if __name__ == "__main__":
    from bench.harness import show

    show("responsibility_private", run())
