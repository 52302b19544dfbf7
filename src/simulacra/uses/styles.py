"""What the styles of a style-based generator hold: mixtures of two, less variety, directions in which pictures change.

A style w is what a generator makes of a code before it draws; each of its layers hears a w of its own, the coarse ones
decide about shapes, the fine ones about strokes and shades (Karras et al. 2019, section 3.1). All of this needs the
styles alone (``Styled``), whatever the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from simulacra.core.batch import Values
from simulacra.core.capabilities import require
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.uses.traverse import Traversal

DRAWN = 4096  # codes whose styles principal components are taken of


@runtime_checkable
class Styled(Protocol):
    """Draws by way of styles, one for each of its layers."""

    latent: Space

    def styles(self, z: Tensor, *, y: Values | None = None) -> Tensor:
        """Codes (b, latent) -> styles (b, layers, width)."""
        ...

    def show(self, w: Tensor, *, noise: Any = ...) -> Values:
        """Styles -> examples (b, *event), differentiably; noise (layer, x) -> what is added there, else fixed."""
        ...

    def mean_styles(self) -> Tensor:
        """The mean style of each class, (classes, width), or of all, (1, width)."""
        ...

    def heard_by(self) -> list[Tensor]:
        """For every layer the weights that hear its style, (rows, width) each."""
        ...


def styled(model: object, use: str) -> Styled:
    """The model, known to draw by way of styles; ValueError for others."""
    return require(model, Styled, use)


def drawn_styles(model: Styled, n: int, *, y: Tensor | None = None, rng: Rng | int = 0) -> Tensor:
    """The styles of n codes drawn from N(0, I), (n, layers, width)."""
    like = model.heard_by()[0]
    z = Rng.of(rng)("z").normal((n, *model.latent.only.shape), dtype=like.dtype, device=like.device)
    return model.styles(z, y=None if y is None else y.to(like.device))


def shown(model: Styled, w: Tensor) -> Tensor:
    """Styles (..., layers, width) as pictures (..., *event)."""
    x = model.show(w.flatten(0, -3))
    assert isinstance(x, Tensor)
    return x.reshape(*w.shape[:-2], *x.shape[1:])


@torch.no_grad()
def mixture(model: object, coarse: Tensor, fine: Tensor, cut: int) -> Tensor:
    """Every coarse style's first ``cut`` layers with every fine style's others, (coarse, fine, *event).

    coarse, fine  styles (n, layers, width) and (m, layers, width). Karras et al. 2019, figure 3.
    Raises ValueError for a cut that leaves one of the two unheard.
    """
    found, layers = styled(model, "mixing styles"), coarse.shape[1]
    if not 0 < cut < layers:
        raise ValueError(f"styles are cut between layers, 1 to {layers - 1}; got {cut}")
    w = fine[None].expand(len(coarse), -1, -1, -1).clone()
    w[:, :, :cut] = coarse[:, None, :cut]
    return shown(found, w)


@torch.no_grad()
def truncations(model: object, w: Tensor, psi: Sequence[float], *, y: Tensor | None = None) -> Tensor:
    """Each style w (n, layers, width) drawn to its mean: mean + psi (w - mean), (n, psi, *event).

    The mean is that of the example's class, y int64 (n,), where there are classes; negative psi is the opposite of w.
    """
    found = styled(model, "truncation")
    mean = found.mean_styles()[0 if y is None else y.to(w.device)].reshape(-1, 1, 1, w.shape[2])
    share = torch.tensor(list(psi), dtype=w.dtype, device=w.device)[:, None, None]
    return shown(found, mean + share * (w[:, None] - mean))


@torch.no_grad()
def factors(model: object, layers: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
    """Unit directions of w that change most of what is heard, the most first: (width, width), one a row; eigenvalues.

    The eigenvectors of A^T A, A the weights of the ``layers`` (all unless given) one under another: Shen & Zhou 2021,
    "Closed-form factorization of latent semantics in GANs", eq. 5-7. Their signs are such that the largest entry is
    positive.
    """
    heard = styled(model, "directions of styles").heard_by()
    if layers is not None and not set(layers) <= set(range(len(heard))):
        raise ValueError(f"layers are numbered 0 .. {len(heard) - 1}; got {list(layers)}")
    a = torch.cat([heard[i] for i in (range(len(heard)) if layers is None else layers)]).double()
    values, vectors = torch.linalg.eigh(a.T @ a)
    return _signed(vectors.T.flip(0)).to(heard[0]), values.flip(0).clamp(min=0).to(heard[0])


@torch.no_grad()
def components(model: object, *, y: Tensor | None = None, rng: Rng | int = 0) -> tuple[Tensor, Tensor]:
    """Principal components of w over the prior, the largest first: (width, width), one a row; variances (width,).

    Härkönen et al. 2020, "GANSpace", section 2.2. y int64 (1,): of a class.
    """
    found = styled(model, "directions of styles")
    w = drawn_styles(found, DRAWN, y=None if y is None else y.expand(DRAWN), rng=rng)[:, 0].double()
    values, vectors = torch.linalg.eigh(torch.cov(w.T))
    like = found.heard_by()[0]
    return _signed(vectors.T.flip(0)).to(like), values.flip(0).clamp(min=0).to(like)


@torch.no_grad()
def traverse_styles(
    model: object,
    directions: Tensor,
    tells: Tensor,
    *,
    y: Tensor | None = None,
    steps: int = 9,
    reach: float = 2.0,
    rows: int | None = None,
    rng: Rng | int = 0,
) -> Traversal:
    """Pictures of w + v s_j d_j for the first directions d_j (one a row, unit), v from -reach to reach.

    s_j is the deviation of w along d_j over the prior; w the style of one code drawn, of the class y int64 (1,). tells:
    what says how much each direction tells, shown as its share of all.
    """
    found = styled(model, "directions of styles")
    if steps < 2 or not reach > 0:
        raise ValueError(f"a walk needs 2 steps or more and a positive reach; got {steps} and {reach}")
    chosen = directions[:rows]
    labels = None if y is None else y.expand(DRAWN)
    deviation = (drawn_styles(found, DRAWN, y=labels, rng=0)[:, 0] @ chosen.T).std(0)
    start = drawn_styles(found, 1, y=y, rng=Rng.of(rng)("start"))
    at = torch.linspace(-reach, reach, steps, dtype=start.dtype, device=start.device)
    moved = (at[:, None] * deviation)[..., None] * chosen  # (steps, rows, width)
    frames = shown(found, start[:, None] + moved.transpose(0, 1)[:, :, None])
    share = (tells / tells.sum())[: len(chosen)]
    return Traversal(frames=frames, dimensions=tuple(range(len(chosen))), of=len(directions), tells=share.cpu(),
                     measure="of all", at=at.cpu(), sign="w")  # fmt: skip


def _signed(rows: Tensor) -> Tensor:
    """Each row, or its negative, such that its entry of largest size is positive."""
    largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    return rows * largest.sign()
