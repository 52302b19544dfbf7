"""Device, precision and processes: everything the loop, and every family, need not know.

Several processes are started by ``torchrun`` (or by whoever has called ``init_process_group``). Each takes its share
of every batch; gradients, weights of losses and terms are summed in one explicit message a turn, so it does not matter
which part of a player a loss calls. With ``shard`` the parameters of layers are split over the processes (FSDP2).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, distributed, nn

from simulacra.core import across
from simulacra.core.batch import Batch, Data, Stored
from simulacra.training.settings import Precision

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

Distribute = Callable[[nn.Module, torch.device], None]


def replicate(module: nn.Module, device: torch.device) -> None:
    """Every process holds every parameter."""


def shard(module: nn.Module, device: torch.device) -> None:
    """Split the parameters of every layer over the processes, in place (``fully_shard``, FSDP2), gradients summed.

    Layers, not whole players, are the units: a loss may call any part of a player. Parameters that a module with
    children holds itself may be used outside its forward, so they stay whole in every process; as do those of a layer
    that says so by an attribute ``whole``.
    """
    # imported where it is used: it takes a second, which one process alone should not wait for
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    mesh = init_device_mesh(device.type, (across.processes(),))
    for layer in list(module.modules()):
        own = list(layer.parameters(recurse=False))
        kept = bool(list(layer.children())) or getattr(layer, "whole", False)
        if own and not kept and not isinstance(layer, FSDPModule):
            marks = [vars(p) for p in own]
            for parameter in own:
                # FSDP2 splits rows of plain memory only, and convolutions may lie channels last
                parameter.data = parameter.data.contiguous()
            sharded = fully_shard(layer, mesh=mesh, reshard_after_forward=True)
            for parameter, mark in zip(layer.parameters(recurse=False), marks, strict=True):
                vars(parameter).update(mark)  # such as ``muon``: the parameters are new ones
            sharded.set_gradient_divide_factor(1.0)
            # plain sums: gloo knows no scaled ones
            sharded.set_force_sum_reduction_for_comms(True)


def local(tensor: Tensor) -> Tensor:
    """This process's share of a sharded tensor, detached; a plain tensor as it is, detached."""
    tensor = tensor.detach()
    return tensor.to_local() if is_sharded(tensor) else tensor


def is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether a tensor is split over processes (a DTensor)."""
    # there is none before somebody has imported what splits tensors
    splitting = sys.modules.get("torch.distributed.tensor")
    return splitting is not None and isinstance(tensor, splitting.DTensor)


class WholeMatrices:
    """Lets an optimiser that needs whole matrices (Muon) step sharded ones: every process steps a gathered copy."""

    def __init__(self, optimiser: torch.optim.Optimizer) -> None:
        """Put whole copies in the place of the optimiser's sharded parameters."""
        self.pairs: list[tuple[nn.Parameter, nn.Parameter]] = []
        for group in optimiser.param_groups:
            for place, parameter in enumerate(group["params"]):
                whole = _full(parameter)
                if whole is not parameter:
                    group["params"][place] = nn.Parameter(whole.clone())
                    self.pairs.append((parameter, group["params"][place]))

    @torch.no_grad()
    def gather(self) -> None:
        """Bring the copies, and their gradients, up to date."""
        for sharded, copy in self.pairs:
            copy.copy_(_full(sharded))
            copy.grad = None if sharded.grad is None else _full(sharded.grad)

    @torch.no_grad()
    def scatter(self) -> None:
        """Give every process its rows of what was stepped."""
        for sharded, copy in self.pairs:
            rows = copy.chunk(across.processes())
            if across.rank() < len(rows):
                local(sharded).copy_(rows[across.rank()])
            copy.grad = None


def _full(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def join(device: torch.device | str | None = None) -> torch.device:
    """The device of this process; under ``torchrun`` it also joins the others (gloo on CPUs, NCCL on CUDA)."""
    started = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if chosen.type == "cuda" and chosen.index is None and (started or distributed.is_initialized()):
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    if started and not distributed.is_initialized():
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
        atexit.register(leave)
    return chosen


def leave() -> None:
    """Part from the other processes."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


class Engine:
    """Where a run computes, in what precision, and with how many processes."""

    def __init__(
        self,
        *,
        device: torch.device | str | None = None,
        precision: Precision = "float32",
        distribute: Distribute = replicate,
    ) -> None:
        self.device = join(device)
        self.precision, self.distribute = precision, distribute
        self.dtype = torch.float64 if precision == "float64" else torch.float32
        self.rank, self.processes = across.rank(), across.processes()
        self._on_device = False

    @property
    def sharded(self) -> bool:
        """Whether parameters are split over processes."""
        return self.distribute is not replicate and self.processes > 1

    @contextlib.contextmanager
    def defaults(self) -> Iterator[None]:
        """Within it, new floating-point tensors have the run's type."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)

    def computing(self) -> contextlib.AbstractContextManager[Any] | None:
        """The context losses are computed in, or None where there is nothing special about it."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.precision == "bfloat16" else None

    def prepare(self, module: nn.Module) -> None:
        """Move a module to the run's device and type, in place; the same first weights in every process."""
        module.to(device=self.device, dtype=self.dtype)
        for layer in module.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                layer.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if self.processes > 1:
            with torch.no_grad():
                for tensor in (*module.parameters(), *module.buffers()):
                    whole = tensor.detach().contiguous()
                    distributed.broadcast(whole, 0)
                    tensor.copy_(whole)

    def spread(self, module: nn.Module) -> None:
        """Distribute a prepared module's parameters over the processes."""
        if self.processes > 1:
            self.distribute(module, self.device)

    def place(self, data: Data) -> Data:
        """The data on the run's device, where it is held in memory and leaves half of the device's free."""
        if self.device.type == "cuda" and isinstance(data, Stored):
            size = sum(t.nbytes for t in _tensors(data))
            if size < torch.cuda.mem_get_info(self.device)[0] / 2:
                self._on_device = True
                return data.to(self.device)
        return data

    def index(self, numbers: Tensor) -> Tensor:
        """Numbers of examples, where the data wants them."""
        return numbers.to(self.device) if self._on_device else numbers

    def ready(self, batch: Batch) -> Batch:
        """A batch on the run's device, in its type."""
        if self.device.type != "cpu":
            batch = batch.to(self.device)
        if self.dtype == torch.float64:
            batch = batch.map(lambda t: t.to(self.dtype) if t.is_floating_point() else t)
        return batch

    def reduce(self, parameters: Sequence[nn.Parameter], sums: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Gradients summed over the processes and divided by the summed weight, in place; sums = [weight, ...].

        Returns the other sums over all processes, (len(sums) - 1,), and the weight. Gradients of sharded parameters
        have been summed by the backward pass already.
        """
        message = torch.stack([t.to(self.dtype) for t in sums])
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.processes > 1:
            # what has no gradient here has zeros in the message: its length must be the same everywhere
            plain = [p for p in parameters if not is_sharded(p)]
            pieces = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in plain]
            flat = torch.cat([*pieces, message])
            distributed.all_reduce(flat)
            *chunks, message = flat.split([*(len(piece) for piece in pieces), len(message)])
            for parameter, chunk in zip(plain, chunks, strict=True):
                if parameter.grad is not None:
                    parameter.grad.copy_(chunk.view_as(parameter.grad))
        weight = message[0]
        torch._foreach_div_([local(g) for g in gradients], torch.where(weight == 0, 1.0, weight))
        return message[1:], weight

    def clip(self, parameters: Sequence[nn.Parameter], norm: float) -> None:
        """Scale gradients, in place, so that their joint norm is at most this."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        shares = [local(g) for g in gradients]
        if not self.sharded:
            size = torch.stack(torch._foreach_norm(shares)).norm()
        else:
            squares = torch.zeros(2, dtype=self.dtype, device=self.device)
            for gradient, share in zip(gradients, shares, strict=True):
                squares[int(is_sharded(gradient))] += share.square().sum()
            size = (squares[0] + across.total(squares[1])).sqrt()
        torch._foreach_mul_(shares, (norm / (size + 1e-6)).clamp(max=1.0))

    def agree(self, *values: float) -> tuple[float, ...]:
        """The largest of each of these numbers over the processes: what all of them may act on."""
        if self.processes == 1:
            return values
        together = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(together, distributed.ReduceOp.MAX)
        return tuple(together.tolist())

    def wait(self) -> None:
        """Until every process is here."""
        if self.processes > 1:
            distributed.barrier()


def _tensors(data: Stored) -> Iterator[Tensor]:
    for f in fields(data):
        value = getattr(data, f.name)
        if isinstance(value, Tensor):
            yield value
        elif f.name in ("x", "y", "known") and value is not None:
            yield from value.values()
