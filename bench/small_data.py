"""500 emoji at 32x32: a StyleGAN2 from scratch, with ADA, with DiffAugment, and from the weights of another run.

``python -m bench small_data`` trains a parent and twelve models, 150 CPU-seconds each (the parent twice as long);
``python -m bench.small_data adaptive --seeds 1`` a part of it. What was trained before is not trained again
(``bench/.state``), and a training that was stopped goes on where it was.

The Frechet distance is taken in 32 features of the project's own encoder, trained without labels on all 2,956 emoji of
the training part, between 2,000 samples and the 627 held-out emoji, of which no model has seen any. It needs
SIMULACRA_DATA. The parent has learnt
from the other 2,456 emoji, which are like the 500: what transfer gains here is the gain from a near relation.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
FOLDER = HERE.parent / "out" / "small_data"
SIDE, FEW, SAMPLES, SEEDS = 32, 500, 2_000, 3
CPU_SECONDS, PARENT_SECONDS = 150.0, 300.0
SETTINGS = ("scratch", "adaptive", "mild", "transfer", "transfer-frozen")
SAID = {
    "scratch": "from scratch",
    "adaptive": "with ADA",
    "mild": "with DiffAugment",
    "transfer": "from a run on the other emoji",
    "transfer-frozen": "from that run, two parts of its critic frozen",
}
STUDENT = {3: 4.303, 2: 12.706}  # 97.5 % point of Student's t for a mean of so many seeds


def run(settings: tuple[str, ...] = SETTINGS, seeds: int = SEEDS) -> list[Any]:
    """A row for each setting, against the one from scratch."""
    from bench.harness import Row

    found = {name: [one(name, seed) for seed in range(seeds)] for name in settings}
    floor = real()
    rows = [
        Row(
            what=f"the {FEW} emoji themselves against the held-out ones",
            unit="Frechet distance, encoder",
            ours=floor["encoder"],
            note=f"what a model that repeats its data would have; in pixels {floor['pixels']:.1f}",
        )
    ]
    plain = [f["encoder"] for f in found["scratch"]] if "scratch" in found else None
    for name, each in found.items():
        values = [f["encoder"] for f in each]
        apart = None if plain is None or name == "scratch" or seeds < 2 else below(values, plain)
        rows.append(
            Row(
                what=f"StyleGAN2 on {FEW} emoji {SIDE}x{SIDE}, {CPU_SECONDS:g} CPU-s, {SAID[name]}",
                unit="Frechet distance, encoder",
                ours=statistics.mean(values),
                peer=None if name == "scratch" or plain is None else statistics.mean(plain),
                target="" if apart is None else "below from scratch, 95 % intervals apart",
                met=apart,
                note=f"{seeds} seeds {min(values):.2f} to {max(values):.2f};"
                f" pixels {statistics.mean(f['pixels'] for f in each):.1f};"
                f" p {statistics.mean(f['p'] for f in each):.2f};"
                f" of the critic's lead of training pictures over samples, held-out ones lack"
                f" {100 * statistics.mean(f['overfitting'] for f in each):.0f} %;"
                f" steps {min(f['steps'] for f in each)} to {max(f['steps'] for f in each)}",
                rounds=each,
            )
        )
    return rows


def below(values: list[float], others: list[float]) -> bool:
    """Whether the 95 % intervals of two means over seeds, by Student's t, do not touch and the first is lower."""
    ends = []
    for sign, some in ((1, values), (-1, others)):
        half = STUDENT[len(some)] * statistics.stdev(some) / math.sqrt(len(some))
        ends.append(statistics.mean(some) + sign * half)
    return ends[0] < ends[1]


def data() -> tuple[Any, Any, Any, Any]:
    """(the few, the other training emoji, the held-out ones, all training ones)."""
    from simulacra.core.randomness import Rng
    from simulacra.modalities.sources import open_data

    loaded = open_data(str(Path(os.environ["SIMULACRA_DATA"]) / "emoji"), size=SIDE)
    order = Rng(0)("few").permutation(len(loaded.train))
    few, others = loaded.train.subset(order[:FEW]), loaded.train.subset(order[FEW:])
    return few, others, loaded.held_out, loaded.train


def setting(space: Any, **changes: Any) -> tuple[Any, Any]:
    """The recipe's StyleGAN2 of 32x32, half as wide and without path lengths; its training ends by CPU-seconds."""
    from simulacra.recipes.families import FAMILIES

    config, training = FAMILIES["stylegan"].recipe(space, FEW)
    config = replace(config, base=config.base // 2, widest=config.widest // 2, path_length=None, **changes)
    return config, replace(training, steps=1_000_000, average_half_life=5_000.0, save_seconds=30.0)


@dataclass
class Clock:
    """Ends a run after so many CPU-seconds of this process, over all sittings."""

    seconds: float
    every: int = 5
    before: float = 0.0
    began: float = field(default_factory=time.process_time)

    def __call__(self, moment: Any) -> list[Any]:
        from simulacra.training.hooks import Verdict

        spent = self.state()
        if spent < self.seconds:
            return []
        return [Verdict(name="clock", level="stop", text=f"{spent:.0f} CPU-s are spent", step=moment.step)]

    def state(self) -> float:
        """CPU-seconds so far."""
        return self.before + time.process_time() - self.began

    def restore(self, value: float) -> None:
        """Go on from there."""
        self.before, self.began = value, time.process_time()


def trained(name: str, few: Any, model: Any, training: Any, seconds: float, begin: Any = None) -> Any:
    """A model after so many CPU-seconds; one that was stopped goes on."""
    from simulacra.training.loop import closed_form, train

    clock = Clock(seconds)
    done = train(
        model, few, training, hooks=[clock], folder=FOLDER / name, resume=True, begin=begin or closed_form, device="cpu"
    )
    if clock.state() < seconds:
        raise KeyboardInterrupt
    return done


def parent() -> Any:
    """A model of the other emoji, trained once and kept."""
    from simulacra.core.checkpoint import load_tensors, save_tensors
    from simulacra.families.stylegan import StyleGAN
    from simulacra.training.state import load, weights

    _, others, _, _ = data()
    config, training = setting(others.space)
    model, path = StyleGAN(config, others.space, rng=100), FOLDER / "parent.safetensors"
    if path.exists():
        load(model, load_tensors(path))
        return model
    done = trained("parent", others, model, replace(training, seed=100), PARENT_SECONDS)
    save_tensors(path, weights(done.averaged))
    return done.averaged


def one(name: str, seed: int) -> dict[str, Any]:
    """Trained and judged, unless it has been."""
    from bench.harness import kept

    return kept("small_data", f"{name}-{seed}", lambda: _one(name, seed))


def _one(name: str, seed: int) -> dict[str, Any]:
    from simulacra.families.stylegan import StyleGAN
    from simulacra.modalities.samples import write_samples
    from simulacra.nets.augment import ADA, DiffAugment
    from simulacra.training.carry import carry
    from simulacra.training.state import weights

    few, _, held_out, _ = data()
    # 20 passes over the few take p from 0 to 1: the published 500,000 pictures are more than these seconds see
    changes: dict[str, dict[str, Any]] = {
        "adaptive": {"augment": ADA(pictures=20 * FEW)},
        "mild": {"augment": DiffAugment()},
        "transfer-frozen": {"frozen": 2},
    }
    config, training = setting(few.space, **changes.get(name, {}))
    model, begin = StyleGAN(config, few.space, rng=seed), None
    if name.startswith("transfer"):
        above = weights(parent())
        begin = lambda model, data: carry(model, above, {})  # noqa: E731
    done = trained(f"{name}-{seed}", few, model, replace(training, seed=seed), CPU_SECONDS, begin)
    drawn = done.averaged.sample(SAMPLES, rng=1_000 + seed)
    write_samples(done.averaged.sample(64, rng=5), few.space, FOLDER / f"{name}-{seed}.png")
    score = lambda x: float(done.model.criticise(x).detach().mean())  # noqa: E731
    real, unseen, fake = score(_all(few)), score(_all(held_out)), score(done.model.sample(FEW, rng=7).x)
    state = done.model.state_dict()
    return {
        **distances(drawn.x),
        "steps": done.steps,
        "p": float(state.get("duel.augmenter.p", 0.0)),
        "overfitting": (real - unseen) / (real - fake),
    }


def distances(x: Any) -> dict[str, float]:
    """Frechet distances of pictures from the held-out emoji, by extractor."""
    from simulacra.evaluation.extractors import pixels
    from simulacra.evaluation.self_supervised import encoder
    from simulacra.mathematics.frechet import frechet_distance

    _, _, held_out, everything = data()
    truth = _all(held_out)
    extractors = (encoder(everything, folder=FOLDER / "encoder"), pixels)
    return {e.name: frechet_distance(e(x), e(truth)) for e in extractors}


def real() -> dict[str, float]:
    """Frechet distances of the few themselves."""
    return distances(_all(data()[0]))


def _all(some: Any) -> Any:
    import torch

    from simulacra.core.randomness import Rng

    return some.batch(torch.arange(len(some)), Rng(0)).x


def main() -> None:
    """The part of it that was asked for."""
    from bench.harness import save, show

    parser = argparse.ArgumentParser(prog="python -m bench.small_data", description=__doc__)
    parser.add_argument("settings", nargs="*", default=list(SETTINGS), help=f"of {', '.join(SETTINGS)}")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    named = parser.parse_args()
    rows = run(tuple(named.settings), named.seeds)
    whole = tuple(named.settings) == SETTINGS and named.seeds == SEEDS
    show("small_data", rows)
    if whole:
        print(f"written to {save('small_data', rows)}")


if __name__ == "__main__":
    main()
