"""Weights of extractors kept between runs: safetensors under the data's fingerprint and the settings."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from simulacra.core.batch import Data


def place(folder: Path | None, name: str, data: Data, config: Any) -> Path | None:
    """Where weights of this name lie for this data and these settings; None where nothing is kept."""
    if folder is None:
        return None
    # repr names the classes and functions within too; a function's address is not part of what it does
    settings = hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", repr(config)).encode()).hexdigest()
    return Path(folder) / f"{name}-{data.fingerprint[:16]}-{settings[:8]}.safetensors"


def keep(path: Path, network: nn.Module, noted: Mapping[str, str]) -> None:
    """Write weights and what is noted beside them, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.partial")  # several processes may train the same at once
    save_file(network.state_dict(), draft, metadata=dict(noted))
    draft.replace(path)


def read_back(path: Path, network: nn.Module, names: tuple[str, ...] = ()) -> dict[str, str]:
    """Weights into the network; what was noted beside them under these names. ValueError for a damaged file."""
    try:
        with safe_open(path, framework="pt") as file:
            noted = file.metadata() or {}
            network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        return {name: noted[name] for name in names}
    except (SafetensorError, RuntimeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged; delete it and it will be trained again") from error
