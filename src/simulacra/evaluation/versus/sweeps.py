"""What methods are put through: more examples, wrong labels, missing features, other priors, other examples.

In each repetition all methods learn from the same examples and answer for the same test examples; a larger training
set holds the smaller ones; wrong labels at a higher rate include those at a lower. So methods are compared in pairs.

Repetitions are random splits of one data set. Intervals over them are of the mean over such splits: they say nothing of
another sample of the population, for which they are too narrow (Nadeau & Bengio 2003, "Inference for the
generalization error", section 2).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.evaluation.versus.task import Completing, Fitted, Marginal, Method, Task, shuffled
from simulacra.mathematics.calibration import reliability, temperature

Hide = Callable[[Tensor, float, Rng], Tensor]  # x, share hidden -> known, bool like x
Change = Callable[[Tensor, float, Rng], Tensor]  # x, strength -> another x
Says = Callable[[str], None]

ERROR, LOG_LOSS, CALIBRATION = "error", "log loss", "calibration error"
SIZE = "training examples"


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Results along one axis.

    task, asked  which task, and what it was put through, in words.
    axis, values  what varies, and its values, rising.
    measure     what was measured, lower being better; unit of it.
    results     who -> (repetitions, values), float64. generative: which of them have a density.
    pair        who is compared: one generative, one discriminative, named before anything was measured.
    features, asymptote  of the task: numbers an example is made of; the least error there is, where it is known.
    """

    task: str
    asked: str
    axis: str
    values: tuple[float, ...]
    measure: str
    results: Mapping[str, Tensor]
    generative: tuple[str, ...]
    pair: tuple[str, str]
    logarithmic: bool = False
    unit: str = ""
    features: int = 0
    asymptote: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON value."""
        results = {who: found.tolist() for who, found in self.results.items()}
        return {**vars(self), "results": results}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Sweep:
        """The sweep that ``to_json`` wrote."""
        results = {who: torch.tensor(rows, dtype=torch.float64) for who, rows in value["results"].items()}
        lists = {name: tuple(value[name]) for name in ("values", "generative", "pair")}
        return Sweep(**{**value, **lists, "results": results})


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a task's methods are put through; an empty tuple leaves a part out.

    sizes      of training sets. base: the one at which everything else is looked at, one of sizes.
    test, spare  examples to answer for, and more to fit temperatures on, in each repetition.
    noise      shares of wrong training labels. hidden: shares of each test example that is not known.
    changed    strengths of what is done to test examples; priors: shares of the first half of the classes among them.
    draws      completions, by the first method that can, of which a discriminative learner's answers are averaged.
    """

    sizes: tuple[int, ...]
    base: int
    repetitions: int
    test: int
    spare: int = 0
    noise: tuple[float, ...] = ()
    hidden: tuple[float, ...] = ()
    hide: Hide | None = None
    hidden_in_words: str = "share of features missing in each test example"
    changed: tuple[float, ...] = ()
    change: Change | None = None
    changed_in_words: str = ""
    priors: tuple[float, ...] = ()
    draws: int = 8

    def __post_init__(self) -> None:
        if self.base not in self.sizes:
            raise ValueError(f"base must be one of the sizes {self.sizes}; got {self.base}")
        if any(a >= b for a, b in itertools.pairwise(self.sizes)):
            raise ValueError(f"sizes must rise; got {self.sizes}")


@dataclass
class Notebook:
    """Results as they come: (what, measure) -> value -> who -> one number a repetition."""

    found: dict[tuple[str, str], dict[float, dict[str, list[float]]]] = field(default_factory=dict)

    def write(self, what: str, measure: str, value: float, who: str, number: float) -> None:
        """One number."""
        self.found.setdefault((what, measure), {}).setdefault(value, {}).setdefault(who, []).append(number)


def examine(task: Task, methods: Sequence[Method], plan: Plan, rng: Rng, say: Says | None = None) -> list[Sweep]:
    """Everything the plan asks, as sweeps; the first generative and the first discriminative method are the pair.

    ValueError for a task of too few examples.
    """
    need = plan.sizes[-1] + plan.test + plan.spare
    if len(task) < need:
        raise ValueError(f"{task.name}: the plan takes {need} examples and there are {len(task)}; ask for fewer")
    book, dense = Notebook(), {method.name for method in methods if method.generative}
    for repetition in range(plan.repetitions):
        stream = rng(task.name, repetition)
        order = shuffled(task.y, stream)
        rest = order[plan.sizes[-1] :]
        test, spare = task.rows(rest[: plan.test]), task.rows(rest[plan.test : plan.test + plan.spare])
        base: dict[str, Fitted] = {}
        for size in plan.sizes:
            fitted = _learn(methods, task.rows(order[:size]), stream("fit", size))
            _by_size(book, plan, size, fitted, test, spare)
            base = fitted if size == plan.base else base
        train = task.rows(order[: plan.base])
        _wrong_labels(book, plan, methods, train, test, stream("noise"), base)
        _hidden(book, plan, base, dense, train, test, stream("hidden"))
        _changed(book, plan, base, test, stream("changed"))
        _other_priors(book, plan, base, train, test)
        if say is not None:
            say(f"  {task.name}: repetition {repetition + 1} of {plan.repetitions}")
    return list(_sweeps(book, task, methods, plan))


def _learn(methods: Sequence[Method], train: Task, rng: Rng) -> dict[str, Fitted]:
    return {method.name: method.fit(train, rng(method.name)) for method in methods}


def error(log_probs: Tensor, y: Tensor, weights: Tensor | None = None) -> float:
    """Share of wrong answers, of examples weighed or alike."""
    wrong = (log_probs.argmax(1) != y).double()
    return float(wrong.mean() if weights is None else (wrong * weights).sum() / weights.sum())


def log_loss(log_probs: Tensor, y: Tensor) -> float:
    """Mean -log p(y | x), nats."""
    return float(-log_probs.gather(1, y[:, None]).mean())


def _by_size(book: Notebook, plan: Plan, size: int, fitted: Mapping[str, Fitted], test: Task, spare: Task) -> None:
    for who, model in fitted.items():
        found = model.log_probs(test.x)
        book.write("size", ERROR, size, who, error(found, test.y))
        if not plan.spare:
            continue
        heat = temperature(model.log_probs(spare.x), spare.y)
        for name, log_probs in ((who, found), (tempered(who), (found / heat).log_softmax(1))):
            book.write("sure", LOG_LOSS, size, name, log_loss(log_probs, test.y))
            book.write("sure", CALIBRATION, size, name, reliability(log_probs, test.y).error)


def _wrong_labels(
    book: Notebook, plan: Plan, methods: Sequence[Method], train: Task, test: Task, rng: Rng, base: Mapping[str, Fitted]
) -> None:
    for rate in plan.noise:
        fitted = base if rate == 0 else _learn(methods, mislabelled(train, rate, rng), rng("fit"))
        for who, model in fitted.items():
            book.write("noise", ERROR, rate, who, error(model.log_probs(test.x), test.y))


def mislabelled(task: Task, rate: float, rng: Rng) -> Task:
    """The task with each label another class, all others equally likely, with probability ``rate``.

    The first example of each class keeps its own, so that no class is lost.
    """
    n, k = len(task), len(task.classes)
    wrong = rng("which").uniform((n,)) < rate
    seen = set[int]()
    for i, c in enumerate(task.y.tolist()):
        if c not in seen:
            wrong[i] = False
            seen.add(c)
    other = (task.y + 1 + rng("other").integers(k - 1, (n,))) % k
    return replace(task, y=torch.where(wrong, other, task.y))


def _hidden(
    book: Notebook, plan: Plan, base: Mapping[str, Fitted], dense: set[str], train: Task, test: Task, rng: Rng
) -> None:
    if not plan.hidden or plan.hide is None:
        return
    usual = typical(train)
    completer = next(((who, m) for who, m in base.items() if isinstance(m, Completing)), None)
    for share in plan.hidden:
        known = plan.hide(test.x, share, rng("mask"))
        filled = torch.where(known, test.x, usual.to(test.x.dtype))
        drawn: list[Tensor] = []
        if completer is not None:
            drawn = [completer[1].complete(test.x, known, rng("draw", i)) for i in range(plan.draws)]
        for who, model in base.items():
            part = isinstance(model, Marginal)
            if who in dense and not part:
                continue  # what its density says of a part is not to be had from it
            found = model.log_probs_of(test.x, known) if part else model.log_probs(filled)
            book.write("hidden", ERROR, share, who, error(found, test.y))
            if completer is not None and who not in dense:
                found = torch.stack([model.log_probs(x).exp() for x in drawn]).mean(0)
                book.write("hidden", ERROR, share, imputed(who, completer[0]), error(found, test.y))


def typical(task: Task) -> Tensor:
    """What stands in for what is missing: means of numbers, the commonest of categories, (*event)."""
    flat = task.x.flatten(1).double()
    numbers = task.columns or ((0,) * flat.shape[1] if task.x.is_floating_point() else (1,) * flat.shape[1])
    values = [flat[:, j].mode().values if k else flat[:, j].mean() for j, k in enumerate(numbers)]
    return torch.stack(values).view(task.x.shape[1:])


def _changed(book: Notebook, plan: Plan, base: Mapping[str, Fitted], test: Task, rng: Rng) -> None:
    if plan.change is None:
        return
    for strength in plan.changed:
        x = plan.change(test.x, strength, rng("what"))
        for who, model in base.items():
            book.write("changed", ERROR, strength, who, error(model.log_probs(x), test.y))


def _other_priors(book: Notebook, plan: Plan, base: Mapping[str, Fitted], train: Task, test: Task) -> None:
    k = len(test.classes)
    first = torch.arange(k) < k // 2
    have = torch.bincount(train.y, minlength=k).double() / len(train)
    here = torch.bincount(test.y, minlength=k).double() / len(test)
    for share in plan.priors:
        # within each half the classes keep their shares; test examples are weighed instead of drawn anew
        new = torch.where(first, share * here / here[first].sum(), (1 - share) * here / here[~first].sum())
        weights = (new / here.clamp(min=1e-9))[test.y]
        step = new.clamp(min=1e-12).log() - have.clamp(min=1e-12).log()
        for who, model in base.items():
            found = model.log_probs(test.x)
            book.write("priors", ERROR, share, who, error(found, test.y, weights))
            book.write("priors", ERROR, share, told(who), error(found + step, test.y, weights))


def tempered(who: str) -> str:
    """The name of a method whose probabilities were given a temperature."""
    return f"{who}, with a temperature"


def imputed(who: str, by: str) -> str:
    """The name of a method that answers for completions."""
    return f"{who}, completed by {by}"


def told(who: str) -> str:
    """The name of a method that knows the new priors."""
    return f"{who}, told the new shares"


def elsewhere(
    task: Task, methods: Sequence[Method], by: Tensor, edges: Sequence[float], plan: Plan, rng: Rng, *, axis: str
) -> Sweep:
    """Learnt below the first edge, answered for in each band between two edges and, first, in the one below.

    by     what decides who is learnt from, (n,); edges: rising, the middle of a band is its value.
    axis   what ``by`` is, in words. Of the plan: base, test (at most so many a band) and repetitions.
    """
    bands = [(float(by.min()), edges[0]), *itertools.pairwise(edges)]
    book = Notebook()
    for repetition in range(plan.repetitions):
        stream = rng(task.name, "elsewhere", repetition)
        inside = torch.nonzero(by < edges[0])[:, 0]
        inside = inside[shuffled(task.y[inside], stream)]
        fitted = _learn(methods, task.rows(inside[: plan.base]), stream("fit"))
        for number, (low, high) in enumerate(bands):
            there = inside[plan.base :] if not number else torch.nonzero((by >= low) & (by < high))[:, 0]
            test = task.rows(there[stream("band", number).permutation(len(there))[: plan.test]])
            for who, model in fitted.items():
                book.write("elsewhere", ERROR, (low + high) / 2, who, error(model.log_probs(test.x), test.y))
    (sweep,) = _sweeps(
        book, task, methods, plan, {"elsewhere": (f"other examples: learnt where {axis} is below {edges[0]:g}", axis)}
    )
    return sweep


def _sweeps(
    book: Notebook, task: Task, methods: Sequence[Method], plan: Plan, more: Mapping[str, tuple[str, str]] | None = None
) -> Iterator[Sweep]:
    named = {  # what -> what was asked, the axis
        "size": ("more training examples", SIZE),
        "sure": ("how far its probabilities can be trusted", SIZE),
        "noise": (f"wrong labels among {plan.base:,} training examples", "share of wrong labels"),
        "hidden": (f"missing features at test time, {plan.base:,} training examples", plan.hidden_in_words),
        "changed": (f"changed test examples, {plan.base:,} training examples", plan.changed_in_words),
        "priors": (
            f"classes in other shares at test time, {plan.base:,} training examples",
            f"share of {', '.join(task.classes[: len(task.classes) // 2])} among test examples",
        ),
        **(more or {}),
    }
    one = next(method.name for method in methods if method.generative)
    two = next(method.name for method in methods if not method.generative)
    for (what, measure), found in book.found.items():
        asked, axis = named[what]
        values = tuple(sorted(found))
        everyone = list(found[values[0]])
        dense = tuple(
            who
            for who in everyone
            if any(x.generative and who in (x.name, tempered(x.name), told(x.name)) for x in methods)
        )
        yield Sweep(
            task=task.name,
            asked=asked,
            axis=axis,
            values=values,
            measure=measure,
            unit="nats" if measure == LOG_LOSS else "",
            results={
                who: torch.tensor([found[v][who] for v in values], dtype=torch.float64).T.contiguous()
                for who in everyone
            },
            generative=dense,
            pair=(told(one), told(two)) if what == "priors" else (one, two),
            logarithmic=axis == SIZE,
            features=task.features,
            asymptote=task.asymptote,
        )
