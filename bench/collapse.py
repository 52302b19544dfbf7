"""Mode collapse planted and noticed, healthy runs left in peace: ``python -m bench collapse``.

A planted generator draws held-out data of one kind, of three, or of half of them: it is as good as a generator can be,
but for what it leaves out. It stands in for the model of a run of 10,000 steps and is watched as ``fit`` watches an
adversarial run. Healthy runs are known-good recipes of every kind of family and data, cut short, watched
likewise: what is accused there is accused wrongly. They go on where they were (``bench/.state``).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any

PLANTS: dict[str, Callable[[int], int]] = {
    "one kind": lambda k: 1,
    "three kinds": lambda k: 3,
    "half of them": lambda k: k // 2,
}
WORLDS = ("ring", "grid", "mnist", "fashion-mnist")
SEEDS = range(5)
WITHIN = 200  # steps

# family, data, steps, seeds: in each, variety is to be had within so many steps
HEALTHY: tuple[tuple[str, str, int, int], ...] = (
    ("gan", "ring", 1_000, 4),
    ("gan", "grid", 1_000, 4),
    ("gan", "pinwheel", 800, 2),
    ("gan", "vectors", 800, 2),
    ("flow", "ring", 300, 1),
    ("flow", "vectors", 300, 1),
    ("flow_matching", "grid", 600, 1),
    ("diffusion", "ring", 600, 1),
    ("vae", "vectors", 600, 1),
    ("vae", "digits", 600, 2),
    ("vae", "mnist", 200, 1),
    ("vae", "fashion-mnist", 200, 1),
    ("gan", "digits", 800, 2),
    ("dcgan", "digits", 400, 3),
    ("dcgan", "mnist", 150, 1),
    ("r3gan", "digits", 300, 2),
    ("stylegan", "digits", 150, 1),
    ("biggan", "digits", 100, 1),
    ("pixelcnn", "digits", 300, 1),
    ("flow", "digits", 300, 1),
    ("vqvae", "digits", 300, 1),
    ("transformer", "names", 300, 1),
    ("table_gan", "cancer", 600, 2),
    ("mixed_diffusion", "cancer", 400, 1),
    ("any_order", "cancer", 300, 1),
    ("vae", "cancer", 400, 1),
)


def run() -> list[Any]:
    """The rows: planted collapses noticed, and healthy runs accused."""
    from bench.harness import Row, kept

    rows: list[Any] = []
    for plant in PLANTS:
        found = [
            {"world": w, "seed": s, **kept("collapse", f"{plant} {w} {s}", lambda w=w, s=s, p=plant: planted(w, p, s))}
            for w in WORLDS
            for s in SEEDS
        ]
        steps = [f["step"] for f in found if f["step"] is not None and f["step"] <= WITHIN]
        rows.append(
            Row(
                what=f"generator forced to {plant}: noticed within {WITHIN} steps",
                unit=f"of {len(found)}",
                ours=len(steps),
                target=f"{len(found)} of {len(found)}",
                met=len(steps) == len(found),
                note=f"{', '.join(WORLDS)}, {len(SEEDS)} seeds each; at step {max(steps, default=0)} at the latest",
                rounds=found,
            )
        )
    found = []
    for family, data, steps, seeds in HEALTHY:
        for seed in range(seeds):
            asked = {"family": family, "data": data, "steps": steps, "seed": seed}
            seen = kept("collapse", f"{family} {data} {seed}", lambda asked=asked: healthy(**asked))
            found.append({**asked, **seen})
    accused = [f"{f['family']} on {f['data']}: {f['said']}" for f in found if f["said"]]
    families, data = {f["family"] for f in found}, {f["data"] for f in found}
    rows.append(
        Row(
            what=f"healthy runs accused of collapse: {len(families)} families, {len(data)} data sets",
            unit=f"of {len(found)}",
            ours=len(accused),
            target="0",
            met=not accused,
            note="; ".join(accused) or f"{', '.join(sorted(families))} on {', '.join(sorted(data))}",
            rounds=found,
        )
    )
    return rows


# -- planted ----------------------------------------------------------------------------------------------------------


def planted(world: str, plant: str, seed: int) -> dict[str, Any]:
    """The step at which the collapse was noticed, None where it was not, and what was said."""
    from simulacra.core.randomness import Rng
    from simulacra.training.collapse import ModeCollapse
    from simulacra.training.loop import train
    from simulacra.training.settings import Training

    data, kinds, draw = world_of(world)
    allowed = Rng(seed)("kinds").permutation(kinds)[: PLANTS[plant](kinds)]
    model = Forced(data.space, lambda n, rng: draw(allowed, n, rng))
    training = Training(steps=10_000, batch=8, seed=seed)
    trained = train(model, data, training, hooks=[ModeCollapse(every=100), Halt(at=WITHIN + 1)])
    said = [v for v in trained.verdicts if v.name == "mode collapse" and v.level == "attention"]
    return {"step": said[0].step if said else None, "said": said[0].text if said else ""}


def world_of(name: str) -> tuple[Any, int, Callable[[Any, int, Any], Any]]:
    """Data to learn from, its number of kinds, and (kinds, n, rng) -> n held-out examples of these kinds alone."""
    import torch

    from simulacra.core.batch import Batch
    from simulacra.core.randomness import Rng
    from simulacra.modalities import toys
    from simulacra.modalities.sources import open_data

    if name in ("ring", "grid"):
        world = {"ring": toys.ring, "grid": toys.grid}[name]()

        def some(kinds: Any, n: int, rng: Any) -> Batch:
            only = toys.GaussianMixture(world.means[kinds], world.covariances[kinds])
            return only.sample(n, rng=rng)

        return world, len(world.means), some
    loaded = open_data(name)
    of = loaded.held_out.batch(torch.arange(len(loaded.held_out)), Rng(0)).y

    def drawn(kinds: Any, n: int, rng: Any) -> Batch:
        where = torch.isin(of, kinds).nonzero()[:, 0]
        chosen = where[rng("which").permutation(len(where))[torch.arange(n) % len(where)]]
        return Batch(x=loaded.held_out.batch(chosen, rng("draw")).x)  # whatever class it was asked for

    return loaded.train, 10, drawn


def forced() -> type[Any]:
    """The class of a model that learns nothing and draws what it is told."""
    from torch import nn, zeros

    from simulacra.core.batch import Loss
    from simulacra.core.optimisers import AdamW
    from simulacra.core.randomness import Rng
    from simulacra.core.turns import Player, Turn

    class Generator(nn.Module):
        def __init__(self, space: Any, make: Callable[[int, Any], Any]) -> None:
            super().__init__()
            self.space, self.make = space, make
            self.net = nn.Linear(1, 1)

        def players(self) -> dict[str, Player]:
            return {"generator": Player(module=self.net, optimiser=AdamW(lr=1e-3), averaged=False)}

        def turns(self) -> list[Turn]:
            return [Turn(name="fit", player="generator", loss=lambda batch, rng: Loss.of(self.net(zeros(1, 1))[0]))]

        def sample(self, n: int, *, y: Any = None, rng: Any = 0) -> Any:
            return self.make(n, Rng.of(rng))

        def criticise(self, x: Any, *, y: Any = None) -> Any:
            return zeros(len(x))

        def __deepcopy__(self, memo: Any) -> Any:
            return Generator(self.space, self.make)

    return Generator


def Forced(space: Any, make: Callable[[int, Any], Any]) -> Any:
    """A model that draws what it is told."""
    return forced()(space, make)


class Halt:
    """A hook that ends a run at a step."""

    def __init__(self, at: int) -> None:
        self.every = at

    def __call__(self, moment: Any) -> list[Any]:
        from simulacra.training.hooks import Verdict

        return [Verdict(name="halt", level="stop", text="seen enough", step=moment.step)]


# -- healthy ----------------------------------------------------------------------------------------------------------


def healthy(family: str, data: str, steps: int, seed: int) -> dict[str, Any]:
    """What was said against a run, and the variety it ended with."""
    from simulacra.recipes.families import FAMILIES
    from simulacra.runs.fitting import _watch_every, plan
    from simulacra.training.collapse import ModeCollapse
    from simulacra.training.loop import train
    from simulacra.training.monitors import monitors

    loaded = open_healthy(family, data)
    recipe = plan(family, loaded, config=None, training=None, budget={"steps": steps}, seed=seed, parent=None)
    model = FAMILIES[family].build(recipe.config, recipe.modelled, rng=seed)
    watching = monitors(model, held_out=loaded.held_out, every=_watch_every(recipe.training))
    trained = train(model, loaded.train, recipe.training, hooks=watching)
    said = [v for v in trained.verdicts if v.name == "mode collapse" and v.level != "ok"]
    (watch,) = [h for h in watching if isinstance(h, ModeCollapse)]
    last = None if watch.last is None else dataclasses.asdict(watch.last)
    return {"said": f"step {said[0].step}: {said[0].text}" if said else "", "last": last}


def open_healthy(family: str, data: str) -> Any:
    """The data of a healthy run, as the family takes it."""
    import tempfile
    from pathlib import Path

    import numpy as np
    from sklearn.datasets import load_breast_cancer

    from simulacra.modalities.sources import open_data
    from simulacra.recipes.encodings import preferred

    if data not in ("vectors", "cancer"):
        return open_data(data, prefer=preferred(family))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npy"
        x, _ = load_breast_cancer(return_X_y=True)
        if data == "vectors":
            # skewed measurements of tumours, each column standardised
            np.save(path, ((x - x.mean(0)) / x.std(0))[:, :10].astype("float32"))
            return open_data(str(path), modality="points")
        path = path.with_suffix(".csv")
        head = ",".join(f"c{i}" for i in range(10))
        np.savetxt(path, x[:, :10], delimiter=",", header=head, comments="")
        return open_data(str(path), prefer=preferred(family))


def main(asked: Sequence[str]) -> None:
    """Run one healthy setting, whose state is kept: ``python -m bench.collapse FAMILY DATA STEPS SEED``."""
    from bench.harness import kept

    family, data, steps, seed = asked
    kept("collapse", f"{family} {data} {seed}", lambda: healthy(family, data, int(steps), int(seed)))


if __name__ == "__main__":
    main(sys.argv[1:])
