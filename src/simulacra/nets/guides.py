"""Whether one model may guide another: autoguidance pushes away from a weaker model of the same examples.

Karras et al. 2024, "Guiding a diffusion model with a bad version of itself".
"""

from __future__ import annotations

from typing import Any


def check_guide(model: Any, guide: Any) -> None:
    """ValueError, saying why, unless the guide is of the model's family and knows the same examples.

    Its network, what that predicts and how long it has learnt may differ; it may know the classes or none.
    """
    ours, theirs = type(model).__name__, type(guide).__name__
    if ours != theirs:
        raise ValueError(f"a {ours} model is guided by another {ours} model; got a {theirs} model")
    if model.space.fields != guide.space.fields:
        raise ValueError(
            "the guide was fitted on examples of another space; expected the same fields, shapes, ranges and scales"
        )
    if guide.space.y is not None and guide.space.y != model.space.y:
        raise ValueError("the guide knows other classes than the model; expected the same ones, or none")
