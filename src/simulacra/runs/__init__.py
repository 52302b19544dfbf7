"""The run directory: what ``fit`` writes and ``load`` reads."""

from simulacra.runs.distil import distil
from simulacra.runs.fitting import fit
from simulacra.runs.run import Run, load

__all__ = ["Run", "distil", "fit", "load"]
