"""A trained model's weights taken over by another: by name and shape, and by class where they belong to classes.

Which tensors depend on the number of classes is seen by building the model for three classes and for four. Of these the
part of a class that both models know, by its name, is taken over; the last entries along the extent that grows are the
classes', in their order. A layer that multiplies labels by a function of their number says so by
``label_gain(classes)``, and what is taken over is scaled so that a class means what it meant. Layers of pictures of
another size are more or fewer: a module whose lists of them agree at their last members, not at their first, says so by
``from_end``, the lists' names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from simulacra.core.batch import Data
from simulacra.core.capabilities import Fitter
from simulacra.core.space import Classes
from simulacra.nets.lora import plain
from simulacra.training.state import modules_of, named, weights

FEW, MORE = 3, 4  # numbers of classes a model is built with, to see what grows with them
Axes = Mapping[str, tuple[int, int]]  # name of a tensor -> (the extent that grows with the classes, how much it grows)


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What became of the names of a model's tensors, and of the parent's.

    whole   taken over.
    partly  taken over for the classes that both know.
    anew    as they were drawn: the parent has none of that name and shape.
    left    the parent's that found no place.
    """

    whole: tuple[str, ...]
    partly: tuple[str, ...]
    anew: tuple[str, ...]
    left: tuple[str, ...]


def label_axes(build: Callable[[Classes], Any]) -> Axes:
    """What grows with the number of classes, in models that ``build`` makes; nothing where it knows no classes."""
    shapes = []
    for classes in (FEW, MORE):
        try:
            model = build(Classes(names=tuple(map(str, range(classes)))))
        except ValueError:
            return {}
        shapes.append({name: tuple(tensor.shape) for name, tensor in named(model).items()})
    few, more = shapes
    grown = {
        name: [axis for axis, (a, b) in enumerate(zip(few[name], more[name], strict=True)) if a != b]
        for name in few.keys() & more.keys()
    }
    # one that grows along two extents at once belongs to no class
    return {
        name: (axes[0], more[name][axes[0]] - few[name][axes[0]]) if len(axes) == 1 else (-1, 0)
        for name, axes in grown.items()
        if axes
    }


def placed(model: Any, parent: Any) -> dict[str, Tensor]:
    """A parent's tensors, copied, by the names that a model has for their places: lists of layers may differ in length.

    What lies before the first member of the model's list gets a negative number, which fits nothing.
    """
    kept = weights(parent)
    theirs = modules_of(parent)
    for prefix, module in modules_of(model).items():
        for path, part in module.named_modules():
            for name in getattr(part, "from_end", ()):
                where = f"{path}.{name}"
                with contextlib.suppress(KeyError, AttributeError):  # a parent that has no such list
                    other: Any = theirs[prefix].get_submodule(where)
                    kept = _moved(kept, f"{prefix}{where}.", len(getattr(part, name)) - len(other))
    return kept


def _moved(kept: Mapping[str, Tensor], below: str, by: int) -> dict[str, Tensor]:
    """The tensors, those of a list's members below a name renumbered."""
    found: dict[str, Tensor] = {}
    for name, tensor in kept.items():
        if name.startswith(below):
            number, _, rest = name.removeprefix(below).partition(".")
            name = f"{below}{int(number) + by}.{rest}"
        found[name] = tensor
    return found


@torch.no_grad()
def carry(
    model: Any, kept: Mapping[str, Tensor], axes: Axes, *, ours: Classes | None = None, theirs: Classes | None = None
) -> Carried:
    """Take over, in place, what fits of a parent's tensors ``kept``; ours and theirs: the classes of the two models.

    Raises ValueError where no parameter of the model fits.
    """
    there, parameters = named(model), {name for name, t in named(model).items() if isinstance(t, nn.Parameter)}
    whole, partly, anew = [], [], []
    for name, tensor in there.items():
        found = kept.get(name)
        if found is None:
            anew.append(name)
        elif name in axes and ours != theirs:
            taken = _by_class(model, name, tensor, found, axes[name], ours, theirs)
            (partly if taken else anew).append(name)
        elif found.shape == tensor.shape:
            tensor.copy_(found)
            whole.append(name)
        else:
            anew.append(name)
    if parameters and not parameters & {*whole, *partly}:
        raise ValueError(
            f"no weight of the parent fits this model: {_difference(there, kept)}; give it the parent's family and"
            " settings, or fit without --from"
        )
    left = [name for name in kept if name not in {*whole, *partly}]
    return Carried(whole=tuple(whole), partly=tuple(partly), anew=tuple(anew), left=tuple(left))


def _by_class(
    model: Any,
    name: str,
    ours: Tensor,
    theirs: Tensor,
    grows: tuple[int, int],
    new: Classes | None,
    old: Classes | None,
) -> bool:
    """Take over what both know of a tensor of which some belongs to classes; whether there was anything."""
    axis, each = grows
    known, before = new.names if new else (), old.names if old else ()
    if axis < 0 or each != 1 or ours.ndim != theirs.ndim:
        return False
    rest = ours.shape[axis] - len(known)
    a, b = list(ours.shape), list(theirs.shape)
    a[axis], b[axis] = rest, b[axis] - len(before)
    if a != b:
        return False
    pairs = [(i, before.index(c)) for i, c in enumerate(known) if c in before]
    if not rest and not pairs:
        return False
    gain = _gain(model, name, len(before)) / _gain(model, name, len(known)) if pairs else 1.0
    ours.narrow(axis, 0, rest).copy_(theirs.narrow(axis, 0, rest))
    for here, there in pairs:
        part = theirs.select(axis, rest + there)
        ours.select(axis, rest + here).copy_(part * gain if gain != 1 else part)
    return True


def _gain(model: Any, name: str, classes: int) -> float:
    """What labels are multiplied by before they meet a tensor: said by the nearest module around it, or 1."""
    for prefix, module in modules_of(model).items():
        if not name.startswith(prefix):
            continue
        path = name.removeprefix(prefix).split(".")[:-1]
        for depth in range(len(path), -1, -1):
            around = module.get_submodule(".".join(path[:depth]))
            if callable(said := getattr(around, "label_gain", None)):
                return float(said(classes))  # type: ignore[arg-type]
    return 1.0


def _difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str:
    for name, tensor in ours.items():
        if name in theirs:
            return f"{name!r} has shape {tuple(theirs[name].shape)} there and {tuple(tensor.shape)} here"
    return f"it has {next(iter(theirs), 'nothing')!r} where this one has {next(iter(ours), 'nothing')!r}"


def counting(carried: Carried, axes: Axes) -> Callable[[Any, Data], None]:
    """What a tuned model learns in closed form: the counts of its new data, labels' shares among them.

    Everything else that ``fit`` would measure stays what the weights have learnt with, such as the data's deviation.
    """

    @torch.no_grad()
    def begin(model: Any, data: Data) -> None:
        if not isinstance(model, Fitter):
            return
        stays = {
            name: tensor.clone()
            for name, tensor in named(model).items()
            if tensor.is_floating_point() and plain(name) in carried.whole and plain(name) not in axes
        }
        model.fit(data)
        there = named(model)
        for name, tensor in stays.items():
            there[name].copy_(tensor)

    return begin
