"""What a run of pairs says: translations of sentences, and where each of their tokens looks in its source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from simulacra.core.batch import Batch
from simulacra.core.capabilities import Attentive, ConditionalSampler, require
from simulacra.core.randomness import Rng
from simulacra.evaluation.likelihood import device_of, resting
from simulacra.evaluation.translation import ALPHA, WIDTH, translated
from simulacra.modalities.attention import heat_map
from simulacra.modalities.pairs import encode_sources, targets_of
from simulacra.modalities.tokens import Encoding
from simulacra.runs.run import Run


def translations(
    run: Run,
    sentences: Sequence[str],
    *,
    width: int = WIDTH,
    alpha: float = ALPHA,
    temperature: float | None = None,
    rng: Rng | int = 0,
) -> list[str]:
    """A translation of each sentence, by a beam search or, with a temperature, by chance; "" of an empty one.

    ValueError for a run that is given no sentences, and for one that is longer than the run reads.
    """
    encoding = _encoding(run)
    there = [i for i, sentence in enumerate(sentences) if sentence]
    y = encode_sources([sentences[i] for i in there], run.recipe.space, encoding)
    found = [""] * len(sentences)
    if not there:
        return found
    if temperature is None:
        texts = translated(run.model, Batch(x=y, y=y), encoding, width=width, alpha=alpha)
    else:
        sampler = require(run.model, ConditionalSampler, "translating by chance")
        with resting(run.model):
            drawn = sampler.sample_given(y.to(device_of(run.model)), rng=rng, temperature=temperature)  # type: ignore[call-arg]
        texts = targets_of(drawn.to("cpu"), encoding)
    for i, text in zip(there, texts, strict=True):
        found[i] = text
    return found


def attention_picture(run: Run, sentence: str, translation: str) -> Image.Image:
    """A heat map of how much each token of a translation, its end too, looks at each token of the sentence."""
    model, encoding = require(run.model, Attentive, "a picture of attention"), _encoding(run)
    y, row = encode_sources([sentence], run.recipe.space, encoding), encoding.encode(translation)
    room = run.recipe.space.only.shape[0]
    if len(row) > room:
        raise ValueError(f"the translation has {len(row):,} tokens; this model writes up to {room}: shorten it")
    x = torch.zeros(1, room, dtype=torch.int64)
    x[0, : len(row)] = torch.from_numpy(row)
    device = device_of(model)
    with resting(model):
        shares = model.attention(x.to(device), torch.tensor([len(row)], device=device), y=y.to(device))[0].cpu()
    source = ["start", *_pieces([t - 1 for t in y[0].tolist() if t], encoding)]
    target = [*_pieces(row.tolist(), encoding), *(["end"] if len(row) < room else [])]
    return heat_map(np.asarray(shares[: len(target), : len(source)]), target, source)


def _pieces(tokens: Sequence[int], encoding: Encoding) -> list[str]:
    return [encoding.decode([token]) for token in tokens]


def _encoding(run: Run) -> Encoding:
    if run.encoding is None:
        raise ValueError(f"{run.path} is a run of {run.recipe.space.measure}, which is given no sentences")
    return run.encoding
