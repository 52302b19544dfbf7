"""Whether one model may guide another: autoguidance pushes away from a weaker model of the same examples.

Karras et al. 2024, "Guiding a diffusion model with a bad version of itself".
"""

from __future__ import annotations

from typing import Any


def check_guide(model: Any, guide: Any, kind: type[Any], name: str) -> None:
    """ValueError, saying why, unless the guide is of the model's kind, so called, and knows the same examples.

    Its network, what that predicts and how long it has learnt may differ; it may be told of the same y, or of none.
    """
    if not isinstance(guide, kind):
        raise ValueError(f"a {name} is guided by another {name}; got a {type(guide).__name__}")
    if model.space.fields != guide.space.fields:
        raise ValueError(
            "the guide was fitted on examples of another space; expected the same fields, shapes, ranges and scales"
        )
    if guide.space.y is not None and guide.space.y != model.space.y:
        raise ValueError("the guide is told of another y than the model; expected the same classes, or none")
