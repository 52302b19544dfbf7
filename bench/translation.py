"""Translation: Multi30k, German to English, learnt on one core; sacreBLEU of the official test part of 2016.

The run is that of ``simulacra reproduce seq2seq-multi30k``, kept in ``bench/out/translation`` and resumed where it was
stopped. BLEU is cased, of a beam of 5 and of the likeliest token alone, with sacreBLEU's signature beside it; five
translations are recorded as they are. Needs SIMULACRA_DATA and the packages tokenizers and sacrebleu.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from bench.harness import Row, kept
from simulacra.core.randomness import Rng
from simulacra.evaluation.likelihood import log_likelihood
from simulacra.evaluation.translation import WIDTH, figures_of_translations, translated
from simulacra.modalities.pairs import sources_of, targets_of
from simulacra.modalities.sources import open_data
from simulacra.recipes.published import PUBLISHED
from simulacra.runs import fit, load
from simulacra.runs.recipe import NAME, read

HERE = Path(__file__).resolve()
RUN = HERE.parent / "out" / "translation"
RECIPE = "seq2seq-multi30k"
SHOWN = 5


def run() -> list[Row]:
    """BLEU by a beam and by the likeliest token, and what a byte of the target costs."""
    torch.set_num_threads(1)
    known = PUBLISHED[RECIPE]
    found = kept("translation", RECIPE, work)
    beam, greedy = found["beam"], found["greedy"]
    target, _ = known.target
    cost = (
        f"{found['cpu_minutes']:.0f} CPU-min of one core for {found['steps']:,} steps of {known.training.batch} pairs"
    )
    return [
        Row(
            what=f"Multi30k de to en, test 2016, 1,000 sentences: sacreBLEU, beam of {WIDTH}",
            unit="of 100",
            ours=beam["bleu"],
            target=f">= {target:g}",
            met=beam["bleu"] >= target,
            note=f"{beam['signature']}; {cost}, {found['parameters']:,} parameters, nothing but its 29,000 pairs",
            rounds=found,
        ),
        Row(
            what="the same, the likeliest token alone",
            unit="of 100",
            ours=greedy["bleu"],
            note=f"{greedy['signature']}; {greedy['cpu_s']:.0f} CPU-s, by the beam {beam['cpu_s']:.0f}",
        ),
        Row(
            what="the same model: bits per byte of the English, given the German",
            unit="bits",
            ours=found["bits_per_byte"],
            note="exact, without smoothing",
        ),
    ]


def work() -> dict[str, Any]:
    """Fits the run, or goes on with it, and judges it."""
    known = PUBLISHED[RECIPE]
    if not (RUN / NAME).exists() or read(RUN).ended != "budget":
        data = open_data(known.data, **known.options)
        resume = (RUN / NAME).exists()
        fit(known.family, data, out=RUN, config=known.config, training=known.training, resume=resume, say=print)
    trained = load(RUN)
    held, encoding = trained.data().held_out, trained.encoding
    assert encoding is not None
    batch = held.batch(torch.arange(len(held)), Rng(0))
    references = targets_of(batch, encoding)
    found: dict[str, Any] = {}
    texts: list[str] = []
    for name, width in (("greedy", 1), ("beam", WIDTH)):
        began = time.process_time()
        texts = translated(trained.model, batch, encoding, width=width)
        figure = figures_of_translations(texts, references)[0]
        found[name] = {
            "bleu": figure.value, "signature": figure.extractor, "cpu_s": time.process_time() - began,
        }  # fmt: skip
    scored = log_likelihood(trained.model, held)
    bits = -scored.nats.sum() / torch.as_tensor(scored.count).sum() / torch.tensor(2.0).log()
    cost = trained.recipe.cost
    return {
        **found,
        "bits_per_byte": float(bits),
        "cpu_minutes": cost["cpu_seconds"] / 60,
        "steps": cost["steps"],
        "parameters": cost["parameters"],
        "examples": [
            {"source": s, "reference": r, "translation": t}
            for s, r, t in list(zip(sources_of(batch, encoding), references, texts, strict=True))[:SHOWN]
        ],
    }
