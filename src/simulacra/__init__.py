"""simulacra: learn the distribution of your data, and use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from simulacra.runs import Run, distil, fit, load

__all__ = ["Run", "__version__", "distil", "fit", "load"]


def __getattr__(name: str) -> Any:
    # lazily: `import simulacra` costs no torch
    if name in ("Run", "distil", "fit", "load"):
        from simulacra import runs

        return getattr(runs, name)
    raise AttributeError(f"module 'simulacra' has no attribute {name!r}")
