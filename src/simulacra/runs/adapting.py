"""Adapters of a run: added to its model, saved without what they stand on, put back, and merged away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.nets import lora
from simulacra.runs.recipe import Recipe
from simulacra.training.state import named


def adapt(model: Any, recipe: Recipe) -> None:
    """Freeze a model's players and add the adapters of its recipe, in place; what began anew learns as a whole."""
    fresh = {*recipe.lineage["partly"], *recipe.lineage["anew"]}
    ids = {id(t) for name, t in named(model).items() if lora.plain(name) in fresh}
    for name, player in model.players().items():
        own = {n for n, p in player.module.named_parameters() if id(p) in ids}
        try:
            recipe.adapter.adapt(player.module, Rng(recipe.training.seed)("adapter", name), learn=own)
        except ValueError as error:
            raise ValueError(f"player {name!r}: {error}") from error


def small(tensors: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of what a run keeps ("model/NAME", "averaged/NAME") that which is not the base's, bit for bit."""

    def same(name: str, tensor: Tensor) -> bool:
        there = base.get(lora.plain(name.partition("/")[2]))
        return there is not None and there.dtype == tensor.dtype and there.equal(tensor)

    # an average that went back to the base's value would be lost where the model's own differs
    kept = {name for name, tensor in tensors.items() if not same(name, tensor)}
    kept |= {f"averaged/{n.removeprefix('model/')}" for n in kept} & set(tensors)
    return {name: tensor for name, tensor in tensors.items() if name in kept}


def filled(tensors: Mapping[str, Tensor], model: Any, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What ``small`` left of a run, with the base's tensors put back under the adapted model's names."""
    missing = {
        f"model/{name}": base[lora.plain(name)]
        for name in named(model)
        if f"model/{name}" not in tensors and lora.plain(name) in base
    }
    return {**missing, **tensors}


def merge(model: Any) -> None:
    """Add adapters to the weights they stand beside, in every player of a model, in place."""
    for module in {id(player.module): player.module for player in model.players().values()}.values():
        lora.merge(module)
