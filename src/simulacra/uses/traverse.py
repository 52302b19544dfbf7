"""Walk along one latent dimension at a time, the most telling first: what has the model put into each?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.core.batch import Values
from simulacra.core.capabilities import Codec, Decoder, require
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous


@dataclass(frozen=True, kw_only=True)
class Traversal:
    """Walks along latent dimensions, one a row, the most telling first.

    frames      (rows, steps, *event), decoded.
    dimensions  which dimension each row walks along, out of how many (``of``).
    tells       (rows,), what ``measure`` says: how much each dimension tells of an example.
    sign        what dimensions are called in a caption, before their number.
    at          (steps,), where the dimension stands in each column.
    """

    frames: Tensor
    dimensions: tuple[int, ...]
    of: int
    tells: Tensor
    measure: str
    at: Tensor
    sign: str = "z"

    def captions(self) -> list[str]:
        """A few words a row."""
        return [
            f"{self.sign}{j}: {tell:.2f} {self.measure}" for j, tell in zip(self.dimensions, self.tells, strict=True)
        ]


@torch.no_grad()
def traverse(
    model: object,
    *,
    start: Tensor | None = None,
    examples: Values | None = None,
    y: Tensor | None = None,
    steps: int = 9,
    reach: float = 2.0,
    rows: int | None = None,
    rng: Rng | int = 0,
) -> Traversal:
    """Pictures of the codes start + (v - start_j) e_j, v from -reach to reach in ``steps`` columns.

    start     the code all walks pass through, (latent,); None: the mean of the prior, 0, for a model that encodes;
              a draw for one that does not, as its generator was never shown 0.
    examples  by which a model that encodes ranks its dimensions: by KL(q(z_j | x) || N(0, 1)), mean over examples,
              nats. Without them, or without an encoder, by the mean square change along the walk.
    y         int64 (1,), the class of what is drawn, where there are classes.
    rows      at most so many dimensions; None: all.
    Raises ValueError for a model without ``decode``, codes that are categories, examples of several fields, or fewer
    than 2 steps.
    """
    decoder = require(model, Decoder, "traverse")
    if not isinstance(decoder.latent.only, Continuous):
        raise ValueError(f"traverse needs codes of real numbers; those of {type(model).__name__} are categories")
    if steps < 2 or not reach > 0:
        raise ValueError(f"a walk needs 2 steps or more and a positive reach; got {steps} and {reach}")
    code = _start(model, decoder, rng) if start is None else start.flatten()
    d = len(code)
    at = torch.linspace(-reach, reach, steps, dtype=code.dtype, device=code.device)
    z = code.expand(d, steps, d).clone()
    walked = torch.arange(d, device=code.device)
    z[walked, :, walked] = at
    tells, measure = None, "mean square change"
    if isinstance(model, Codec) and examples is not None:
        tells, measure = divergences(model, examples, y=y), "nats"
        chosen = tells.argsort(descending=True, stable=True)[:rows]
        z = z[chosen]
    else:
        chosen = walked
    shape = decoder.latent.only.shape
    given = None if y is None else y.expand(len(chosen) * steps)
    frames = decoder.decode(z.reshape(-1, *shape), y=given)
    if not isinstance(frames, Tensor):
        raise ValueError("traverse shows examples of one field; this model's examples have several")
    frames = frames.reshape(len(chosen), steps, *frames.shape[1:])
    if tells is None:
        tells = frames.flatten(2).double().var(1).mean(1)
        chosen = tells.argsort(descending=True, stable=True)[:rows]
        frames = frames[chosen]
    return Traversal(
        frames=frames, dimensions=tuple(chosen.tolist()), of=d, tells=tells[chosen].cpu(), measure=measure, at=at.cpu()
    )


@torch.no_grad()
def divergences(model: Codec, x: Values, *, y: Values | None = None) -> Tensor:
    """KL(q(z_j | x) || N(0, 1)) of each latent dimension, mean over examples, nats (latent,)."""
    count = len(x if isinstance(x, Tensor) else next(iter(x.values())))
    given = y.expand(count) if isinstance(y, Tensor) and len(y) == 1 else y
    q = model.posterior(x, y=given)
    mean, scale = q.mean.flatten(1), q.stddev.flatten(1)
    return (0.5 * (mean.square() + scale.square() - 1) - scale.log()).mean(0)


def _start(model: object, decoder: Decoder, rng: Rng | int) -> Tensor:
    like = next(iter(model.parameters())) if isinstance(model, torch.nn.Module) else torch.zeros(())
    size = decoder.latent.only.shape
    if isinstance(model, Codec):
        return torch.zeros(size, dtype=like.dtype, device=like.device).flatten()
    return Rng.of(rng)("start").normal((1, *size), dtype=like.dtype, device=like.device).flatten()
