"""Tensors under the names of a public layout, and back: what its files call them, and attention in three parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

# names of attention in files written before 2023
OLD_NAMES = ((".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0."))
PARTS = ("to_q", "to_k", "to_v")  # of our one projection inward
Names = Callable[[str], str]


def outward(state: Mapping[str, Tensor], renamed: Names) -> dict[str, Tensor]:
    """A network's tensors under their public names."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if ".inward." in name:
            for part, third in zip(PARTS, tensor.chunk(3), strict=True):
                found[renamed(name).replace(".inward.", f".{part}.")] = third
        else:
            found[renamed(name)] = tensor
    return found


class Kept:
    """Public tensors, taken one by one; ValueError naming what is lacking, left over, misshapen or not finite."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = {_present(name): tensor for name, tensor in tensors.items()}
        if bad := [name for name, tensor in self.tensors.items() if not bool(tensor.isfinite().all())]:
            raise ValueError(
                f"{bad[0]!r} holds values that are not finite, as half precision leaves where it overflows"
            )
        self.used: set[str] = set()

    def take(self, name: str, shape: torch.Size) -> Tensor:
        """The tensor of that public name."""
        if name not in self.tensors:
            raise ValueError(f"the weights lack {name!r}, which the network's config.json asks for")
        self.used.add(name)
        found = self.tensors[name]
        if found.shape != shape:
            raise ValueError(f"{name!r} has shape {tuple(found.shape)}; its config.json asks for {tuple(shape)}")
        return found.to(torch.get_default_dtype())

    def for_ours(self, name: str, like: Tensor, renamed: Names) -> Tensor:
        """What belongs where our network has a tensor of that name and shape."""
        if ".inward." not in name:
            return self.take(renamed(name), like.shape)
        third = torch.Size((len(like) // 3, *like.shape[1:]))
        return torch.cat([self.take(renamed(name).replace(".inward.", f".{part}."), third) for part in PARTS])

    def finish(self) -> None:
        """To be called when all is taken."""
        if left := sorted(set(self.tensors) - self.used):
            raise ValueError(f"the weights hold {left[0]!r}, for which the network's config.json has no place")


def _present(name: str) -> str:
    for old, new in OLD_NAMES:
        name = name.replace(old, new) if ".attentions." in name else name
    return name
