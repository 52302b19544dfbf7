"""Tables: training steps and rows drawn against ctgan 0.12, in its network sizes; memory of a column of many values.

``python -m bench tables_speed``; ``python -m bench.tables_speed steps | drawing | wide`` one part. Steps and drawing
take UCI Adult, whose columns both have prepared beforehand: what is timed is learning, and drawing up to a DataFrame.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
BATCH, EPOCHS = 500, 3  # ctgan's batch; passes over the data in a round
OURS = {"CTGAN": "table_gan", "TVAE": "vae"}
MANY, ROWS = 20_000, 100_000  # categories and rows of the wide column
WIDE = ("vae", "any_order", "mixed_diffusion")  # what looks categories up; table_gan has them one-hot
MOST = 2.0  # GiB


def run(parts: tuple[str, ...] = ("steps", "drawing", "wide")) -> list[Any]:
    """The rows of the parts asked for."""
    rows: list[Any] = []
    for part in parts:
        rows += {"steps": steps, "drawing": drawing, "wide": wide}[part]()
    return rows


def steps() -> list[Any]:
    """Training steps: same widths, latents, batch and rates, both players' updates in a step."""
    return _against("our_steps", "their_steps", "a training step", 2.0)


def drawing() -> list[Any]:
    """Rows drawn, up to a DataFrame of the table's own columns and types."""
    return _against("our_rows", "their_rows", "a row drawn", 5.0)


def _against(ours: str, theirs: str, what: str, at_least: float) -> list[Any]:
    from bench.harness import Side, compare, environment, faster
    from bench.tables_adult import REQUIREMENTS, adult

    rows: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "adult.csv"
        adult()[0].to_csv(raw, index=False)
        for peer, family in OURS.items():
            python = environment("ctgan", REQUIREMENTS)
            both = compare(
                Side(file=HERE, function=ours, settings={"family": family}),
                Side(file=HERE, function=theirs, settings={"model": peer, "raw": str(raw)}, python=python),
                rounds=5,
            )
            rows.append(faster(f"Adult, {family} against ctgan 0.12's {peer}: {what}", both, at_least=at_least))
    return rows


def _built(family: str) -> tuple[Any, Any, Any]:
    """One of our models with the peer's network sizes, Adult's training rows and their encoding."""
    from bench.tables_adult import adult
    from simulacra.families.table_gan import TableGAN, TableGANConfig
    from simulacra.families.vae import VAE, VAEConfig
    from simulacra.modalities.tables.opening import open_table
    from simulacra.modalities.tables.reading import Table
    from simulacra.nets.backbones import Dense

    opened = open_table([Table(frame) for frame in adult()], "adult", encode="mixture:10")
    space = opened.train.space
    # ctgan's sizes: 128 latents, 256-256 for CTGAN in packs of 10, 128-128 for TVAE
    if family == "table_gan":
        return TableGAN(TableGANConfig(), space, rng=0), opened.train, opened.encoding
    config = VAEConfig(latent=128, networks=Dense(hidden=(128, 128)))
    return VAE(config, space, rng=0), opened.train, opened.encoding


def our_steps(family: str):
    """A few epochs of ours a round, no moving average, as ctgan keeps none."""
    from simulacra.training.loop import train
    from simulacra.training.settings import Training

    model, data, _ = _built(family)
    count = EPOCHS * (len(data) // BATCH)

    def one_round() -> dict[str, Any]:
        done = train(model, data, Training(steps=count, batch=BATCH, average_half_life=0.0))
        return {"work": done.steps}

    return one_round


def our_rows(family: str):
    """As many rows as the table has, a round."""
    model, data, encoding = _built(family)
    model.fit(data)
    model.eval()

    def one_round() -> dict[str, Any]:
        frame = encoding.decode(model.sample(len(data), rng=0))
        return {"work": len(frame)}

    return one_round


def _theirs(model: str, raw: str) -> tuple[Any, Any, list[str]]:
    """The peer's class with its columns' transformation done, the rows, and which columns are categories."""
    import importlib

    import pandas as pd

    frame = pd.read_csv(raw, keep_default_na=False)
    text = [c for c in frame.columns if not pd.api.types.is_numeric_dtype(frame[c])]
    module: Any = importlib.import_module(f"ctgan.synthesizers.{model.lower()}")
    ready = module.DataTransformer()
    ready.fit(frame, text)
    array = ready.transform(frame)
    ready.fit = lambda *_: None
    ready.transform = lambda *_: array
    module.DataTransformer = lambda: ready
    return getattr(module, model), frame, text


def their_steps(model: str, raw: str):
    """A few epochs of theirs a round; the networks are made anew, the transformation of the columns is not."""
    kind, frame, text = _theirs(model, raw)

    def one_round() -> dict[str, Any]:
        kind(epochs=EPOCHS, verbose=False, enable_gpu=False).fit(frame, text)
        # CTGAN leaves the last part of a batch out, TVAE takes it
        return {"work": EPOCHS * (len(frame) // BATCH + (model == "TVAE"))}

    return one_round


def their_rows(model: str, raw: str):
    """As many rows as the table has, a round."""
    kind, frame, text = _theirs(model, raw)
    one = kind(epochs=1, verbose=False, enable_gpu=False)
    one.fit(frame, text)

    def one_round() -> dict[str, Any]:
        return {"work": len(one.sample(len(frame)))}

    return one_round


# -- a column of many values ------------------------------------------------------------------------------------------


def wide() -> list[Any]:
    """Peak memory while a table with a column of 20,000 categories is learnt, one-hot for comparison by arithmetic."""
    from bench.harness import Row, Side, measure

    rows: list[Any] = []
    for family in WIDE:
        seen = measure(Side(file=HERE, function="wide_column", settings={"family": family}), rounds=1, warm_up=0)[0]
        peak = seen.peak_rss / 2**30
        rows.append(Row(
            what=f"{family}: a column of {MANY:,} categories, {ROWS:,} rows: peak memory of learning and drawing",
            unit="GiB", ours=peak, target=f"<= {MOST:g}", met=peak <= MOST, rounds=[seen.__dict__],
            note=f"one-hot in float32 the rows alone would take {MANY * ROWS * 4 / 2**30:.1f} GiB",
        ))  # fmt: skip
    return rows


def wide_column(family: str):
    """Learn the wide table for a while and draw as many rows as a page shows."""
    import torch

    from simulacra.core.batch import Stored
    from simulacra.core.randomness import Rng
    from simulacra.core.space import Categorical, Continuous, Space
    from simulacra.recipes.families import FAMILIES
    from simulacra.training.loop import train
    from simulacra.training.settings import Training

    number = Continuous(low=-torch.inf, high=torch.inf)
    space = Space(fields={"where": Categorical(k=MANY), "size": number, "kind": Categorical(k=3)}, measure="columns")
    # a few places hold most rows, as in a table of towns
    where = (MANY * Rng(0)("where").uniform((ROWS,)).square()).long()
    kind = where % 3
    size = kind + Rng(0)("size").normal((ROWS,))
    data = Stored(space=space, x={"where": where, "size": size, "kind": kind})

    def one_round() -> dict[str, Any]:
        config, training = FAMILIES[family].recipe(space, ROWS)
        model = FAMILIES[family].build(config, space, rng=0)
        done = train(model, data, Training(steps=30, batch=training.batch))
        drawn = done.averaged.sample(1000, rng=0)
        return {"value": len(drawn)}

    return one_round


if __name__ == "__main__":
    from bench.harness import save, show

    parser = argparse.ArgumentParser(prog="python -m bench.tables_speed", description=__doc__)
    parser.add_argument("part", nargs="*", default=["steps", "drawing", "wide"])
    asked = parser.parse_args().part
    result = run(tuple(asked))
    show("tables_speed", result)
    name = "tables_speed" if len(asked) == 3 else f"tables_speed-{'-'.join(asked)}"
    print(f"written to {save(name, result)}")
