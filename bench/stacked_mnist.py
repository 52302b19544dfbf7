"""Stacked MNIST: how many of a thousand modes a DCGAN, its packed form and R3GAN's game find in a few minutes.

``python -m bench stacked_mnist`` takes 240 CPU-seconds for each; ``python -m bench.stacked_mnist r3gan
--seconds 1800 --seeds 1`` another. What was trained before is not trained again (``bench/.state``), one that was
stopped goes on where it was, and a larger budget goes on from a smaller one. It needs SIMULACRA_DATA.

26,000 samples each; one frozen classifier of single digits says what is seen (Srivastava et al. 2017, section 5.2).
Its errors are in every figure: the first row is what it says of the test digits themselves.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
FOLDER = HERE.parent / "out" / "stacked_mnist"
SECONDS, SEEDS, WIDTH = 240.0, 1, 32
NOMINAL = 3_000  # steps over whose first half the penalties' weight falls: about what the seconds allow
SAID = {
    "dcgan": "DCGAN, plain",
    "pacdcgan2": "the same, judged in packs of two",
    "r3gan": "the same networks, pairs with R1 and R2",
}
PUBLISHED = {
    "dcgan": "99 modes, 3.40 (Lin et al. 2018)",
    "pacdcgan2": "1,000 modes, 0.06 (Lin et al. 2018)",
    "r3gan": "",
}


def run(games: tuple[str, ...] = tuple(SAID), seconds: float = SECONDS, seeds: int = SEEDS) -> list[Any]:
    """The data's own row, and one for each game."""
    from bench.harness import Row, kept

    floor = kept("stacked_mnist", "data", data_itself)
    rows = [
        Row(
            what="the test digits themselves, stacked: 26,000 of them, seen by the same classifier",
            unit="reverse KL, nats",
            ours=floor["reverse_kl"],
            note=f"{floor['modes']} modes; the classifier has {100 * floor['accuracy']:.2f} % of held-out digits right;"
            f" {999 / 52_000:.4f} in expectation where nobody errs",
            rounds=floor,
        )
    ]
    for game in games:
        found = [
            kept("stacked_mnist", f"{game} {seconds:g} {seed}", lambda g=game, s=seed: one(g, seconds, s))
            for seed in range(seeds)
        ]
        kls, modes = [f["reverse_kl"] for f in found], [f["modes"] for f in found]
        rows.append(
            Row(
                what=f"stacked MNIST, {seconds:g} CPU-s, {SAID[game]}",
                unit="reverse KL, nats",
                ours=statistics.mean(kls),
                target="1,000 modes, <= 0.06: on a GPU" if game == "r3gan" else "",
                met=None,
                note=f"modes {', '.join(map(str, modes))} of 1,000; KL {', '.join(f'{k:.3f}' for k in kls)}; width"
                f" {WIDTH}, {found[0]['steps']:,} steps of 64"
                + (f"; published, full size: {PUBLISHED[game]}" if PUBLISHED[game] else ""),
                rounds=found,
            )
        )
    return rows


def data_itself() -> dict[str, Any]:
    """What the classifier says of stacks of digits that nobody has learnt from."""
    import torch

    from simulacra.core.randomness import Rng
    from simulacra.evaluation.stacked import SAMPLES, modes_seen
    from simulacra.modalities.modes import counted_modes
    from simulacra.modalities.stacked import Stacked
    from simulacra.recipes.stacked import judge

    extractor, stacks = judge()
    more = Stacked(stacks.parts, count=SAMPLES, seed=1)
    assert extractor.classify is not None
    seen = [
        modes_seen(more.batch(part, Rng(0)).x, extractor.classify)  # type: ignore[arg-type]
        for part in torch.arange(SAMPLES).split(1_000)
    ]
    right, tried = extractor.accuracy or (0.0, 0)
    return {**asdict(counted_modes(torch.cat(seen), stacks.weights())), "accuracy": right, "tried": tried}


def one(game: str, seconds: float, seed: int) -> dict[str, Any]:
    """A model after so many CPU-seconds, over all sittings, and the modes of its samples."""
    from bench.small_data import Clock
    from simulacra.evaluation.stacked import modes_of_samples
    from simulacra.families.dcgan import DCGAN
    from simulacra.modalities.samples import write_samples
    from simulacra.modalities.sources import open_data
    from simulacra.recipes.stacked import GAMES, judge, training
    from simulacra.training.loop import train

    data, clock = open_data("stacked-mnist").train, Clock(seconds)
    model = DCGAN(GAMES[game](WIDTH, NOMINAL), data.space, rng=seed)
    settings = replace(training(1_000_000), seed=seed, save_seconds=30.0)
    done = train(model, data, settings, hooks=[clock], folder=FOLDER / f"{game}-{seed}", resume=True, device="cpu")
    if clock.state() < seconds:
        raise KeyboardInterrupt
    extractor, stacks = judge()
    write_samples(done.averaged.sample(64, rng=5), data.space, FOLDER / f"{game}-{seed}.png")
    found = modes_of_samples(done.averaged, extractor, stacks.weights(), rng=1_000 + seed)
    return {**asdict(found), "steps": done.steps, "cpu_s": clock.state()}


def main() -> None:
    """The part of it that was asked for."""
    from bench.harness import save, show

    parser = argparse.ArgumentParser(prog="python -m bench.stacked_mnist", description=__doc__)
    parser.add_argument("games", nargs="*", default=list(SAID), help=f"of {', '.join(SAID)}")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="CPU-seconds of each")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    named = parser.parse_args()
    rows = run(tuple(named.games), named.seconds, named.seeds)
    show("stacked_mnist", rows)
    if tuple(named.games) == tuple(SAID):
        print(f"written to {save('stacked_mnist', rows)}")


if __name__ == "__main__":
    main()
