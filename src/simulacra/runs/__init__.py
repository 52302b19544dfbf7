"""The run directory: what ``fit`` writes and ``load`` reads."""

from simulacra.runs.fitting import fit
from simulacra.runs.run import Run, load

__all__ = ["Run", "fit", "load"]
