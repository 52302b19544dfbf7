"""Translations against references: sacreBLEU, with the signature without which its figures do not compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from simulacra.core.batch import Batch, Data
from simulacra.core.capabilities import Searcher, require
from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation import intervals
from simulacra.evaluation.likelihood import device_of, resting
from simulacra.modalities.pairs import targets_of
from simulacra.modalities.tokens import Encoding

WIDTH, ALPHA = 5, 1.0  # of the beam that translations are found by, and the power of its length norm


def figures_of_searching(
    model: object, held_out: Data, encoding: Encoding, *, n: int | None = None, width: int = WIDTH, alpha: float = ALPHA
) -> list[Figure]:
    """What a beam finds for the first n held-out sources (None: all), against their targets."""
    count = len(held_out) if n is None else min(n, len(held_out))
    batch = held_out.batch(torch.arange(count), Rng(0))
    how = f"beam of {width}, length norm to the power {alpha:g}"
    return figures_of_translations(
        translated(model, batch, encoding, width=width, alpha=alpha), targets_of(batch, encoding), how=how
    )


def translated(
    model: object, batch: Batch, encoding: Encoding, *, width: int = WIDTH, alpha: float = ALPHA
) -> list[str]:
    """The targets that a beam search finds for a batch's sources, as text; ValueError for a model that finds none."""
    searcher = require(model, Searcher, "translating")
    assert batch.y is not None
    with resting(model):
        found = searcher.search(Batch(x=batch.y).to(device_of(model)).x, width=width, alpha=alpha)
    return targets_of(Batch(x=found.tokens.cpu(), length=found.length.cpu()), encoding)


def figures_of_translations(translations: Sequence[str], references: Sequence[str], *, how: str = "") -> list[Figure]:
    """BLEU and chrF of a corpus, one reference a sentence, by sacreBLEU (Post 2018).

    Their signatures stand as what they depend on: figures of other ones do not compare.

    how  the translations were found, in words, for the note.
    ValueError for none, or for as many references as there are not translations.
    """
    if not translations or len(translations) != len(references):
        raise ValueError(
            f"translations are judged by a reference each; got {len(translations)} and {len(references)} of those"
        )
    found: list[Figure] = []
    for metric in _metrics():
        score = metric.corpus_score(list(translations), [list(references)])
        why = intervals.none("a figure of the whole corpus; no interval of it has been simulated")
        found.append(
            Figure(
                name=f"sacre{score.name}" if score.name == "BLEU" else score.name,
                value=float(score.score),
                direction="higher",
                unit="of 100",
                n=len(translations),
                n_real=len(references),
                interval=why.bounds,
                interval_method=why.method,
                level=intervals.LEVEL,
                extractor=str(metric.get_signature()),
                note=how,
            )
        )
    return found


def _metrics() -> list[Any]:
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise ImportError("judging translations needs the package sacrebleu: pip install 'simulacra[text]'") from error
    return [BLEU(), CHRF()]
