"""Going on where a run was left: its whole state, in a directory made current by one rename.

``FOLDER/resume/step-N`` holds the state after N steps: tensors by torch.distributed.checkpoint, each process its own
part, and ``notes.json`` with all that is not a tensor. It is written under a name that nobody reads, synced, renamed,
and only then are older ones removed: whenever the process is killed, the newest ``step-N`` is whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simulacra.core.checkpoint import read_json, sync, told
from simulacra.training.engine import Engine
from simulacra.training.move import Seat

FORMAT = 1


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a run directory for this process alone; ValueError where another is at work in it.

    The lock is the kernel's: it ends with the process, however that ends.
    """
    path = folder / ".lock"
    with told(f"write {path}"):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
            raise ValueError(
                f"{folder} is in use by a running fit (process {owner}); wait for it, or choose another folder"
            ) from None
        with told(f"write {path}"):
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)


def latest(folder: Path) -> Path | None:
    """The newest whole state of a run directory, or None."""
    found = [path for path in (folder / "resume").glob("step-*") if path.name[5:].isdecimal()]
    return max(found, key=lambda path: int(path.name[5:]), default=None)


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], notes: Mapping[str, Any], engine: Engine) -> None:
    """Write the state after a step and make it the current one. Every process calls it.

    ValueError of one line where the disk is full or not to be written to; the last state then stays what it was.
    """
    home = folder / "resume"
    # one temporary name a step, the same in every process
    temporary, final = home / f".step-{step}.writing", home / f"step-{step}"
    if final.exists():
        return
    with told(f"save the run in {home}"):
        if engine.rank == 0:
            home.mkdir(exist_ok=True)
            for left in home.glob(".step-*.writing"):
                shutil.rmtree(left, ignore_errors=True)
            temporary.mkdir()
        engine.wait()
        try:
            _write(temporary, dict(tensors))
            if engine.rank == 0:
                with open(temporary / "notes.json", "w", encoding="utf-8") as file:
                    json.dump({"format": FORMAT, "step": step, "processes": engine.processes, **notes}, file)
                    file.flush()
                    os.fsync(file.fileno())
                sync(temporary)
                os.replace(temporary, final)
                sync(home)
        except BaseException:
            if engine.rank == 0:
                shutil.rmtree(temporary, ignore_errors=True)
            raise
    if engine.rank == 0:
        for old in home.glob("step-*"):
            if old != final:
                shutil.rmtree(old, ignore_errors=True)
    engine.wait()


def _write(folder: Path, tensors: dict[str, Any]) -> None:
    # imported where it is used: it takes a second, which whoever only draws should not wait for
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        with _quiet():
            checkpoint.save(tensors, storage_writer=checkpoint.FileSystemWriter(folder))
    except CheckpointException as error:
        # what went wrong in any process, as the operating system said it
        faults = [fault[0] for fault in error.failures.values()]
        told_by_system = [fault for fault in faults if isinstance(fault, OSError)]
        raise told_by_system[0] if told_by_system else OSError(f"{faults[0]!r:.200}") from error


def load(state: Path, tensors: dict[str, Tensor], seats: Mapping[str, Seat], engine: Engine) -> dict[str, Any]:
    """Read a state into tensors, in place, and into the seats' optimisers; its notes.

    ValueError where it is damaged, of another format, of another model or of another number of processes.
    """
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    notes = read_json(state / "notes.json")
    if notes.get("format") != FORMAT:
        raise ValueError(
            f"{state} has format {notes.get('format')}; this version reads {FORMAT}: use the version it was made with"
        )
    if notes["processes"] != engine.processes:
        raise ValueError(
            f"{state} was saved by {notes['processes']} processes and can be resumed by as many only;"
            f" there are {engine.processes}"
        )
    reader = checkpoint.FileSystemReader(state)
    try:
        saved = reader.read_metadata().state_dict_metadata
    except Exception as error:  # unpickling damaged bytes may raise anything
        raise ValueError(f"{state} is damaged ({error!r:.80}); remove it, or fit anew") from error
    try:
        ours = {name for name in saved if not name.startswith("optimiser/")}
        if different := sorted(ours ^ set(tensors)):
            raise ValueError(f"{state} is a run of another model: {different[0]!r} is in one of them only")
        for name, there in tensors.items():
            kept = saved[name]
            if isinstance(kept, TensorStorageMetadata) and kept.size != there.shape:
                raise ValueError(
                    f"{state} is a run of another model: {name!r} has shape {tuple(kept.size)},"
                    f" not {tuple(there.shape)}"
                )
        optimisers = _empty_like_saved(saved, seats)
        with _quiet():
            checkpoint.load({**tensors, **optimisers}, storage_reader=reader)
    except (OSError, EOFError, RuntimeError, KeyError, CheckpointException) as error:
        raise ValueError(f"{state} is damaged ({error!r:.80}); remove it, or fit anew") from error
    _give(optimisers, seats)
    return notes


def optimiser_tensors(seats: Mapping[str, Seat]) -> dict[str, Tensor]:
    """What the optimisers remember: "optimiser/PLAYER/OPTIMISER/PARAMETER/NAME" -> tensor."""
    found: dict[str, Tensor] = {}
    for name, seat in seats.items():
        for number, optimiser in enumerate(seat.optimisers):
            for index, memory in optimiser.state_dict()["state"].items():
                for key, value in memory.items():
                    found[f"optimiser/{name}/{number}/{index}/{key}"] = torch.as_tensor(value)
    return found


def _empty_like_saved(saved: Mapping[str, Any], seats: Mapping[str, Seat]) -> dict[str, Tensor]:
    empty: dict[str, Tensor] = {}
    for name, kept in saved.items():
        if name.startswith("optimiser/"):
            seat, number, index, _ = name.removeprefix("optimiser/").rsplit("/", 3)
            if seat not in seats:
                raise ValueError(f"the saved run is one of another model: it has a player {seat!r}")
            groups = seats[seat].optimisers[int(number)].param_groups
            parameter = [p for group in groups for p in group["params"]][int(index)]
            if kept.size == parameter.shape:
                # split over processes, and laid out in memory, as the parameter is
                empty[name] = torch.zeros_like(parameter.detach(), dtype=kept.properties.dtype)
            else:
                empty[name] = torch.zeros(kept.size, dtype=kept.properties.dtype)
    return empty


def _give(tensors: Mapping[str, Tensor], seats: Mapping[str, Seat]) -> None:
    for name, seat in seats.items():
        for number, optimiser in enumerate(seat.optimisers):
            start = f"optimiser/{name}/{number}/"
            state: dict[int, dict[str, Tensor]] = {}
            for path, tensor in tensors.items():
                if path.startswith(start):
                    index, key = path.removeprefix(start).split("/")
                    state.setdefault(int(index), {})[key] = tensor
            optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # that a single process saves alone is as it should be
        warnings.filterwarnings("ignore", message=".*assuming the intent is to (save|load) in a single process")
        yield
