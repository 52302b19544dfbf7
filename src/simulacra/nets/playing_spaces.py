"""What spaces adversarial networks can play in: pictures of certain sizes, conditions that are classes."""

from __future__ import annotations

from simulacra.core.space import Classes, Space
from simulacra.nets.continuum import Continuum


def picture_shape(space: Space, user: str, least: int, most: int) -> tuple[int, int, int]:
    """(c, h, w) of a space of one picture; ValueError, naming its ``user``, for other things or sides out of range."""
    shape = Continuum.of(space, user).event
    if len(shape) != 3:
        raise ValueError(f"{user} needs pictures of shape (channels, height, width); got {shape}, use gan instead")
    if not (min(shape[1:]) >= least and max(shape[1:]) <= most):
        raise ValueError(f"{user} makes pictures of {least} to {most} a side; got {shape[1]}x{shape[2]}, resize them")
    return shape[0], shape[1], shape[2]


def class_count(space: Space) -> int:
    """Number of classes of y, 0 where there is no y; ValueError for a condition that is no class."""
    if space.y is None:
        return 0
    if not isinstance(space.y, Classes):
        raise ValueError("an adversarial game is conditioned on classes or on nothing; got a space as y")
    return len(space.y)
