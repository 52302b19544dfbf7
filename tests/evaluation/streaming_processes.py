"""What each process of a test of three looks at: python streaming_processes.py RANK FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import distributed

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.evaluation.extractors import Extractor
from simulacra.evaluation.streaming import look, moments

N, BATCH = 53, 7
EXTRACTOR = Extractor(
    name="twice", hash="0", features=lambda x: 2 * x.double(), classify=lambda x: torch.softmax(x.double(), 1)
)


def part(first: int, last: int) -> Batch:
    rng = Rng(4).rows(first)
    return Batch(x=rng("x").normal((last - first, 3)), y=rng("y").integers(5, (last - first,)))


def main() -> None:
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=3)
    (seen,) = look(part, N, [EXTRACTOR], batch=BATCH)
    found = moments(part, N, EXTRACTOR, batch=BATCH)
    few = moments(part, 5, EXTRACTOR, batch=BATCH)  # two of the processes have nothing to look at
    torch.save(
        {"features": seen.features, "p": seen.p, "y": seen.y, "mean": found.mean, "scatter": found.scatter,
         "count": found.count, "few": few.mean},
        folder / f"{rank}.pt",
    )  # fmt: skip
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
