"""Monitors watch a run and say in plain words what is going wrong. (That numbers are finite, the loop sees to itself.)

Each is a hook. It speaks when it has seen a fault twice in a row, when the fault has passed, and at the end of the run;
``monitors(model)`` gives those that suit a model.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Data
from simulacra.core.capabilities import Codec, Critic, Sampler
from simulacra.core.space import Categorical
from simulacra.training.collapse import ModeCollapse
from simulacra.training.hooks import Hook, Moment, Verdict
from simulacra.training.looks import EARLY, Remembering, Suspicion, draw

SOON = 100  # steps at most between two looks at an adversarial game, which may lose its modes within a few hundred


def monitors(model: Any, *, held_out: Data | None = None, every: int = 500) -> list[Hook]:
    """The monitors that suit a model; held_out: data it does not learn from, without which no overfitting is seen."""
    found: list[Hook] = [Divergence()]
    every = min(every, SOON) if isinstance(model, Critic) else every
    if isinstance(model, Critic) and isinstance(model, Sampler) and held_out is not None and len(held_out) > 1:
        found.append(CriticOverfitting(held_out, every=every))
    if isinstance(model, Sampler):
        found.append(ModeCollapse(every=every))
    if isinstance(model, Codec):
        discrete = isinstance(model.latent.only, Categorical)
        found.append(DeadCodes(every=every) if discrete else PosteriorCollapse(every=every))
    return found


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


def scores(model: Any, batch: Batch) -> Tensor:
    """What a critic gives each example, float64 (b,)."""
    return model.criticise(batch.x, **({} if batch.y is None else {"y": batch.y})).double().flatten()


def error(a: Tensor, b: Tensor) -> float:
    """Standard error of the difference of two independent means."""
    return math.sqrt(float(a.var() / len(a) + b.var() / len(b)))
