"""All further figures in one place, in the order in which they are shown."""

from __future__ import annotations

from simulacra.evaluation import classes, further
from simulacra.evaluation.further import Statistic
from simulacra.evaluation.separability import separability

FURTHER: tuple[Statistic, ...] = (
    further.extrapolated_frechet,
    further.kernel_of_subsets,
    further.gaussian_kernel,
    further.cmmd,
    further.sliced,
    further.frontier,
    further.open_neighbourhoods,
    separability,
    further.likelihood_of_features,
    further.authenticity,
    further.vendi,
    classes.diversity,
    further.score_of_parts,
    classes.label_accuracy,
    classes.class_balance,
    classes.class_diversity,
    classes.by_class,
)
