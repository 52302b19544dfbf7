"""How a model is trained, as data: what every family shares. A player's optimiser is the player's own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from simulacra.mathematics.power_average import exponent
from simulacra.mathematics.privacy import LEAST_DELTA

Precision = Literal["float32", "bfloat16", "float64"]


@dataclass(frozen=True, kw_only=True)
class PostHoc:
    """Averages that are stored as a run goes on, so that one of any width can be made of them afterwards.

    Power-function averages of the averaged players' weights: Karras et al. 2024, "Analyzing and improving the training
    dynamics of diffusion models", section 3. They cost two copies of the weights in memory, and two a snapshot on disk.

    widths     of the averages that are kept, as standard deviations in shares of the training so far.
    snapshots  how often they are stored, evenly along the budget.
    """

    widths: tuple[float, ...] = (0.05, 0.10)  # section 3.2
    snapshots: int = 32

    def __post_init__(self) -> None:
        for width in self.widths:
            exponent(width)
        if not self.widths or len(set(self.widths)) < len(self.widths):
            raise ValueError(f"posthoc needs different widths, at least one; got {self.widths}")
        if self.snapshots < 1:
            raise ValueError(f"posthoc stores at least 1 snapshot; got {self.snapshots}")


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """Differentially private training (DP-SGD: Abadi et al. 2016): no single example moves the weights by much.

    Two runs whose data differ by one example, there in one and absent in the other, come to any set of weights with
    probabilities within a factor e^epsilon of one another, but for delta. The number of examples is taken as known.

    epsilon  of the whole run; the noise is chosen for it (``mathematics.privacy``).
    delta    should lie below 1 / (number of examples).
    clip     largest norm of one example's gradient, of its loss in the loss's own units.
    """

    epsilon: float
    delta: float = 1e-5
    clip: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < math.inf:
            raise ValueError(f"epsilon must be positive and finite; got {self.epsilon}")
        if not LEAST_DELTA <= self.delta < 1:
            raise ValueError(f"delta must lie in [{LEAST_DELTA:g}, 1); got {self.delta}")
        if not 0 < self.clip < math.inf:
            raise ValueError(f"clip must be positive and finite; got {self.clip}")


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of a run. At least one budget is needed; the one that is reached first ends the run.

    steps, minutes, examples  budgets: optimiser steps; minutes of training, saving included; examples drawn.
    batch              examples an optimiser step sees, over all processes and accumulated parts together, so that
                       neither of them changes the run.
    accumulate         parts a process takes its share of the batch in, one after the other, to save memory.
    seed               every draw of the run is a function of it.
    precision          "float32"; "bfloat16": float32 weights under autocast; "float64".
    clip               largest norm of a player's gradient, of the loss divided by its weight; None: unlimited.
    average_half_life  half-life of the weights' moving average, in examples; 0 averages nothing.
    average_warmup     the half-life is at most this share of the examples seen so far (Karras et al. 2020,
                       "Analyzing and improving the image quality of StyleGAN", released settings: 0.05).
    posthoc            averages stored as the run goes on, of which any other is made later; None: no such thing.
    private            differentially private training; ``batch`` is then the expected number of examples in a step.
    log_every          steps in a line of the log; the non-finite guard looks as often.
    save_seconds       time between two resume checkpoints; None saves at the end only.
    compile            whether players' modules are compiled (``torch.compile``).
    """

    steps: int | None = None
    minutes: float | None = None
    examples: int | None = None
    batch: int = 128
    accumulate: int = 1
    seed: int = 0
    precision: Precision = "float32"
    clip: float | None = None
    average_half_life: float = 10_000.0
    average_warmup: float = 0.05
    posthoc: PostHoc | None = None
    private: Privacy | None = None
    log_every: int = 50
    save_seconds: float | None = 60.0
    compile: bool = False

    def __post_init__(self) -> None:
        if all(budget is None for budget in (self.steps, self.minutes, self.examples)):
            raise ValueError("training needs a budget; give steps=, minutes= or examples=")
        for name in ("steps", "minutes", "examples", "batch", "accumulate", "log_every", "clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive; got {value}")
        for name in ("average_half_life", "average_warmup", "save_seconds", "seed"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"{name} must not be negative; got {value}")
        if self.precision not in ("float32", "bfloat16", "float64"):
            raise ValueError(f"precision must be float32, bfloat16 or float64; got {self.precision!r}")
        if self.private is not None and self.steps is None and self.examples is None:
            raise ValueError("noise is chosen for a number of steps; give a private run steps= or examples=")

    @property
    def planned(self) -> int | None:
        """Steps after which the run has ended for certain; None where minutes alone end it."""
        found = [] if self.steps is None else [self.steps]
        found += [] if self.examples is None else [-(-self.examples // self.batch)]
        return min(found, default=None)

    def fraction(self, step: int, seconds: float) -> float:
        """Share of the budget that is used up after so many steps and seconds, 0 .. 1: the largest of the shares."""
        done = 0.0
        if self.steps is not None:
            done = step / self.steps
        if self.examples is not None:
            done = max(done, step * self.batch / self.examples)
        if self.minutes is not None:
            done = max(done, seconds / (60 * self.minutes))
        return min(done, 1.0)
