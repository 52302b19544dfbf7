"""A model's weights by name, out of it and back: what ``model.safetensors`` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from simulacra.core.capabilities import Learner


def modules_of(model: Any) -> dict[str, nn.Module]:
    """The modules that hold everything a model learns: itself, as "", where it is one, else its players' by name."""
    if isinstance(model, nn.Module):
        return {"": model}
    if isinstance(model, Learner):
        return {f"{name}.": player.module for name, player in model.players().items()}
    return {}


def named(model: Any) -> dict[str, Tensor]:
    """Every parameter and buffer that is kept, by name, as it is now: the tensors themselves."""
    return {
        prefix + name: tensor
        for prefix, module in modules_of(model).items()
        for name, tensor in module.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor)
    }


def weights(model: Any) -> dict[str, Tensor]:
    """Every parameter and buffer by name, copied, on the CPU; sharded ones whole (then every process must call)."""
    return {name: whole(tensor).cpu().clone() for name, tensor in named(model).items()}


def weights_and_averages(model: Any, averaged: Any) -> dict[str, Tensor]:
    """What a run directory keeps: "model/NAME" of the model, "averaged/NAME" of the copy where it differs."""
    raw, slow = weights(model), weights(averaged) if averaged is not model else {}
    different = {f"averaged/{name}": t for name, t in slow.items() if not same(t, raw[name])}
    return {**{f"model/{name}": t for name, t in raw.items()}, **different}


def restore(model: Any, kept: Mapping[str, Tensor], *, averaged: bool = True) -> None:
    """Load into a model, in place, what ``weights_and_averages`` gave: its averages, or its last weights.

    Raises ValueError where names or shapes are not the model's.
    """
    chosen = {name.removeprefix("model/"): t for name, t in kept.items() if name.startswith("model/")}
    if averaged:
        chosen |= {name.removeprefix("averaged/"): t for name, t in kept.items() if name.startswith("averaged/")}
    load(model, chosen)


@torch.no_grad()
def load(model: Any, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors into a model's by name; ValueError where names or shapes are not the model's."""
    present = named(model)
    if missing := sorted(set(present) ^ set(tensors)):
        side = "the file lacks" if missing[0] in present else "the model has no"
        raise ValueError(f"weights of another model: {side} {missing[0]!r}, and {len(missing) - 1} more differ")
    for name, tensor in present.items():
        if tensor.shape != tensors[name].shape:
            raise ValueError(
                f"weights of another model: {name!r} has shape {tuple(tensors[name].shape)} in the file,"
                f" {tuple(tensor.shape)} in the model"
            )
    for name, tensor in present.items():
        tensor.copy_(tensors[name])


def whole(tensor: Tensor) -> Tensor:
    """All of a sharded tensor, gathered; a plain tensor as it is."""
    tensor = tensor.detach()
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are bit for bit equal."""
    return a.dtype == b.dtype and torch.equal(a, b)
