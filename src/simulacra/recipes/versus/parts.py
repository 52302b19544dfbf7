"""The experiment's parts: which data, which methods, and what they are put through, in its full and its quick form."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from simulacra.core.randomness import Rng
from simulacra.evaluation.versus.changes import at_random, ending, flipped, lower_rows, misspelt
from simulacra.evaluation.versus.classical import Boosting, Logistic, NaiveBayes, nearly_free
from simulacra.evaluation.versus.networks import Convolutional, LettersInARow, NaiveLetters
from simulacra.evaluation.versus.sweeps import Plan, Says, Sweep, elsewhere, examine
from simulacra.evaluation.versus.task import Method, Task
from simulacra.recipes.versus import tasks
from simulacra.recipes.versus.densities import gaussian_mixture, naive_bayes, pixelcnn, transformer, vae

SIZES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
AGES = (35.0, 45.0, 55.0, 65.0)  # of Adult: learnt below the first, answered for in each band


@dataclass(frozen=True, kw_only=True)
class Part:
    """A group of data sets whose methods and questions are alike.

    name, title  for files and for people.
    tasks    the data sets; () where what they need is not at hand.
    methods  the pair first: one generative, one discriminative, then any others.
    plan     of a task. more: further sweeps of it.
    """

    name: str
    title: str
    tasks: Callable[[], Sequence[Task]]
    methods: Callable[[], Sequence[Method]]
    plan: Callable[[Task], Plan]
    more: Callable[[Task, Sequence[Method], Plan, Rng], Sequence[Sweep]] | None = None

    def run(self, task: Task, rng: Rng, say: Says | None = None) -> list[Sweep]:
        """Everything that is asked of one of its data sets."""
        methods, plan = self.methods(), self.plan(task)
        found = examine(task, methods, plan, rng, say)
        return [*found, *(self.more(task, methods, plan, rng) if self.more is not None else ())]

    def key(self, task: Task) -> dict[str, Any]:
        """What its results depend on beside the seed, as JSON: kept results of another key are not used."""
        plan = {name: value for name, value in vars(self.plan(task)).items() if not callable(value)}
        plan = {name: list(value) if isinstance(value, tuple) else value for name, value in plan.items()}
        return {"plan": plan, "methods": [m.name for m in self.methods()], "task": task.name, "examples": len(task)}


def rising(task: Task, most: int, repetitions: int) -> Plan:
    """A learning curve: sizes double from two examples a class to seven tenths of all; the rest to answer for."""
    top = min(most, int(0.7 * len(task)))
    sizes = tuple(n for n in SIZES if 2 * len(task.classes) <= n <= top)
    return Plan(sizes=sizes, base=sizes[0], repetitions=repetitions, test=min(1_000, len(task) - sizes[-1]))


def the_pair() -> list[Method]:
    """Ng and Jordan's pair, and the regression as they had it."""
    return [NaiveBayes(), Logistic(), nearly_free()]


def worlds(features: Sequence[int], most: int, repetitions: int) -> Part:
    """Two Gaussians whose best classifier is known, in more and more dimensions."""
    return Part(
        name="worlds",
        title="Two Gaussians, where naive Bayes is right",
        tasks=lambda: [tasks.two_gaussians(d) for d in features],
        methods=the_pair,
        plan=lambda task: replace(rising(task, most, repetitions), test=2_000),
    )


def curves(of: Callable[[], Sequence[Task]], most: int, repetitions: int) -> Part:
    """Ng and Jordan's learning curves."""
    return Part(
        name="curves",
        title="Learning curves",
        tasks=of,
        methods=the_pair,
        plan=lambda task: rising(task, most, repetitions),
    )


def tables(of: Callable[[], Sequence[Task]], plan: Plan) -> Part:
    """A table of mixed columns."""
    return Part(
        name="tables",
        title="A table",
        tasks=of,
        methods=lambda: [naive_bayes(), Logistic(), Boosting(), gaussian_mixture()],
        plan=lambda task: replace(plan, hide=at_random),
        more=_by_age,
    )


def _by_age(task: Task, methods: Sequence[Method], plan: Plan, rng: Rng) -> Sequence[Sweep]:
    if task.name != "Adult":
        return ()
    return [elsewhere(task, methods, task.x[:, 0], AGES, plan, rng, axis="age")]


def pictures(of: Callable[[], Sequence[Task]], plan: Plan, steps: int, passes: int) -> Part:
    """Black and white pictures."""
    return Part(
        name="pictures",
        title="Pictures",
        tasks=of,
        methods=lambda: [
            pixelcnn(steps),
            Convolutional(examples=passes),
            vae(2 * steps),
            NaiveBayes(),
            Logistic(strengths=(0.01, 0.1)),
        ],
        plan=lambda task: replace(
            plan,
            hide=lower_rows,
            hidden_in_words="share of each test picture hidden, from below",
            change=flipped,
            changed_in_words="share of pixels turned over",
        ),
    )


def texts(of: Callable[[], Sequence[Task]], plan: Plan, steps: int) -> Part:
    """Short strings by their source."""
    return Part(
        name="texts",
        title="Texts",
        tasks=of,
        methods=lambda: [transformer(steps), LettersInARow(), NaiveLetters()],
        plan=lambda task: replace(
            plan,
            hide=ending,
            hidden_in_words="share of each test string hidden, its end",
            change=functools.partial(misspelt, len(tasks.LETTERS)),
            changed_in_words="share of letters drawn anew",
        ),
    )


SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
NOISE = (0.0, 0.1, 0.2, 0.3, 0.4)


def full() -> tuple[Part, ...]:
    """About a quarter of an hour of one core."""
    folder = tasks.data_folder()
    return (
        worlds((2, 8, 32, 128), 2048, 20),
        curves(lambda: [*tasks.own(), *tasks.at_hand(folder)], 2048, 30),
        tables(
            lambda: [] if folder is None else [tasks.adult(folder)],
            Plan(
                sizes=(30, 100, 300, 1_000, 3_000, 10_000), base=1_000, repetitions=12, test=2_000, spare=500,
                noise=NOISE, hidden=(0.0, 0.2, 0.4, 0.6, 0.8), priors=SHARES,
            ),
        ),
        pictures(
            lambda: [] if folder is None else [tasks.mnist()],
            Plan(
                sizes=(100, 300, 1_000, 3_000), base=1_000, repetitions=5, test=1_000, spare=300,
                noise=(0.0, 0.2, 0.4), hidden=(0.0, 2 / 7, 4 / 7, 5 / 7), changed=(0.0, 0.05, 0.1, 0.2),
                priors=SHARES, draws=2,
            ),
            steps=500, passes=15_000,
        ),
        texts(
            lambda: [] if folder is None else [tasks.sources(folder)],
            Plan(
                sizes=(100, 300, 1_000, 3_000), base=1_000, repetitions=5, test=1_500, spare=300,
                noise=(0.0, 0.2, 0.4), hidden=(0.0, 0.25, 0.5, 0.75), changed=(0.0, 0.1, 0.2, 0.4),
                priors=SHARES, draws=4,
            ),
            steps=500,
        ),
    )  # fmt: skip


def quick() -> tuple[Part, ...]:
    """Seconds, on what scikit-learn carries and a text made on the spot: to see that it runs. It shows nothing."""
    return (
        worlds((2,), 32, 2),
        curves(lambda: [tasks.iris(), tasks.diabetes()], 32, 2),
        tables(
            lambda: [tasks.breast_cancer()],
            Plan(
                sizes=(30, 60), base=60, repetitions=2, test=200, spare=50, noise=(0.0, 0.3), hidden=(0.0, 0.5),
                priors=(0.1, 0.5, 0.9),
            ),
        ),
        pictures(
            lambda: [tasks.digits_pictures()],
            Plan(
                sizes=(60, 100), base=100, repetitions=2, test=50, spare=50, noise=(0.0, 0.3), hidden=(0.0, 0.5),
                changed=(0.0, 0.1), priors=(0.2, 0.8), draws=2,
            ),
            steps=4, passes=200,
        ),
        texts(
            lambda: [_made_up()],
            Plan(
                sizes=(50, 100), base=100, repetitions=2, test=100, spare=50, noise=(0.0, 0.3), hidden=(0.0, 0.5),
                changed=(0.0, 0.2), priors=(0.2, 0.8), draws=2,
            ),
            steps=4,
        ),
    )  # fmt: skip


def _made_up() -> Task:
    """Strings of two made-up languages, one of which likes the letters that the other does not."""
    rng = Rng(0)("made up")
    likes = rng("likes").normal((2, len(tasks.LETTERS)))
    drawn = [rng("text", i).categorical(likes[i].expand(4_000, -1)) for i in range(2)]
    spelt = ["".join(tasks.LETTERS[c] for c in codes.tolist()) for codes in drawn]
    return tasks.of_texts(("one", "other"), spelt, 8)
