"""Disentanglement as figures: how nearly each dimension of a code is one of the factors that examples were made from.

All measures rest on one pool of codes of randomly chosen examples and their factors. Beside each stands what the same
codes score when their rows are shuffled, so that they know nothing: the level of chance at this number of examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simulacra.core.batch import Data, Factor, Factored
from simulacra.core.capabilities import Codec, require
from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous
from simulacra.evaluation.likelihood import device_of, resting
from simulacra.mathematics import disentanglement as measures

BINS = 20  # at least, of a code's dimension: Locatello et al. 2019, "Challenging common assumptions", appendix C
ASLEEP = 0.05  # variance of a mean code, of a prior variance of 1, below which a dimension tells nothing (the same)
TREES = 20
BATCH = 500
NAMES = (
    "beta-VAE score",
    "FactorVAE score",
    "mutual information gap",
    "DCI disentanglement",
    "DCI completeness",
    "DCI informativeness",
    "SAP score",
    "modularity",
)


@dataclass(frozen=True, kw_only=True)
class Groups:
    """How many groups of examples that agree in one factor the two scores by guessing it rest on.

    count  groups to learn from, and as many again to be judged by (800 in Kim & Mnih 2018, appendix B).
    each   examples (beta-VAE: pairs of them) in a group.
    """

    count: int = 800
    each: int = 64


def measurable(model: object, data: object) -> bool:
    """Whether a model encodes in real numbers, and data was made from known factors."""
    if not (isinstance(model, Codec) and isinstance(data, Factored)):
        return False
    return all(isinstance(f, Continuous) for f in model.latent.fields.values())


def disentanglement(
    model: object, data: Data, *, n: int = 10_000, rng: Rng | int = 0, groups: Groups | None = None
) -> list[Figure]:
    """Every measure, of the codes of n examples chosen at random.

    Raises ValueError for a model without ``encode``, or data whose factors are not known.
    """
    codec = require(model, Codec, "disentanglement")
    if not isinstance(data, Factored):
        raise ValueError(f"disentanglement needs data made from known factors, such as sprites; got {data.name}")
    if not measurable(model, data):
        raise ValueError(f"disentanglement is of codes that are real numbers; those of {type(model).__name__} are not")
    stream = Rng.of(rng)
    index = stream("chosen").integers(len(data), (n,)) if n < len(data) else torch.arange(len(data))
    parts: list[Tensor] = []
    with resting(model), torch.no_grad():
        for first in range(0, len(index), BATCH):
            batch = data.batch(index[first : first + BATCH], stream("data").rows(first)).to(device_of(model))
            given = {} if batch.y is None else {"y": batch.y}
            parts.append(codec.encode(batch.x, **given).flatten(1).double().cpu())
    return figures_of_codes(torch.cat(parts), data.factors(index), data.named_factors, rng=stream, groups=groups)


def figures_of_codes(
    codes: Tensor, factors: Tensor, named: Sequence[Factor], *, rng: Rng | int = 0, groups: Groups | None = None
) -> list[Figure]:
    """Every measure, of codes (n, d) of examples made from these factors, int64 (n, k), with its level of chance."""
    check(codes, factors, named)
    stream, groups = Rng.of(rng), groups or Groups()
    z = codes.double()
    values = scores(z, factors, named, rng=stream("codes"), groups=groups)
    mixed = z[stream("chance").permutation(len(z))]
    chance = scores(mixed, factors, named, rng=stream("codes"), groups=groups)
    bins = _bins(named)
    says = {
        "mutual information gap": f"{bins} bins of equal width a dimension; ",
        "modularity": f"{bins} bins of equal width a dimension; ",
        "DCI informativeness": "R^2 of ordered factors, of others accuracy above chance, on the other half; ",
    }
    return [
        Figure(
            name=name,
            value=values[name],
            direction="higher",
            n=len(z),
            interval_method="none: seeds of the training differ by more than draws of the examples do",
            seed=stream.seed,
            note=f"{says.get(name, '')}{chance[name]:.3f} by chance",
        )
        for name in NAMES
    ]


def scores(codes: Tensor, factors: Tensor, named: Sequence[Factor], *, rng: Rng, groups: Groups) -> dict[str, float]:
    """Every measure by its name; codes float64 (n, d)."""
    ordered = [f.ordered for f in named]
    bins = _bins(named)
    information = measures.mutual_information(measures.discretised(codes, bins), factors)
    importance, informative = forests(codes, factors, ordered, rng("forests"))
    apart, complete = measures.share_out(importance)
    return {
        "beta-VAE score": beta_vae_score(codes, factors, rng("beta-VAE"), groups),
        "FactorVAE score": factor_vae_score(codes, factors, rng("FactorVAE"), groups),
        "mutual information gap": measures.information_gap(information, measures.entropies(factors)),
        "DCI disentanglement": apart,
        "DCI completeness": complete,
        "DCI informativeness": informative,
        "SAP score": float(measures.gap(measures.separability(codes, factors, ordered)).mean()),
        "modularity": measures.modularity(information),
    }


def beta_vae_score(codes: Tensor, factors: Tensor, rng: Rng, groups: Groups) -> float:
    """Accuracy of a linear classifier that tells which factor the pairs of a group share (Higgins et al. 2017, 3).

    It sees the mean of |z - z'| over the pairs, each dimension in units of its deviation over all examples.
    """
    scaled = codes / codes.std(0).clamp(min=torch.finfo(codes.dtype).tiny)
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    from sklearn.linear_model import LogisticRegression

    for part in ("learn", "judge"):
        here = rng(part)
        factor = here("factor").integers(factors.shape[1], (groups.count,))
        anchor = here("anchor").integers(len(codes), (groups.count, groups.each))
        partner = measures.alike(factors, factor.repeat_interleave(groups.each), anchor.flatten(), 1, here).view_as(
            anchor
        )
        distance = (scaled[anchor] - scaled[partner]).abs().mean(1)
        seen.append((distance.numpy(), factor.numpy()))
    (x, y), (fresh, truth) = seen
    return float(LogisticRegression(max_iter=2000).fit(x, y).score(fresh, truth))


def factor_vae_score(codes: Tensor, factors: Tensor, rng: Rng, groups: Groups) -> float:
    """Accuracy of telling the factor a group shares by the dimension that varies least (Kim & Mnih 2018, section 4)."""
    alive = codes.var(0) > ASLEEP
    votes: list[tuple[Tensor, Tensor]] = []
    for part in ("learn", "judge"):
        here = rng(part)
        factor = here("factor").integers(factors.shape[1], (groups.count,))
        anchor = here("anchor").integers(len(codes), (groups.count,))
        rows = measures.alike(factors, factor, anchor, groups.each, here)
        votes.append((measures.steadiest(codes, rows, alive), factor))
    return measures.majority_accuracy(*votes[0], *votes[1], d=codes.shape[1], k=factors.shape[1])


def forests(codes: Tensor, factors: Tensor, ordered: Sequence[bool], rng: Rng) -> tuple[Tensor, float]:
    """Importance of each dimension for each factor (d, k), and how well all together predict them on the other half.

    Random forests learn on half of the examples, as in Eastwood & Williams 2018, section 4: regressions of ordered
    factors, scored by R^2; classifiers of others, by their accuracy above that of the commonest value; 0 at worst.
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    half = len(codes) // 2
    x, v = codes.numpy(), factors.numpy()
    columns: list[Tensor] = []
    told: list[float] = []
    for j, rank in enumerate(ordered):
        kind = RandomForestRegressor if rank else RandomForestClassifier
        seed = int(rng("seed", j).integers(1 << 31, (1,)))
        forest = kind(n_estimators=TREES, min_samples_leaf=3, random_state=seed).fit(x[:half], v[:half, j])
        score = float(forest.score(x[half:], v[half:, j]))
        if not rank:
            common = float(np.bincount(v[half:, j]).max() / (len(x) - half))
            score = (score - common) / (1 - common) if common < 1 else 0.0
        told.append(max(0.0, score))
        columns.append(torch.from_numpy(forest.feature_importances_))
    return torch.stack(columns, 1), float(np.mean(told))


def check(codes: Tensor, factors: Tensor, named: Sequence[Factor]) -> None:
    """ValueError, in one line, for codes and factors that do not belong together."""
    if codes.ndim != 2 or codes.shape[1] < 2:
        raise ValueError(f"disentanglement is of codes (n, d) with d of 2 or more; got shape {tuple(codes.shape)}")
    if factors.shape != (len(codes), len(named)):
        raise ValueError(
            f"factors must be ({len(codes)}, {len(named)}), one row an example; got {tuple(factors.shape)}"
        )
    if len(named) < 2:
        raise ValueError("disentanglement needs at least two factors; got one")
    if len(codes) < 100:
        raise ValueError(f"disentanglement is estimated from 100 examples or more; got {len(codes)}")
    bad = int((~torch.isfinite(codes)).any(1).sum())
    if bad:
        raise ValueError(f"codes must be finite; {bad} of {len(codes)} rows hold NaN or infinity")


def _bins(named: Sequence[Factor]) -> int:
    """As many bins as the richest factor has values: with fewer, a perfect code would not tell all of it."""
    return max(BINS, *(f.values for f in named))
