"""Membership inference: can an attacker who holds the model tell what it learned from?

Each score is what some capability gives: a likelihood, a reconstruction, a denoiser's error, a critic's opinion. The
attacker accuses examples of high score. Held-out examples are the null, so they must come from where the training data
came from: where the two differ in kind, the attack measures that difference instead.

A low area does not prove that nothing can be told: a stronger attack may exist.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Data, Values
from simulacra.core.capabilities import Codec, Critic, Denoiser, Likelihood
from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.evaluation import intervals
from simulacra.evaluation.extractors import batches
from simulacra.evaluation.likelihood import device_of, resting
from simulacra.mathematics.attackers import FALSE_ALARMS, calibrated, hits_at
from simulacra.mathematics.ranking import auc
from simulacra.nets.embeddings import pick
from simulacra.responsibility.finding import Finding

SMALLEST = 100  # on either side: DeLong's interval is known to hold from there
MOST = 2_000  # on either side
NOISES = (0.1, 0.3, 1.0)  # of which the denoiser's error is taken, in units of each field's scale

Score = Callable[[object, Batch, Rng], Tensor]


def likelihood(model: object, batch: Batch, rng: Rng) -> Tensor:
    """log p of each example, nats (b,)."""
    assert isinstance(model, Likelihood)
    return model.log_likelihood(batch.x, **batch.given(), rng=rng).nats


def reconstruction(model: object, batch: Batch, rng: Rng) -> Tensor:
    """Minus the squared error of each example's way through the latent space, in units of each field's scale, (b,).

    A category that comes back as another counts as 1; what is missing counts nothing.
    """
    assert isinstance(model, Codec)
    again = model.decode(model.encode(batch.x, y=batch.y), y=batch.y)
    return -_squared(model, batch, again)


def denoising(model: object, batch: Batch, rng: Rng) -> Tensor:
    """Minus the squared error of each example denoised, summed over some strengths in units of their noise, (b,)."""
    assert isinstance(model, Denoiser)
    scored: list[Tensor] = []
    for i, sigma in enumerate(NOISES):
        noisy: dict[str, Tensor] = {}
        for name, f in _space(model).fields.items():
            x = pick(batch.x, name)
            scale = f.scale if isinstance(f, Continuous) else 1.0
            noisy[name] = x + sigma * scale * rng("noise", i, name).normal(x.shape, dtype=x.dtype, device=x.device)
        clean = model.denoise(noisy if len(noisy) > 1 else next(iter(noisy.values())), sigma, y=batch.y)
        scored.append(-_squared(model, batch, clean) / sigma**2)
    return torch.stack(scored).sum(0)


def critic(model: object, batch: Batch, rng: Rng) -> Tensor:
    """How real the critic finds each example, (b,)."""
    assert isinstance(model, Critic)
    return model.criticise(batch.x, y=batch.y)


def scores_for(model: object) -> dict[str, Score]:
    """The scores that a model's capabilities give, by their names."""
    found: dict[str, Score] = {}
    if isinstance(model, Likelihood):
        found["likelihood"] = likelihood
    if isinstance(model, Codec) and isinstance(model.latent.only, Continuous):
        found["reconstruction"] = reconstruction
    if isinstance(model, Denoiser):
        found["denoising"] = denoising
    if isinstance(model, Critic):
        found["critic"] = critic
    return found


@torch.no_grad()
def scored(model: object, data: Data, score: Score, *, n: int = MOST, rng: Rng | int = 0) -> Tensor:
    """A score of n examples (all, or a random choice that depends on rng and n alone), (n,), on the CPU."""
    stream = Rng.of(rng)
    parts: list[Tensor] = []
    count, device = 0, device_of(model)
    with resting(model):
        for batch in batches(data, n, stream("data"), batch=200):
            parts.append(score(model, batch.to(device), stream("score").rows(count)).double().cpu())
            count += len(batch)
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


def membership(
    model: object,
    train: Data,
    held: Data,
    *,
    references: Sequence[object] = (),
    n: int = MOST,
    rng: Rng | int = 0,
    scores: Mapping[str, Score] | None = None,
) -> list[Finding]:
    """An attack with each score.

    references  models of the same kind that learned neither from ``train`` nor from ``held``: scores are taken in
                units of theirs (``calibrated``), which takes out that some examples are easy for every model.
    ValueError for a model without scores, and for fewer than 100 examples on either side.
    """
    stream = Rng.of(rng)
    asked = scores_for(model) if scores is None else scores
    if not asked:
        raise ValueError(f"{type(model).__name__} gives no likelihood, reconstruction, denoising or critic's score")
    if min(len(train), len(held), n) < SMALLEST:
        raise ValueError(
            f"membership inference needs at least {SMALLEST} training and held-out examples; got"
            f" {min(len(train), n)} and {min(len(held), n)}: hold out more"
        )
    found: list[Finding] = []
    for name, score in asked.items():
        each = [_each(model, data, score, references, n, stream(side)) for side, data in _sides(train, held)]
        bad = sum(int((~t.isfinite()).sum()) for t in each)
        if bad:
            raise ValueError(f"the {name} score of {type(model).__name__} is not finite for {bad} examples")
        found.append(attack(name, *each, seed=stream.seed, calibrated_by=len(references)))
    return found


def attack(name: str, members: Tensor, others: Tensor, *, seed: int | None = None, calibrated_by: int = 0) -> Finding:
    """What scores of members and of others tell: area, and hits at 0.1 % false alarms."""
    n, m = len(members), len(others)
    area, error = auc(others, members)
    interval = intervals.of_auc(area, error, n, m)
    how = f"scores in units of {calibrated_by} reference models'" if calibrated_by else "uncalibrated scores"
    figures = [
        Figure(
            name=f"membership by {name}, AUC", value=area, direction="lower", n=n, n_real=m, interval=interval.bounds,
            interval_method=interval.method, level=intervals.LEVEL, seed=seed, note=f"one half tells nothing; {how}",
        )
    ]  # fmt: skip
    note = ""
    try:
        hits = hits_at(members, others)
        figures.append(
            Figure(
                name=f"membership by {name}, hits at 0.1 % false alarms", value=hits.value, direction="lower", n=n,
                n_real=m, interval=hits.interval, interval_method="Clopper and Pearson's, of the threshold taken",
                level=intervals.LEVEL, seed=seed, note=f"{FALSE_ALARMS:g} tells nothing",
            )
        )  # fmt: skip
        note = f"; {hits.value:.2%} are hit at {FALSE_ALARMS:.1%} false alarms"
    except ValueError as error_:
        note = f"; hits at 0.1 % false alarms not measured: {error_}"
    # one-sided: what lies below one half tells an attacker nothing he would act on
    z = (area - 0.5) / error if error > 0 else math.copysign(math.inf, area - 0.5) if area != 0.5 else 0.0
    p = 0.5 * math.erfc(z / math.sqrt(2))
    word = "attention" if p < 0.05 else "pass"
    why = f"area {area:.3f} where one half tells nothing (p = {p:.2g}){note}"
    return Finding(name=f"membership by {name}", verdict=word, why=why, figures=tuple(figures), p=p)


def _sides(train: Data, held: Data) -> tuple[tuple[str, Data], tuple[str, Data]]:
    return ("train", train), ("held out", held)


def _each(model: object, data: Data, score: Score, references: Sequence[object], n: int, rng: Rng) -> Tensor:
    own = scored(model, data, score, n=n, rng=rng)
    if not references:
        return own
    return calibrated(own, torch.stack([scored(r, data, score, n=n, rng=rng) for r in references]))


def _squared(model: object, batch: Batch, again: Values) -> Tensor:
    """Squared differences of an example and what became of it, summed over its fields, (b,) float64."""
    parts: list[Tensor] = []
    for name, f in _space(model).fields.items():
        a, b, known = pick(batch.x, name), pick(again, name), pick(batch.known, name)
        each = ((a - b).double() / f.scale).square() if isinstance(f, Continuous) else (a != b).double()
        each = each if known is None else torch.where(known, each, 0.0)
        parts.append(each.reshape(len(a), -1).sum(1))
    return torch.stack(parts).sum(0)


def _space(model: object) -> Space:
    space = getattr(model, "space", None)
    if not isinstance(space, Space):
        raise ValueError(f"{type(model).__name__} does not say what space its examples are of; give it one as .space")
    return space
