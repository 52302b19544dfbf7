"""What a model can do is which methods it has: the protocols, and the one structural test in the code base.

Everything that uses a model names the capability it needs and works on any object that has the methods.
A family may give its methods more keyword-only options; the protocol is what every caller may rely on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor
from torch.distributions import Distribution, Normal

from simulacra.core.batch import Batch, Data, Values
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.prompts import Generated, Prompt, Steps
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Space
from simulacra.core.turns import Player, Turn


@runtime_checkable
class Modelled(Protocol):
    """Knows what it models."""

    space: Space


@runtime_checkable
class Learner(Protocol):
    """Learns by steps: players that take turns."""

    def players(self) -> Mapping[str, Player]: ...

    def turns(self) -> Sequence[Turn]: ...


@runtime_checkable
class Fitter(Protocol):
    """Learns in closed form, or by its own iteration: mixtures, kernel density, naive Bayes."""

    def fit(self, data: Data) -> None: ...


@runtime_checkable
class Sampler(Protocol):
    """Draws new examples."""

    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        """n examples. y: int64 (n,) classes; None draws labels from their learned marginal."""
        ...


@runtime_checkable
class ConditionalSampler(Protocol):
    """Draws one example for each given condition: a caption, a sentence, a picture."""

    def sample_given(self, y: Values, *, rng: Rng | int) -> Batch: ...


@runtime_checkable
class Likelihood(Protocol):
    """Scores examples."""

    def log_likelihood(
        self,
        x: Values,
        *,
        y: Values | None = None,
        known: Values | None = None,
        length: Tensor | None = None,
        rng: Rng | int | None = None,
    ) -> LogLikelihood:
        """log p(x), or log p(x | y), nats (b,); of the known part where ``known`` is given."""
        ...


@runtime_checkable
class LogProb(Protocol):
    """Has an exact log p that gradients go through: what learning towards a score of its own draws needs."""

    def log_prob_of(self, x: Values, *, y: Values | None = None, length: Tensor | None = None) -> Tensor:
        """log p(x), or log p(x | y), nats (b,), as ``log_likelihood`` has it; differentiable in the model's weights."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """Turns latent codes into examples.

    Where ``latent`` is continuous, codes are N(0, I) a priori, and examples that are continuous are a differentiable
    function of them. Where it is categorical, codes are int64 indices, and how likely they are is the model's affair.
    """

    latent: Space

    def decode(self, z: Tensor, *, y: Values | None = None) -> Values:
        """(b, *latent) -> the most typical example of each, (b, *event)."""
        ...


@runtime_checkable
class Invertible(Protocol):
    """A bijection between examples and a latent N(0, I): log p(x | y) = log N(z; 0, I) + log_det."""

    latent: Space

    def to_latent(self, x: Values, *, y: Values | None = None) -> tuple[Tensor, Tensor]:
        """x (b, *event) -> z (b, *latent) and log |det dz/dx|, nats (b,), x in its own units and not spread."""
        ...

    def from_latent(self, z: Tensor, *, y: Values | None = None) -> Values:
        """The inverse, (b, *latent) -> (b, *event); real numbers also where examples lie on levels; differentiable."""
        ...


@runtime_checkable
class Codec(Protocol):
    """Maps examples to a latent space and back."""

    latent: Space

    def encode(self, x: Values, *, y: Values | None = None) -> Tensor:
        """(b, *event) -> (b, *latent)."""
        ...

    def decode(self, z: Tensor, *, y: Values | None = None) -> Values:
        """(b, *latent) -> the most typical example of each, (b, *event)."""
        ...

    def posterior(self, x: Values, *, y: Values | None = None) -> Distribution:
        """The distribution over the latent given x: what bits-back, IWAE and AIS need."""
        ...


@runtime_checkable
class Successive(Protocol):
    """A posterior that decides codes part after part, each part normal given those before it."""

    def decide(self, pick: Callable[[Normal], Tensor]) -> Tensor:
        """Codes (b, *latent) whose parts are picked: of a normal of (b, size) values (b, size), from the first part on.

        The parts, one after another, are the flattened codes.
        """
        ...


@runtime_checkable
class LatentVariable(Protocol):
    """Is p(x, z) = N(z; 0, I) p(x | z): its evidence p(x) can be annealed to, and bounded from both sides."""

    latent: Space

    def log_prob_given(
        self,
        x: Values,
        z: Tensor,
        *,
        y: Values | None = None,
        known: Values | None = None,
        length: Tensor | None = None,
    ) -> Tensor:
        """log p(x | z) of each example and its code (b, *latent), nats (b,); differentiable in z."""
        ...

    def sample_from(self, z: Tensor, *, y: Values | None = None, rng: Rng | int) -> Batch:
        """One draw from p(x | z) of each code (b, *latent)."""
        ...


@runtime_checkable
class Factorised(Protocol):
    """Knows p(x | z) of its latent codes value by value: the elements are independent given z, as bits-back needs."""

    latent: Space

    def choice_log_probs(self, z: Tensor, *, y: Values | None = None) -> Tensor:
        """Nats (b, size, k): of each element's k values, normalised; elements and values as ``to_indices`` has them."""
        ...


@runtime_checkable
class Completer(Protocol):
    """Draws what is missing given what is known.

    A model whose draws are exactly of p(unknown | known) says so by an attribute ``completion = "exact"``; without it
    they are taken to be approximate.
    """

    def complete(self, x: Values, known: Values, *, y: Values | None = None, rng: Rng | int) -> Batch: ...


@runtime_checkable
class Walk(Protocol):
    """A pass over the elements of n examples, in a fixed order: what is decided already, and what may come next.

    order  int64 (steps,): the place of each step's element in the flattened x of one example.
    """

    order: Tensor

    def log_probs(self) -> Tensor:
        """Nats (n, k): the next element's k values (level indices or categories) given those decided, normalised."""
        ...

    def take(self, value: Tensor) -> None:
        """Decides the next element, int64 (n,) in 0 .. k-1, and moves on."""
        ...


@runtime_checkable
class Stepwise(Protocol):
    """Knows the exact distribution of each element given those before it: what drawing and coding walk along."""

    def walk(self, n: int, *, y: Values | None = None) -> Walk:
        """The start of a pass over n examples; y as in ``log_likelihood``, required where the space has a y."""
        ...


@runtime_checkable
class Prompted(Protocol):
    """Goes on from a beginning, token by token, as long as is asked for."""

    def steps(self, n: int, *, y: Values | None = None, prompt: Prompt | None = None) -> Steps:
        """The distributions of one token after another; ends are an output beside the tokens where lengths vary."""
        ...

    def continue_from(
        self,
        prompt: Prompt,
        tokens: int,
        *,
        y: Tensor | None = None,
        rng: Rng | int,
        changes: Sequence[Callable[[Tensor, Tensor], Tensor]] = (),
        told: Callable[[Tensor, Tensor], None] | None = None,
    ) -> Generated:
        """Up to so many tokens that follow each prompt; told of each as it is drawn (``mathematics.decoding``)."""
        ...


@runtime_checkable
class Denoiser(Protocol):
    """Takes Gaussian noise of any strength out of examples."""

    def denoise(self, x: Values, sigma: float | Tensor, *, y: Values | None = None) -> Values:
        """E[clean | x], like x; sigma, a number or (b,), the noise's deviation in units of each field's ``scale``."""
        ...


@runtime_checkable
class Translator(Protocol):
    """Turns an example of any class into one of another, keeping what the classes have in common."""

    def translate(self, x: Values, *, y: Tensor) -> Values:
        """Each example as one of the class y, int64 (b,)."""
        ...


@runtime_checkable
class Critic(Protocol):
    """Scores how real an example looks; higher is more real, the scale is its own."""

    def criticise(self, x: Values, *, y: Values | None = None) -> Tensor: ...


@runtime_checkable
class Labelled(Protocol):
    """A model of the joint p(x, y): knows its labels' marginal."""

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,)."""
        ...


CAPABILITIES: tuple[type[Any], ...] = (
    Modelled, Learner, Fitter, Sampler, ConditionalSampler, Likelihood, LogProb, Decoder, Invertible, Codec,
    LatentVariable, Factorised, Completer, Stepwise, Prompted, Denoiser, Translator, Critic, Labelled,
)  # fmt: skip

Capability = TypeVar("Capability")


def capabilities(model: object) -> tuple[type[Any], ...]:
    """The protocols whose methods a model has."""
    return tuple(c for c in CAPABILITIES if isinstance(model, c))


def require_smooth(model: object, use: str) -> Decoder:
    """The model, known to decode real-valued codes that are N(0, I) a priori; ValueError for one that does not."""
    decoder = require(model, Decoder, use)
    if isinstance(decoder.latent.only, Categorical):
        raise ValueError(
            f"{use} needs codes of real numbers, with points between them; those of {type(model).__name__} are"
            f" {decoder.latent.only.k} categories"
        )
    return decoder


def require(model: object, capability: type[Capability], use: str) -> Capability:
    """The model, known to have a capability; ValueError naming what is missing and what it can do instead."""
    if isinstance(model, capability):
        return model
    # methods stand in vars, attributes such as ``latent`` in the annotations alone
    wanted = sorted(n for n in {**vars(capability), **capability.__annotations__} if not n.startswith("_"))
    has = ", ".join(c.__name__ for c in capabilities(model)) or "nothing we know of"
    raise ValueError(
        f"{use} needs a {capability.__name__} (a model with {' and '.join(wanted)}); {type(model).__name__} is {has}"
    )
