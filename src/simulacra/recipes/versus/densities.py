"""Families as classifiers: p(y | x) by Bayes' rule on the p(x | y) that a family learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from simulacra.core.optimisers import AdamW, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.evaluation.versus.task import Fitted, Task
from simulacra.families import naive_bayes as naive_bayes_
from simulacra.families.gaussian_mixture import GaussianMixture, GaussianMixtureConfig
from simulacra.families.pixelcnn import PixelCNN, PixelCNNConfig
from simulacra.families.transformer import Transformer, TransformerConfig
from simulacra.families.vae import VAE, VAEConfig
from simulacra.nets.backbones import Dense
from simulacra.nets.causal_attention import Places
from simulacra.nets.causal_layers import Gated
from simulacra.nets.causal_network import Stacks
from simulacra.nets.cell_outputs import Together
from simulacra.nets.decoder import Decoder
from simulacra.training.loop import train
from simulacra.training.settings import Training
from simulacra.uses.classify import scores
from simulacra.uses.impute import impute

Build = Callable[[Space, Rng], Any]


@dataclass(frozen=True, kw_only=True)
class Density:
    """A family that learns p(x | y) p(y), as a classifier.

    build     the model of a space.
    training  its budget for so many examples; of a family that learns in closed form none of it is used.
    answer    what is made of the trained model: ``Bayes``, or ``Partial`` where it scores and completes parts of x.
    options   of its likelihood.
    """

    name: str
    build: Build
    training: Callable[[int], Training] = lambda examples: Training(steps=1)
    answer: type[Bayes]
    options: Mapping[str, Any] = field(default_factory=dict)
    generative: bool = True

    def fit(self, task: Task, rng: Rng) -> Fitted:
        seed = int(rng("seed").integers(1 << 30, (1,)))
        data = task.data()
        trained = train(self.build(data.space, rng("weights")), data, replace(self.training(len(task)), seed=seed))
        return self.answer(model=trained.averaged, task=task, options=self.options, rng=rng("score"))


@dataclass(frozen=True, kw_only=True)
class Bayes:
    """Bayes' rule on a trained model; task: the examples it learnt from, which say how x is laid out."""

    model: Any
    task: Task
    options: Mapping[str, Any]
    rng: Rng

    def log_probs(self, x: Tensor) -> Tensor:
        return scores(self.model, self.task.values(x), rng=self.rng, options=self.options).log_probs()


@dataclass(frozen=True, kw_only=True)
class Partial(Bayes):
    """Bayes' rule from a part of x: what is unknown is summed out, or drawn with the class."""

    def log_probs_of(self, x: Tensor, known: Tensor) -> Tensor:
        if bool(known.all()):
            return self.log_probs(x)
        known_values = self.task.values(known)
        found = scores(self.model, self.task.values(x), known=known_values, rng=self.rng, options=self.options)
        return found.log_probs()

    def complete(self, x: Tensor, known: Tensor, rng: Rng) -> Tensor:
        if bool(known.all()):
            return x
        y = rng("y").categorical(self.log_probs_of(x, known))
        drawn = impute(self.model, self.task.values(x), self.task.values(known), y=y, rng=rng("x")).draws
        return self.task.rows_of({n: t[0] for n, t in drawn.items()} if isinstance(drawn, Mapping) else drawn[0])


PASSES = 16  # over the training examples, at most: with more an autoregressive network learns small sets by heart
FEWEST = 100  # steps, at least


def _budget(batch: int, most: int) -> Callable[[int], Training]:
    """Steps for so many examples: ``PASSES`` over them, at least ``FEWEST`` and at most ``most`` steps."""

    def training(examples: int) -> Training:
        steps = min(most, max(FEWEST, PASSES * examples // batch))
        return Training(steps=steps, batch=batch, average_half_life=1_000.0, save_seconds=None)

    return training


def _falling(lr: float, weight_decay: float) -> AdamW:
    return AdamW(lr=lr, weight_decay=weight_decay, schedule=Warmup(steps=30, decay=0.7, final=0.02))


def naive_bayes() -> Density:
    """Naive Bayes of mixed columns, each class with variances of its own."""
    return Density(
        name="naive Bayes",
        build=lambda space, rng: naive_bayes_.NaiveBayes(naive_bayes_.NaiveBayesConfig(), space, rng),
        answer=Partial,
    )


def gaussian_mixture() -> Density:
    """Mixtures of Gaussians with categories, as many components a class as BIC finds right."""
    config = GaussianMixtureConfig(components=(1, 2, 4, 8))
    return Density(
        name="Gaussian mixture",
        build=lambda space, rng: GaussianMixture(config, space, rng),
        answer=Partial,
    )


def pixelcnn(steps: int, width: int = 24) -> Density:
    """A class-conditional PixelCNN on 2x2 blocks of black and white pixels."""
    config = PixelCNNConfig(
        network=Stacks(layers=(Places(), Gated(), Gated()), width=width, first=5),
        output=Together(hidden=32),
        block=(2, 2),
        optimiser=_falling(2e-2, 0.1),
    )
    return Density(
        name="PixelCNN",
        build=lambda space, rng: PixelCNN(config, space, rng),
        training=_budget(32, steps),
        answer=Partial,
    )


def vae(steps: int) -> Density:
    """A class-conditional VAE of dense layers, scored by sixteen importance-weighted draws."""
    config = VAEConfig(latent=16, networks=Dense(hidden=(128,)), optimiser=_falling(3e-3, 1e-2))
    return Density(
        name="VAE",
        build=lambda space, rng: VAE(config, space, rng),
        training=lambda examples: Training(steps=steps, batch=64, average_half_life=1_000.0, save_seconds=None),
        answer=Bayes,
        options={"k": 16},
    )


def transformer(steps: int) -> Density:
    """A class-conditional transformer of short texts."""
    config = TransformerConfig(network=Decoder(depth=2, aspect=24, head=24), optimiser=_falling(4e-3, 0.3))
    return Density(
        name="transformer",
        build=lambda space, rng: Transformer(config, space, rng),
        training=_budget(32, steps),
        answer=Partial,
    )
