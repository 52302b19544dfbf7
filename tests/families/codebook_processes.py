"""What each process of a test of two runs: python codebook_processes.py RANK FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import distributed

from simulacra.core.randomness import Rng
from simulacra.nets.codebooks import VQ, VectorQuantiser
from simulacra.nets.initialise import initialise


def learned(rank: int | None = None) -> VectorQuantiser:
    """A codebook, more than half of it dead at first, after three steps on a batch of 32, or on a process's half."""
    book = VQ(k=40, channels=2, revive=0.3).build().double()
    initialise(book, Rng(0))
    rows = slice(0, 32) if rank is None else slice(16 * rank, 16 * rank + 16)
    for step in range(3):
        e = Rng(step)("e").normal((32, 3, 2), dtype=torch.float64)[rows] + step
        book.observe(e, book(e).index, Rng(step).rows(rows.start))
        book.update()
    return book


def main() -> None:
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(learned(rank).state_dict(), folder / f"{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
