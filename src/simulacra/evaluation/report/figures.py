"""Figures as text: one line, JSON; and what each of them means, in one sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from simulacra.core.figure import Figure
from simulacra.evaluation.report.molecule_figures import MOLECULES
from simulacra.evaluation.report.music_figures import TUNES
from simulacra.evaluation.report.numbers import count, write
from simulacra.evaluation.report.row_figures import ROWS

HASH_SHOWN = 8  # characters: enough to tell extractors apart by eye, the whole is in the JSON

# what each figure means to someone who has to decide by it; looked up by ``explain``
EXPLANATIONS = {
    "frechet distance": "How far the samples' features lie from real ones, comparing mean and covariance only; 0 when"
    " both agree. Few examples make it larger, so it compares models only at equal N.",
    "frechet distance without bias": "The Frechet distance as it would be with examples without end.",
    "kid": "The squared kernel distance between the features of samples and of real data; unbiased, so it may fall a"
    " little below 0 when the two cannot be told apart.",
    "kernel distance": "The squared kernel distance between the features of samples and of real data, which KID"
    " estimates from subsets; unbiased, so it may fall a little below 0 when the two cannot be told apart.",
    "precision": "The share of samples that fall where real data lies: how believable single samples are.",
    "recall": "The share of real data that falls where samples lie: how much of the variety is reached.",
    "density": "How crowded with real data the places are where samples fall, on average; 1 for a perfect model, and"
    " less easily misled by outliers than precision.",
    "coverage": "The share of real examples with at least one sample close by; missing modes lower it.",
    "inception score": "How sure a classifier is of each sample and how evenly the classes are used: 1 at worst, the"
    " number of classes at best. It never looks at real data.",
    "inception-style score": "How sure a classifier is of each sample and how evenly the classes are used: 1 at worst,"
    " the number of classes at best. It never looks at real data.",
    "class score": "How sure a classifier is of each sample and how evenly the classes are used: 1 at worst, the"
    " number of classes at best. It never looks at real data.",
    "nll": "Surprise at examples it never saw, in nats an example: the smaller, the more probable it finds real data.",
    "negative log-likelihood": "Surprise at examples it never saw, in nats an example: the smaller, the more probable"
    " it finds real data.",
    "bits per element": "The bits needed to store one value of a held-out example without loss, using the model as the"
    " code.",
    "bits per dimension": "The bits needed to store one value of a held-out example without loss, using the model as"
    " the code.",
    "bits/dim": "The bits needed to store one value of a held-out example without loss, using the model as the code.",
    "bits per byte": "The bits needed to store one byte of held-out data without loss, using the model as the code.",
    "perplexity": "Between how many equally likely continuations the model hesitates, on average.",
    "elbo": "A lower bound on the log-probability of held-out data, by one draw of the latent code an example.",
    "iwae": "A tighter bound on the log-probability of held-out data, by averaging many draws of the latent code.",
    "kl": "How many nats of information the latent code carries about each example; near 0 the code is unused.",
    "reconstruction": "How far held-out examples come back changed from their trip through the latent code.",
    "modes": "How many of the true distribution's modes received samples.",
    "reverse kl": "How unevenly the samples share themselves among the true modes; 0 when exactly in proportion.",
    "closer to training than held-out": "The share of samples that lie closer to the training data than the median"
    " unseen example does: about one half is innocent, far above it the samples hug what was learnt.",
    "nearest": "How far samples lie from their nearest training examples, beside how far unseen real ones do; well"
    " below 1 hints at copying.",
    "frechet distance, extrapolated": "The Frechet distance as a straight line in 1 / N foresees it for examples"
    " without end.",
    "gaussian kernel distance": "The squared kernel distance by a Gaussian, which tells any two distributions"
    " apart; may fall a little below 0.",
    "cmmd": "The kernel distance of CLIP's features as Jayasumana et al. 2024 define it, times a thousand.",
    "sliced wasserstein distance": "How far mass must be moved along a random direction, on average, to turn"
    " samples into real data.",
    "told from real data": "How often a classifier tells samples from real data it has not seen: one half where it"
    " cannot.",
    "feature likelihood divergence": "Believable, varied and new in one number: about 0 for samples as good as real"
    " ones, large for poor, few or memorised ones.",
    "authenticity": "The share of samples no nearer to a training example than training examples are to one"
    " another; far below that of unseen real data, samples were memorised.",
    "divergence frontier area": "How little samples and real data lack of one another, counted in small cells of their"
    " features; 1 when both agree, near 0 when they share nothing. Called MAUVE where the features are GPT-2's; it"
    " compares only at equal N.",
    "vendi score": "How many different samples there are, in effect; compare it with as many real ones.",
    "diversity": "How far apart two samples lie, in units of two real examples: below 1 they are too alike.",
    "diversity within classes": "How far apart two samples of one class lie, in units of the real data's.",
    "labels kept": "The share of samples in which the classifier sees the class they were asked for.",
    "class imbalance": "The share of samples that would have to change their class for all to be as frequent as in"
    " real data.",
    "path length": "How fast features change along a way through the latent space; jumps make it long.",
    "samples on real": "How well a classifier that learnt from samples alone does on real data; beside it, one that"
    " learnt from as many real examples.",
    "real on samples": "How well samples are recognised by a classifier that learnt from real data.",
    "gain from samples": "What learning from samples as well as real data adds to accuracy on real data.",
    "accuracy": "The share of held-out examples whose class is named rightly.",
    "samples among the nearest": "Of the examples that lie far nearer to one training example than to any other, the"
    " share that are samples and not held out: above their share of all examples, single ones were copied.",
    "data-copying c_t": "Whether samples lie nearer to training examples than unseen ones do (far below 0), or farther"
    " (far above), place by place.",
    "membership by": "What an attacker can tell by this score: the area is how often a training example scores above a"
    " held-out one, the hits are the share of training examples above nearly all held-out ones.",
    "amplification of": "The share of this group in samples less its share in the training data, what the classifier"
    " mistakes taken into account.",
    "training texts recovered": "How often the model, given how a training text begins, goes on word for word.",
    **ROWS,
    **MOLECULES,
    **TUNES,
}

ARROWS = {"lower": "↓", "higher": "↑", "neither": ""}
BETTER = {"lower": "lower is better", "higher": "higher is better", "neither": "neither direction is better"}
# a bound keeps to the side that cannot flatter: the true value is at least as good
BOUND_SIGNS = {"lower": "≤", "higher": "≥", "neither": ""}


def explain(name: str) -> str:
    """What a figure means, in a sentence: by its own name, else by the longest known name within it, else ""."""
    wanted = name.casefold()
    if wanted in EXPLANATIONS:
        return EXPLANATIONS[wanted]
    words = f" {wanted.replace('-', ' ').replace('_', ' ').replace(',', '')} "
    within = [known for known in EXPLANATIONS if f" {known.replace('-', ' ').replace(',', '')} " in words]
    return EXPLANATIONS[max(within, key=len)] if within else ""


def value_text(figure: Figure) -> str:
    """The value with its sign if it is a bound, and its unit: "≤ 87.05 nats"."""
    written = write(figure.value, figure.interval)
    parts = (BOUND_SIGNS[figure.direction] if figure.kind == "bound" else "", written.value, written.power, figure.unit)
    return " ".join(p for p in parts if p)


def interval_text(figure: Figure) -> str:
    """ "[12.02, 12.60] 95 % jackknife", or "no interval: reason"."""
    if figure.interval is None:
        return f"no interval: {no_interval_reason(figure)}"
    written = write(figure.value, figure.interval)
    parts = (written.interval, written.power, level(figure), figure.interval_method)
    return " ".join(p for p in parts if p)


def no_interval_reason(figure: Figure) -> str:
    """Why there is none, as its maker said, without the leading "none"."""
    reason = figure.interval_method.strip()
    if reason.casefold().startswith("none"):
        reason = reason[len("none") :].lstrip(" :;,.-")
    return reason or "no reason stated"


def level(figure: Figure) -> str:
    """ "95 %"."""
    return f"{figure.level * 100:.4g} %"


def basis(figure: Figure) -> str:
    """What the number rests on: "2,000 samples against 1,797 real"; "1,797 examples"."""
    if figure.n_real is None:
        return f"N = {count(figure.n)}"
    return f"N = {count(figure.n)} against {count(figure.n_real)} real"


def extractor_text(figure: Figure) -> str:
    """ "classifier (3fa92c1b)", or "" for a figure without one."""
    if figure.extractor is None:
        return ""
    return f"{figure.extractor} ({figure.extractor_hash[:HASH_SHOWN]})" if figure.extractor_hash else figure.extractor


def subject(figure: Figure) -> str:
    """What a figure looks at, as a heading: "Features: classifier (3fa92c1b)", or "" for one without an extractor."""
    return f"Features: {extractor_text(figure)}" if figure.extractor is not None else ""


def format_figure(figure: Figure) -> str:
    """A figure as one plain line.

    >>> format_figure(Figure(name="FD", value=12.312, interval=(12.02, 12.6), direction="lower", n=500,
    ...                      interval_method="jackknife", seed=0))
    'FD 12.31 [12.02, 12.60] 95 % jackknife (↓ lower is better; estimate; N = 500; seed 0)'
    """
    about = [
        f"{ARROWS[figure.direction]} {BETTER[figure.direction]}".strip(),
        figure.kind,
        basis(figure),
        extractor_text(figure),
        "" if figure.seed is None else f"seed {figure.seed}",
        figure.note,
    ]
    return f"{figure.name} {value_text(figure)} {interval_text(figure)} ({'; '.join(a for a in about if a)})"


def figures_to_json(figures: Sequence[Figure]) -> str:
    """The figures as a JSON list, in full precision; a number that is not finite becomes its name as a string."""
    return json.dumps([finite(f.to_json()) for f in figures], indent=2, ensure_ascii=False, allow_nan=False)


def finite(value: Any) -> Any:
    """A JSON value with every nan and infinity spelt as a string: JSON has no such numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return value
