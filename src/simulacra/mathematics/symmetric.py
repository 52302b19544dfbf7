"""Symmetric matrices by their lower triangles, float64: half the arithmetic of general ones.

On a CPU these are the routines of BLAS and LAPACK that exploit symmetry, which torch does not hand out (it multiplies
and mirrors whole matrices), from SciPy's OpenBLAS; elsewhere torch's own, by blocks. Every function reads the lower
triangle alone, whatever stands above it, and leaves there what it finds or noughts.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from scipy.linalg import blas as blas_  # pyright: ignore[reportMissingTypeStubs]
from scipy.linalg import lapack as lapack_  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

blas: Any = blas_  # the functions of these three carry no types
lapack: Any = lapack_
linalg: Any = torch.linalg
ROWS = 1024  # at a time: 2048 columns of them, centred, stay in the cache while they are multiplied
BLOCK = 256  # columns at a time, where torch multiplies: 36 of the 64 blocks of a matrix of 2048


def has_lapack(s: Tensor) -> bool:
    """Whether LAPACK can reach a tensor."""
    return s.device.type == "cpu"


def covariance(x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
    """The rows' mean (d,) and covariance (d, d), divisor n - 1. Needs n >= 2."""
    n, d = x.shape
    x = x.detach()
    mean = x.mean(0, dtype=torch.float64)
    out, centred = mean.new_zeros(d, d).T, mean.new_empty(min(n, ROWS), d)
    # centred before, not after: x^T x - n m m^T would lose the digits that the mean and the spread have between them
    for start in range(0, n, ROWS):
        rows = x[start : start + ROWS]
        out = _add_gram(out, torch.sub(rows, mean, out=centred[: len(rows)]))
    return mean, out.div_(n - 1)


def cholesky(s: Float[Tensor, "d d"]) -> Float[Tensor, "d d"] | None:
    """Lower L with L L^T = S and noughts above; None where S is not positive definite."""
    if has_lapack(s):
        lower, info = lapack.dpotrf(s.numpy(), lower=1)
        return None if info else _tensor(lower)
    lower, info = linalg.cholesky_ex(s)
    return None if int(info) else lower


def congruence(lower: Float[Tensor, "d d"], s: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """L^T S L for a lower triangular L with positive diagonal."""
    if has_lapack(s):
        out, info = lapack.dsygst(s.numpy(), lower.numpy(), itype=3, lower=1)
        assert not info
        return _tensor(out)
    whole, d = s.tril() + s.tril(-1).T, len(s)
    half, out = torch.empty_like(whole), torch.zeros_like(whole)
    for start, stop in _blocks(d):
        half[:, start:stop] = whole[:, start:] @ lower[start:, start:stop]
    for start, stop in _blocks(d):
        out[start:stop, :stop] = lower[start:, start:stop].T @ half[start:, :stop]
    return out


def eigenvalues(s: Float[Tensor, "d d"]) -> Float[Tensor, " d"]:
    """Eigenvalues, ascending."""
    if not has_lapack(s) or len(s) < 2:
        return linalg.eigvalsh(s)
    work, _ = lapack.dsytrd_lwork(len(s), lower=1)
    _, diagonal, beside, _, _ = lapack.dsytrd(s.numpy(), lower=1, lwork=int(work))
    values, info = lapack.dsterf(diagonal, beside)
    if info:
        raise linalg.LinAlgError(f"{info} of {len(s)} eigenvalues did not converge")
    return _tensor(values)


def square_sum(s: Float[Tensor, "d d"]) -> Float[Tensor, ""]:
    """Sum of the squares of all entries, those above the diagonal included."""
    below = torch.stack([s[start:, start:stop].tril().square().sum() for start, stop in _blocks(len(s))]).sum()
    return 2 * below - s.diagonal().square().sum()


def _add_gram(out: Tensor, rows: Tensor) -> Tensor:
    """``out`` + rows^T rows, in place where it lies in columns."""
    if has_lapack(rows):
        return _tensor(blas.dsyrk(1.0, rows.numpy().T, beta=1.0, c=out.numpy(), lower=1, overwrite_c=1))
    for start, stop in _blocks(len(out)):
        out[start:, start:stop] += rows[:, start:].T @ rows[:, start:stop]
    return out.tril_()


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(array)  # pyright: ignore[reportUnknownMemberType]


def _blocks(d: int) -> list[tuple[int, int]]:
    return [(start, min(start + BLOCK, d)) for start in range(0, d, BLOCK)]
