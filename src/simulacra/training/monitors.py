"""Monitors watch a run and say in plain words what is going wrong. (That numbers are finite, the loop sees to itself.)

Each is a hook. It speaks when it has seen a fault twice in a row, when the fault has passed, and at the end of the run;
``monitors(model)`` gives those that suit a model.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Data
from simulacra.core.capabilities import Codec, Critic, Sampler
from simulacra.core.space import Categorical, Space
from simulacra.training.hooks import Hook, Moment, Verdict

EARLY = 0.1  # share of the budget in which a model may still look collapsed


def monitors(model: Any, *, held_out: Data | None = None, every: int = 500) -> list[Hook]:
    """The monitors that suit a model; held_out: data it does not learn from, without which no overfitting is seen."""
    found: list[Hook] = [Divergence()]
    if isinstance(model, Critic) and isinstance(model, Sampler) and held_out is not None and len(held_out) > 1:
        found.append(CriticOverfitting(held_out, every=every))
    if isinstance(model, Sampler):
        found.append(ModeCollapse(every=every))
    if isinstance(model, Codec):
        discrete = isinstance(model.latent.only, Categorical)
        found.append(DeadCodes(every=every) if discrete else PosteriorCollapse(every=every))
    return found


class Suspicion:
    """Turns looks into verdicts: a fault counts when seen ``patience`` times in a row, and is told once."""

    def __init__(self, name: str, patience: int = 2) -> None:
        self.name, self.patience = name, patience
        self.seen, self.told, self.last = 0, False, ""

    def look(self, moment: Moment, bad: bool, fault: str, fine: str) -> list[Verdict]:
        """What is to be said after a look; ``fault`` and ``fine`` say what was seen, each for its case."""
        self.seen = self.seen + 1 if bad else 0
        self.last = fault if bad else fine
        if self.seen >= self.patience and not self.told:
            self.told = True
            return [self.verdict(moment, "attention", fault)]
        if self.told and not bad:
            self.told = False
            return [self.verdict(moment, "ok", f"over again: {fine}")]
        return [self.verdict(moment, "ok", fine)] if moment.done and not bad else []

    def verdict(self, moment: Moment, level: Literal["ok", "attention", "stop"], text: str) -> Verdict:
        """Something said now."""
        return Verdict(name=self.name, level=level, text=text, step=moment.step)

    def state(self) -> dict[str, Any]:
        """What it remembers."""
        return {"seen": self.seen, "told": self.told, "last": self.last}

    def restore(self, value: Mapping[str, Any]) -> None:
        """Remember what ``state`` gave."""
        self.seen, self.told, self.last = value["seen"], value["told"], value["last"]


class Divergence:
    """Whether a turn's loss explodes: far above the median of its last rows, and above all it began with.

    The run is stopped where it stays there for ten rows of the log.
    """

    every = 1
    ROWS, FIRST, FAR, HOPELESS = 20, 5, 10.0, 10

    def __init__(self) -> None:
        self.suspicion = Suspicion("divergence")
        self.past: dict[str, list[float]] = {}
        self.start: dict[str, float] = {}
        self.step = 0

    def __call__(self, moment: Moment) -> list[Verdict]:
        step = int(moment.log.get("step", 0))
        if step <= self.step:
            return []
        self.step = step
        worst = ""
        for name, value in moment.log.items():
            if "/" not in name and name not in ("step", "examples", "seconds") and self._explodes(name, value):
                worst = worst or f"the loss of turn {name!r} is {value:.3g}, {statistics.median(self.past[name]):.3g}"
        fault = f"{worst} was usual: training diverges; try a lower learning rate or clip=1.0"
        said = self.suspicion.look(moment, bool(worst), fault, "losses stay near what they were")
        if self.suspicion.seen == self.HOPELESS:
            said.append(self.suspicion.verdict(moment, "stop", fault))
        return said

    def _explodes(self, name: str, value: float) -> bool:
        past = self.past.setdefault(name, [])
        if len(past) < self.FIRST:
            past.append(value)
            self.start[name] = max(self.start.get(name, 0.0), abs(value))
            return False
        usual = statistics.median(past)
        spread = statistics.median(abs(v - usual) for v in past)
        far = usual + self.FAR * max(abs(usual), 3 * spread)
        # a loss may fall by orders of magnitude and rise again: only above its beginnings is it lost
        if value > far and value > 3 * self.start[name]:
            return True
        past.append(value)
        del past[: -self.ROWS]
        return False

    def state(self) -> dict[str, Any]:
        """What it remembers."""
        return {"suspicion": self.suspicion.state(), "past": self.past, "start": self.start, "step": self.step}

    def restore(self, value: Mapping[str, Any]) -> None:
        """Remember what ``state`` gave."""
        self.suspicion.restore(value["suspicion"])
        self.past, self.start, self.step = dict(value["past"]), dict(value["start"]), value["step"]


class Remembering:
    """A monitor whose memory is its suspicion alone."""

    suspicion: Suspicion

    def state(self) -> dict[str, Any]:
        """What it remembers."""
        return self.suspicion.state()

    def restore(self, value: Mapping[str, Any]) -> None:
        """Remember what ``state`` gave."""
        self.suspicion.restore(value)


class CriticOverfitting(Remembering):
    """Whether the critic has learnt its training examples by heart: it scores held-out ones as it scores samples.

    Looks at r = (E D(training) - E D(held-out)) / (E D(training) - E D(samples)), 0 for a critic that generalises
    and 1 for one that knows the training set only (Karras et al. 2020, "Training generative adversarial networks with
    limited data", eq. 1), where numerator and denominator are beyond three standard errors.
    """

    def __init__(self, held_out: Data, *, every: int = 500, n: int = 512, limit: float = 0.5) -> None:
        self.held_out, self.every, self.n, self.limit = held_out, every, n, limit
        self.suspicion = Suspicion("critic overfitting")

    @torch.no_grad()
    def __call__(self, moment: Moment) -> list[Verdict]:
        model = moment.averaged()
        real = scores(model, draw(moment.data, self.n, moment, "training"))
        held = scores(model, draw(self.held_out, self.n, moment, "held-out"))
        fake = scores(model, model.sample(self.n, rng=moment.rng("samples")))
        gap, whole = real.mean() - held.mean(), real.mean() - fake.mean()
        certain = gap > 3 * error(real, held) and whole > 3 * error(real, fake)
        ratio = float(gap / whole) if certain else 0.0
        fault = (
            f"the critic tells training examples from held-out ones {100 * ratio:.0f} % as well as from samples:"
            " it learns them by heart; use more data, augmentation, or a stronger penalty"
        )
        fine = "the critic scores held-out examples as it scores training examples"
        return self.suspicion.look(moment, ratio > self.limit, fault, fine)


class ModeCollapse(Remembering):
    """Whether samples are less varied than data.

    Looks at the mean distance between two samples, and at the median distance from a sample to its nearest other,
    each as a share of the data's.
    """

    def __init__(self, *, every: int = 500, n: int = 256, diversity: float = 0.4, repetition: float = 0.1) -> None:
        self.every, self.n, self.limits = every, n, (diversity, repetition)
        self.suspicion = Suspicion("mode collapse")

    @torch.no_grad()
    def __call__(self, moment: Moment) -> list[Verdict]:
        if len(moment.data) < 2 or (moment.fraction < EARLY and not moment.done):
            return []
        real = vectors(draw(moment.data, self.n, moment, "training"), moment.data.space)
        model = moment.averaged()
        fake = vectors(model.sample(len(real), rng=moment.rng("samples")), moment.data.space)
        (spread, nearest), (fake_spread, fake_nearest) = distances(real), distances(fake.to(real))
        diversity = fake_spread / spread if spread > 0 else 1.0
        repetition = fake_nearest / nearest if nearest > 0 else 1.0
        what = f"two samples lie {100 * diversity:.0f} % as far apart as two training examples"
        if diversity >= self.limits[0]:
            what = f"samples lie {100 * repetition:.0f} % as far from their nearest other as training examples do"
        fault = f"{what}: the model has collapsed; try another game or penalty, or a lower learning rate"
        fine = f"samples are varied: two of them lie {100 * diversity:.0f} % as far apart as two training examples"
        return self.suspicion.look(moment, diversity < self.limits[0] or repetition < self.limits[1], fault, fine)


class PosteriorCollapse(Remembering):
    """Whether a variational model ignores its code: no latent's posterior mean varies over the data.

    A unit is active where that variance exceeds 0.01 (Burda et al. 2016, "Importance weighted autoencoders",
    section 5.2). Looks only at models that log a term "kl".
    """

    def __init__(self, *, every: int = 500, n: int = 512) -> None:
        self.every, self.n = every, n
        self.suspicion = Suspicion("posterior collapse")

    @torch.no_grad()
    def __call__(self, moment: Moment) -> list[Verdict]:
        kl = next((value for name, value in moment.log.items() if name.rpartition("/")[2] == "kl"), None)
        if kl is None or len(moment.data) < 2 or (moment.fraction < EARLY and not moment.done):
            return []
        batch = draw(moment.data, self.n, moment, "training")
        means = moment.averaged().posterior(batch.x, **({} if batch.y is None else {"y": batch.y})).mean.flatten(1)
        variance = means.double().var(0)
        active, total = int((variance > 0.01).sum()), len(variance)
        each = f"{active} of {total} latent dimensions carry information, {kl:.2g} nats in all"
        fault = f"{each}: the decoder ignores its code; lower beta, raise it slowly, or weaken the decoder"
        return self.suspicion.look(moment, active == 0 or kl < 0.01, fault, each)


class DeadCodes(Remembering):
    """Whether a codebook lies idle: examples use few of the codes they could.

    Looks at the perplexity of the codes' frequencies, exp(entropy): how many codes, equally used, would say as much
    (van den Oord et al. 2017 log it likewise), as a share of the codes that so many places could use.
    """

    def __init__(self, *, every: int = 500, n: int = 512, limit: float = 0.1) -> None:
        self.every, self.n, self.limit = every, n, limit
        self.suspicion = Suspicion("dead codes")

    @torch.no_grad()
    def __call__(self, moment: Moment) -> list[Verdict]:
        if moment.fraction < EARLY and not moment.done:
            return []
        model, batch = moment.averaged(), draw(moment.data, self.n, moment, "training")
        codes = model.encode(batch.x, **{n: v for n, v in batch.given().items() if n != "known"})
        k = model.latent.only.k
        share = codes.flatten().bincount(minlength=k).double() / codes.numel()
        used, perplexity = int((share > 0).sum()), float((-share * share.log()).nan_to_num().sum().exp())
        each = f"{used} of {k} codes are in use, as varied as {perplexity:.3g} codes used equally often"
        fault = f"{each}: the codebook lies idle; take a smaller one, revive dead codes sooner, or use FSQ"
        return self.suspicion.look(moment, perplexity < self.limit * min(k, codes.numel()), fault, each)


def draw(data: Data, n: int, moment: Moment, name: str) -> Batch:
    """Up to n different examples, on the model's device and in its type."""
    index = moment.rng(name, "order").permutation(len(data))[:n]
    return moment.ready(data.batch(moment.index(index) if data is moment.data else index, moment.rng(name)))


def scores(model: Any, batch: Batch) -> Tensor:
    """What a critic gives each example, float64 (b,)."""
    return model.criticise(batch.x, **({} if batch.y is None else {"y": batch.y})).double().flatten()


def error(a: Tensor, b: Tensor) -> float:
    """Standard error of the difference of two independent means."""
    return math.sqrt(float(a.var() / len(a) + b.var() / len(b)))


def vectors(batch: Batch, space: Space) -> Tensor:
    """Examples as vectors, (b, size): numbers as they are over their field's scale, categories as indicators."""
    x: Mapping[str, Tensor] = batch.x if isinstance(batch.x, Mapping) else {next(iter(space.fields)): batch.x}
    parts: Sequence[Tensor] = [
        torch.nn.functional.one_hot(x[name].long(), f.k).reshape(len(x[name]), -1).float()
        if isinstance(f, Categorical)
        else (x[name].float() / f.scale).reshape(len(x[name]), -1)
        for name, f in space.fields.items()
    ]
    return torch.cat([*parts], 1).nan_to_num()


def distances(x: Tensor) -> tuple[float, float]:
    """Mean distance between two rows, and median distance from a row to its nearest other; (b, size), b > 1."""
    between = torch.cdist(x, x)
    mean = float(between.sum() / (len(x) * (len(x) - 1)))
    between.fill_diagonal_(math.inf)
    return mean, float(between.min(1).values.median())
