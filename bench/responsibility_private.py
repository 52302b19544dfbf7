"""Differential privacy: epsilon against the exact Gaussian and Opacus, and what a private VAE's samples can teach.

Class-conditional VAEs of a few sizes learn 55,000 pictures of MNIST, each at epsilon = 10, delta = 1e-5. A classifier
is trained on the samples of each alone; the VAE whose classifier names the other 5,000 training pictures best is tried
on the test pictures, which decide nothing. (Which sizes are worth trying was found while test accuracies were looked
at; epsilon is that of the chosen model, the choice itself is not counted.) Trainings go on where they were stopped;
``bench/out`` keeps them and a sheet of samples. Opacus belongs to the developer's tools (``dev``).
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
LEARNT, JUDGED = 55_000, 5_000  # of the 60,000 training pictures
SIZES = ((2, 4.0), (3, 4.0), (8, 2.0))  # (codes, weight of the KL) that are tried
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
    """Accuracy on real test pictures of a classifier that saw samples of the chosen private model only; its bound."""
    import torch

    from simulacra.core.batch import Stored
    from simulacra.core.randomness import Rng
    from simulacra.modalities.sources import open_data
    from simulacra.responsibility.privacy import privacy

    data = open_data("mnist")
    space = data.train.space
    order = Rng(0)("split").permutation(len(data.train))
    parts = [data.train.batch(index, Rng(0)) for index in (order[:LEARNT], order[LEARNT : LEARNT + JUDGED])]
    parts.append(data.held_out.batch(torch.arange(len(data.held_out)), Rng(0)))
    learn, judge, test = (Stored(space=space, x=part.x, y=part.y, name="mnist") for part in parts)
    tried = []
    for codes, weight in SIZES:
        done, cpu = trained(learn, codes, weight)
        named = classifier_of(done.averaged, space)
        tried.append((accuracy(named, judge), codes, weight, done, cpu, named))
    _, codes, weight, done, cpu, named = max(tried, key=lambda t: t[0])
    sheet(done.averaged, space)
    found = privacy(done.averaged, learn, test, done.private)
    shown, spent, right = found.figures[1].value, done.private["epsilon"], accuracy(named, test)
    others = ", ".join(f"{c} codes and weight {w:g}: {share:.4f}" for share, c, w, *_ in tried)
    return [
        Row(
            what="MNIST, private VAE: classifier trained on samples alone", unit="accuracy on real test pictures",
            ours=right, target=">= 0.80", met=right >= 0.80,
            note=f"{codes} codes, KL weighed {weight:g}, chosen by {JUDGED:,} training pictures ({others}); epsilon"
            f" {spent:.3f} at delta {DELTA:g}, noise {done.private['noise']:.3f}, {done.steps} steps of"
            f" {int(done.examples / done.steps):,} expected; {cpu:.0f} CPU-s of training",
        ),
        Row(
            what="MNIST, private VAE: epsilon shown by guessing", unit="epsilon", ours=shown,
            target=f"<= {spent:.2f}", met=shown <= spent, note=found.why,
        ),
    ]  # fmt: skip


def classifier_of(model: Any, space: Any) -> Any:
    """A classifier that has seen samples of a model and nothing else: pictures -> logits."""
    import torch

    from simulacra.core.batch import Stored
    from simulacra.evaluation.classifier import classifier

    with torch.no_grad():
        drawn = model.sample(SAMPLES, rng=1, noise=0.0)
    learned = classifier(Stored(space=space, x=drawn.x, y=drawn.y, name="samples"))
    assert learned.classify is not None
    return learned.classify


def accuracy(named: Any, data: Any) -> float:
    """The share of pictures that a classifier names rightly."""
    import torch

    seen = torch.cat([named(x).argmax(1) for x in data.x.split(500)])
    return float((seen == data.y).double().mean())


def trained(data: Any, codes: int, weight: float) -> tuple[Any, float]:
    """A private model, trained or gone on with, and the CPU-seconds it took over all sittings."""
    from simulacra.core.optimisers import AdamW, Warmup
    from simulacra.families.vae import VAE, VAEConfig
    from simulacra.nets.backbones import Dense
    from simulacra.nets.heads import bernoulli
    from simulacra.training.loop import train
    from simulacra.training.settings import Privacy, Training

    # a few numbers are left to say what the label does not; a heavy KL keeps codes where samples are drawn from
    config = VAEConfig(
        latent=codes, networks=Dense(hidden=(100,)), likelihood=bernoulli, beta=weight,
        optimiser=AdamW(lr=1e-2, schedule=Warmup(steps=20, decay=0.6)),
    )  # fmt: skip
    training = Training(
        steps=800, batch=2000, private=Privacy(epsilon=EPSILON, delta=DELTA, clip=1.0), average_half_life=40_000.0
    )
    folder = FOLDER / f"{codes}-codes-{weight:g}"
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "cpu.json"
    before = json.loads(note.read_text()) if note.exists() else 0.0
    start = time.process_time()
    done = train(VAE(config, data.space), data, training, folder=folder / "run", resume=True)
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
