"""Device, precision and processes: everything the loop must not know."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data
from simulacra.training.settings import Precision


class Engine:
    """Where a run computes, and in what precision."""

    def __init__(self, *, device: torch.device | str | None = None, precision: Precision = "float32") -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.precision = precision
        self.dtype = torch.float64 if precision == "float64" else torch.float32
        self.rank, self.processes = 0, 1
        self._moves = self.device.type != "cpu"
        self._casts = self.dtype == torch.float64

    @contextlib.contextmanager
    def defaults(self) -> Iterator[None]:
        """Within it, new floating-point tensors have the run's type."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)

    def computing(self) -> contextlib.AbstractContextManager[Any]:
        """The context losses are computed in."""
        if self.precision == "bfloat16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def prepare(self, module: nn.Module) -> None:
        """Move a module to the device and type of the run, its convolutions laid out channels last, in place."""
        module.to(device=self.device, dtype=self.dtype)
        for layer in module.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                layer.to(memory_format=torch.channels_last)

    def place(self, data: Data) -> Data:
        """The data on the run's device where it can be moved there and leaves half of the free memory."""
        return data

    def index(self, numbers: Tensor) -> Tensor:
        """Numbers of examples where the data wants them."""
        return numbers

    def ready(self, batch: Batch) -> Batch:
        """A batch on the run's device, in its type."""
        if self._moves:
            batch = batch.to(self.device)
        if self._casts:
            batch = batch.map(lambda t: t.to(self.dtype) if t.is_floating_point() else t)
        return batch

    def reduce(self, parameters: list[nn.Parameter], sums: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Gradients summed over the processes and divided by the summed weight, in place; sums = [weight, ...].

        Returns the other sums over all processes, (len(sums) - 1,), and the weight.
        """
        reduced = torch.stack(sums)
        weight = reduced[0]
        gradients = [p.grad for p in parameters if p.grad is not None]
        torch._foreach_div_(gradients, torch.where(weight == 0, 1.0, weight))
        return reduced[1:], weight
