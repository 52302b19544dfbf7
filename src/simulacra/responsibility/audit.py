"""Everything of an audit that applies to a model: each question is answered, or it is said why it was not.

The questions look for faults that a test can find. None of them, and not all together, proves a model harmless.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.core.batch import Data
from simulacra.core.capabilities import Prompted, Sampler
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes
from simulacra.evaluation.extractors import Extractor, plain
from simulacra.evaluation.likelihood import resting
from simulacra.evaluation.statistics import Origin
from simulacra.evaluation.streaming import Seen, look, of_data, of_model
from simulacra.responsibility.conditions import condition_gap
from simulacra.responsibility.copying import Copying, copying, duplicates, findings_of_copying
from simulacra.responsibility.extraction import extraction
from simulacra.responsibility.fairness import Labelled, amplification, quality_by_group
from simulacra.responsibility.finding import Finding, asked, unmeasured
from simulacra.responsibility.membership import membership
from simulacra.responsibility.privacy import NAME as PRIVACY
from simulacra.responsibility.privacy import privacy

MOST = 2_000  # samples and held-out examples
TRAIN = 20_000  # training examples searched for the nearest one

NO_HELD = "there are no held-out examples, and without them there is no null; hold some out and fit again"

# what an audit could say and this one does not
BEYOND = (
    ("harmful content", "no classifier of harm is part of an audit; look at the samples"),
    ("licence and consent", "what is written of the data is repeated in the card, and checked by nobody"),
)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The findings, and what was found of copying for the page of pairs (features by the extractor named)."""

    findings: tuple[Finding, ...]
    copies: Copying | None = None
    searched: Tensor | None = None

    def count(self, verdict: str) -> int:
        """How many findings have this verdict."""
        return sum(f.verdict == verdict for f in self.findings)


def audit(
    model: object,
    train: Data,
    held: Data | None,
    *,
    extractors: Sequence[Extractor] | None = None,
    references: Sequence[object] = (),
    spent: Mapping[str, float] | None = None,
    n: int = MOST,
    rng: Rng | int = 0,
) -> Audit:
    """Every question that applies.

    held        examples like the training data, not learned from: the null of almost every question. Without them
                (None, or none in it) what needs them is not measured.
    extractors  features for copying and quality; the first that classifies sees groups. None: the examples' values.
    references  models that learned neither from train nor from held, for calibrating membership inference.
    spent       "epsilon" and "delta" of a model that was trained privately (``training.private``).
    """
    stream = Rng.of(rng)
    if extractors is None:
        own = plain(train.space)
        extractors = [] if own is None else [own]
    none_held = held is None or not len(held)
    findings: list[Finding] = []
    copies: Copying | None = None
    searched: Tensor | None = None
    if extractors:
        seen = _look(model, train, None if none_held else held, extractors, n, stream)
        found, copies = _copying(seen, extractors[-1], stream)
        searched = seen.numbers
        findings += found
        findings += _groups(seen, extractors, train, stream)
    else:
        why = "examples without plain values need an extractor of features; give one"
        findings += [
            unmeasured(name, why) for name in ("copying", "duplicates in the training data", "shares of groups")
        ]
    if none_held or held is None:
        findings.append(unmeasured("membership inference", NO_HELD))
    else:
        findings += asked(
            "membership inference",
            lambda: membership(model, train, held, references=references, n=n, rng=stream("membership")),
        )
    if isinstance(model, Prompted):
        findings += (
            [unmeasured("extraction by prompts", NO_HELD)]
            if none_held or held is None
            else asked("extraction by prompts", lambda: [extraction(model, train, held, rng=stream("extraction"))])
        )
    if not spent:
        findings.append(unmeasured(PRIVACY, "the run was not trained with a privacy guarantee, so it has no epsilon"))
    else:
        findings.append(privacy(model, train, None if none_held else held, spent, n=n, rng=stream("privacy")))
    findings += [unmeasured(name, why) for name, why in BEYOND]
    return Audit(findings=tuple(findings), copies=copies, searched=searched)


@dataclass(frozen=True, kw_only=True)
class _Looked:
    """What each extractor saw: samples (None of a model that does not draw), held-out and training examples."""

    fake: list[Seen] | None
    held: list[Seen] | None
    train: list[Seen]
    numbers: Tensor
    seed: int


def _look(model: object, train: Data, held: Data | None, extractors: Sequence[Extractor], n: int, rng: Rng) -> _Looked:
    part, count = of_data(train, TRAIN, rng("train"))
    numbers = (
        torch.arange(len(train)) if count == len(train) else rng("train")("chosen").permutation(len(train))[:count]
    )
    fake = None
    if isinstance(model, Sampler):
        with resting(model):
            fake = look(of_model(model, rng("samples")), n, extractors)
    return _Looked(
        fake=fake,
        held=None if held is None else look(*of_data(held, n, rng("held out")), extractors),
        train=look(part, count, extractors),
        numbers=numbers,
        seed=rng.seed,
    )


def _copying(seen: _Looked, extractor: Extractor, rng: Rng) -> tuple[list[Finding], Copying | None]:
    """By the last extractor, the examples' own values where they have any: what a copy is near in."""
    origin = Origin(extractor=extractor.name, extractor_hash=extractor.hash, seed=seen.seed)
    train = seen.train[-1].features
    twice = asked("duplicates in the training data", lambda: [duplicates(train, origin=origin)])
    if seen.fake is None or seen.held is None:
        why = NO_HELD if seen.fake is not None else "the model draws no samples of its own"
        return [unmeasured("copying", why), *twice], None
    try:
        found = copying(seen.fake[-1].features, seen.held[-1].features, train, rng=rng("copying"))
    except ValueError as error:
        return [unmeasured("copying", " ".join(str(error).split())), *twice], None
    return [*findings_of_copying(found, len(seen.held[-1].features), origin=origin), *twice], found


def _groups(seen: _Looked, extractors: Sequence[Extractor], train: Data, rng: Rng) -> list[Finding]:
    """Shares and quality of the data's classes, as the first extractor that classifies sees them."""
    name = "shares of groups"
    if not isinstance(train.space.y, Classes):
        return [unmeasured(name, "the data has no labels, so no groups are known")]
    number = next((i for i, e in enumerate(extractors) if e.classify is not None), None)
    if number is None:
        return [unmeasured(name, "no extractor tells the classes apart; evaluate with one that classifies")]
    if seen.fake is None or seen.held is None:
        return [unmeasured(name, NO_HELD if seen.fake is not None else "the model draws no samples of its own")]
    fake, held, known = seen.fake[number], seen.held[number], seen.train[number]
    assert fake.p is not None
    if held.p is None or held.y is None or known.y is None:
        return [unmeasured(name, "held-out or training examples carry no labels")]
    names = train.space.y.names
    e = extractors[number]
    origin = Origin(extractor=e.name, extractor_hash=e.hash, seed=seen.seed)
    labelled = Labelled(truth=held.y, seen=held.p.argmax(1))
    target = torch.bincount(known.y, minlength=len(names)).double() / len(known.y)
    groups = fake.p.argmax(1)
    found = asked(name, lambda: amplification(groups, labelled, target, names, rng=rng("shares"), origin=origin))
    if fake.y is not None:
        found += [condition_gap(fake.y, groups, labelled, names, origin=origin)]
    return found + asked(
        "quality by group",
        lambda: quality_by_group(
            fake.features, groups, held.features, labelled.seen, names, rng=rng("quality"), origin=origin
        ),
    )
