"""Which noise goes with which example of a batch: the pairs between which a flow is asked to run straight.

Any pairing whose noise, taken by itself, is still N(0, I) leads to the same two ends (Tong et al. 2024, "Improving and
generalizing flow-based generative models with minibatch optimal transport", proposition 3.4); one whose lines do not
cross leads there straighter, in fewer steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from scipy import optimize  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

# (examples (b, *event), noise (b, *event), labels int64 (b,) or None) -> the noise in the order of the examples
Coupling = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def independent(x: Tensor, noise: Tensor, y: Tensor | None) -> Tensor:
    """Each example with noise of its own (Liu et al. 2023; Lipman et al. 2023)."""
    return noise


def optimal_transport(x: Tensor, noise: Tensor, y: Tensor | None) -> Tensor:
    """The pairing of the least summed squared distance in the batch (OT-CFM: Tong et al. 2024, section 3.2).

    Only among examples of the same label: across labels the noise of each would no longer be N(0, I), and drawing of a
    class from N(0, I) would be wrong (Cheng & Schwing 2025, "The curse of conditions"). Costs O(b^3), on the CPU.
    """
    if y is None:
        return noise[_assigned(x, noise)]
    paired = torch.empty_like(noise)
    for label in range(int(y.max()) + 1 if len(y) else 0):
        rows = (y == label).nonzero()[:, 0]
        paired[rows] = noise[rows][_assigned(x[rows], noise[rows])]
    return paired


def _assigned(x: Tensor, noise: Tensor) -> Tensor:
    """For each example, the number of its noise: minus the inner products differ from the costs by a constant."""
    cost = -(x.detach().flatten(1).double() @ noise.detach().flatten(1).double().T)
    _, chosen = cast("Any", optimize).linear_sum_assignment(cost.cpu().numpy())
    return torch.from_numpy(np.asarray(chosen, dtype=np.int64)).to(x.device)  # pyright: ignore[reportUnknownMemberType]
