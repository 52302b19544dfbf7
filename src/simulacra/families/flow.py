"""Normalizing flows of vectors: data is carried to N(0, I) by a bijection whose determinant is cheap.

    log p(x) = log N(f(x); 0, I) + log |det df/dx|                     (change of variables; Dinh et al. 2015, eq. 2)

and learning maximises it. f is a sequence of transforms, each a setting: couplings or autoregressive layers around an
additive, affine or spline map of single elements. The presets are NICE (Dinh et al. 2015), RealNVP (Dinh et al. 2017),
MAF (Papamakarios et al. 2017), IAF (Kingma et al. 2016) and neural spline flows (Durkan et al. 2019).

Likelihoods of real values are exact densities in the data's own units; values on levels are spread over their cells
(``nets.dequantise``), and theirs are lower bounds. A field with two ends passes through a logit, one with a single end
through the inverse of a softplus, so that no density lies outside the range.

What it cannot do: categories, examples with gaps or of varying length; and a bijection keeps the topology of R^d, so
that modes far apart stay joined by thin bridges. Its networks are dense: pictures have flows of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Loss, Values, rows
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.core.turns import Player, Turn
from simulacra.nets.adversarial import label_counts
from simulacra.nets.autoregressive import Autoregressive
from simulacra.nets.coupling import Coupling
from simulacra.nets.dequantise import Dequantiser, Reals, middle, uniform
from simulacra.nets.embeddings import Embed, class_indicator
from simulacra.nets.initialise import initialise
from simulacra.nets.transforms import Additive, Affine, Composed, Inverted, LULinear, Reverse, Spline, Transform

