"""Laws of drawing: what is drawn is a function of the rng and the number of the row, and is an example."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from simulacra.core.batch import Batch
from simulacra.core.capabilities import ConditionalSampler, Labelled, Sampler
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes
from simulacra.laws.examples import check_inside, check_same
from simulacra.laws.law import Broken, Inapplicable, Law, Subject, weight_of
from simulacra.laws.queries import queries

# a model that keeps the law breaks this one once in a million tries, all of them with one rng
SIGNIFICANCE = 1e-6


def prefix(subject: Subject) -> str:
    model = subject.fresh()
    few, many = model.sample(8, rng=Rng(7)), model.sample(64, rng=Rng(7))
    _same_batch(few, many.rows(slice(0, 8)), subject.space, "8 examples and the first 8 of 64")
    return ""


def parts(subject: Subject) -> str:
    model = subject.fresh()
    whole, rest = model.sample(12, rng=Rng(7)), model.sample(7, rng=Rng(7).rows(5))
    _same_batch(rest, whole.rows(slice(5, 12)), subject.space, "rows 5 to 11 drawn alone and of 12 drawn at once")
    return ""


def determined(subject: Subject) -> str:
    model = subject.fresh()
    with other_globals(1):
        first = model.sample(16, rng=Rng(7))
    with other_globals(2):
        second = model.sample(16, rng=Rng(7))
    _same_batch(first, second, subject.space, "the same rng twice")
    try:
        _same_batch(first, model.sample(16, rng=Rng(8)), subject.space, "")
    except Broken:
        return ""
    raise Broken("another rng draws the very same 16 examples")


def in_space(subject: Subject) -> str:
    check_inside(subject.fresh().sample(32, rng=subject.rng("sample")), subject.space, 32)
    return ""


def labels_kept(subject: Subject) -> str:
    classes = _classes(subject)
    model = subject.fresh()
    y = (torch.arange(9) % classes).to(weight_of(model).device)
    batch = model.sample(9, y=y, rng=Rng(7))
    check_inside(batch, subject.space, 9)
    if not torch.equal(batch.y.cpu(), y.cpu()):
        raise Broken(f"asked for labels {y.tolist()}, got examples labelled {batch.y.tolist()}")
    return ""


def labels_marginal(subject: Subject) -> str:
    classes = _classes(subject)
    model = subject.fresh()
    log_prob = model.label_log_prob().detach().double().cpu()
    if log_prob.shape != (classes,):
        raise Broken(f"label_log_prob has shape {tuple(log_prob.shape)}; expected ({classes},)")
    total = float(log_prob.exp().sum())
    if not abs(total - 1) < 1e-5:
        raise Broken(f"the labels' probabilities sum to {total:.6g}")
    if not isinstance(model, Sampler):
        return f"they sum to {total:.6g}"
    n = 256
    y = model.sample(n, rng=subject.rng("marginal")).y
    if not isinstance(y, Tensor):
        raise Broken("samples carry no labels")
    counts = y.cpu().bincount(minlength=classes).numpy()
    p = multinomial_p(counts, log_prob.exp().numpy())
    if p < SIGNIFICANCE:
        raise Broken(f"of {n} samples, the labels were {counts.tolist()}: with their own marginal, p = {p:.1g}")
    return f"p = {p:.2g} with {n} labels"


def untouched(subject: Subject) -> str:
    model = subject.fresh()
    asked = queries(model, subject)
    if not asked:
        raise Inapplicable("there is nothing to ask of the model")
    for query in asked:
        before, generators = _state(model), _generators()
        query.ask()
        if changed := [name for name, value in _state(model).items() if not _equal(before.get(name), value)]:
            raise Broken(f"{query.name} changes {', '.join(changed[:3])}")
        if _generators() != generators:
            raise Broken(f"{query.name} draws from the global random generators")
    return ", ".join(query.name for query in asked)


def given_rows(subject: Subject) -> str:
    model, y = subject.fresh(), _conditions(subject)
    whole = model.sample_given(y, rng=Rng(7))
    first = Batch(x=y).rows(slice(0, 5)).x
    _same_batch(model.sample_given(first, rng=Rng(7)), whole.rows(slice(0, 5)), subject.space, "5 conditions of 12")
    return ""


def given_in_space(subject: Subject) -> str:
    batch = subject.fresh().sample_given(_conditions(subject), rng=subject.rng("given"))
    check_inside(Batch(x=batch.x, length=batch.length), subject.space, 12, y=False)
    return ""


def multinomial_p(counts: np.ndarray, probabilities: np.ndarray) -> float:
    """p-value of counts under probabilities, by chi-square where enough is expected; 0 for the impossible."""
    expected = counts.sum() * probabilities / probabilities.sum()
    if (counts[expected == 0] > 0).any():
        return 0.0
    # classes too rare for the chi-square are taken together
    rare = expected < 5
    if rare.any():
        counts, expected = (
            np.append(counts[~rare], counts[rare].sum()),
            np.append(expected[~rare], expected[rare].sum()),
        )
    kept = expected > 0
    if kept.sum() < 2:
        return 1.0
    return float(stats.chisquare(counts[kept], expected[kept]).pvalue)


class other_globals:
    """The global generators seeded with something else for a while, and put back."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __enter__(self) -> None:
        self.before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
        torch.manual_seed(self.seed)
        np.random.seed(self.seed)  # noqa: NPY002
        random.seed(self.seed)

    def __exit__(self, *error: object) -> None:
        torch.set_rng_state(self.before[0])
        np.random.set_state(self.before[1])  # noqa: NPY002
        random.setstate(self.before[2])


def _same_batch(a: Batch, b: Batch, space: Any, what: str) -> None:
    check_same(a.x, b.x, space, what)
    for name in ("y", "length"):
        first, second = getattr(a, name), getattr(b, name)
        if (first is None) != (second is None) or (isinstance(first, Tensor) and not _equal(first, second)):
            raise Broken(f"{what}: {name} differs")


def _classes(subject: Subject) -> int:
    if not isinstance(subject.space.y, Classes):
        raise Inapplicable("this space has no classes")
    return len(subject.space.y)


def _conditions(subject: Subject) -> Any:
    y = subject.data.batch(torch.arange(12) % len(subject.data), subject.rng("batch")).y
    if y is None:
        raise Inapplicable("this space has no conditions")
    return y


def _state(model: Any) -> dict[str, Any]:
    """Everything of a model that a question must leave alone, by name."""
    if not isinstance(model, nn.Module):
        return {}
    state: dict[str, Any] = {name: t.detach().clone() for name, t in model.state_dict().items()}
    state |= {f"the mode of {name or 'the model'}": m.training for name, m in model.named_modules()}
    for name, p in model.named_parameters():
        state[f"requires_grad of {name}"] = p.requires_grad
        state[f"the gradient of {name}"] = None if p.grad is None else p.grad.clone()
    return state


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and bool(((a == b) | (a != a) & (b != b)).all())
    return a is b or (not isinstance(a, Tensor) and not isinstance(b, Tensor) and a == b)


def _generators() -> tuple[Any, ...]:
    # not Python's own generator: checkers of types draw from it to choose what they look at
    numpy_state: Any = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().numpy().tobytes(), numpy_state[1].tobytes(), numpy_state[2]


LAWS = (
    Law(
        name="prefix",
        says="A larger sample begins with the smaller one: sample(64, rng=7) with sample(8, rng=7).",
        needs=(Sampler,),
        check=prefix,
    ),
    Law(
        name="parts",
        says="Sampling in parts equals sampling at once: rows 5 .. 11 drawn alone are those of 12 drawn together.",
        needs=(Sampler,),
        check=parts,
    ),
    Law(
        name="determined",
        says="The rng decides what is drawn: the same one draws the same again, another one something else.",
        needs=(Sampler,),
        check=determined,
    ),
    Law(
        name="in space",
        says="Samples lie in the space: shape, type, range, levels, categories, lengths and labels.",
        needs=(Sampler,),
        check=in_space,
    ),
    Law(
        name="labels kept",
        says="Samples asked for with labels carry those labels.",
        needs=(Sampler,),
        check=labels_kept,
    ),
    Law(
        name="marginal of labels",
        says="The labels' probabilities sum to 1, and samples asked for without labels follow them.",
        needs=(Labelled,),
        check=labels_marginal,
    ),
    Law(
        name="untouched",
        says="A question changes nothing: not weights, buffers, gradients or mode, nor the global random generators.",
        needs=(),
        check=untouched,
    ),
    Law(
        name="given rows",
        says="What is drawn for a condition depends on the rng and its row, not on the conditions beside it.",
        needs=(ConditionalSampler,),
        check=given_rows,
    ),
    Law(
        name="given in space",
        says="What is drawn for a condition lies in the space.",
        needs=(ConditionalSampler,),
        check=given_in_space,
    ),
)
