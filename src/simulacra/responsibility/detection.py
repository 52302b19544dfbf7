"""Detectors of generated pictures, and how well they do on kinds of models they have never seen.

A detector learns to tell real pictures from samples of some runs. What counts is a run left out of its training: each
in turn is kept for the test, so that every figure is of a kind of model that was unknown. Real and generated pictures
go through the same resizing and JPEG, or the detector would learn who stored the pictures how.

A measuring instrument of how far samples are from real pictures in ways that carry over, and not a verdict: a picture
with a high score may be real, and one with a low score generated. It knows one kind of data, and some kinds of models.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.core.figure import Figure
from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.mathematics.ranking import auc, average_precision
from simulacra.mathematics.resize import smoothly
from simulacra.mathematics.spectra import radial_log_power
from simulacra.nets.halving import halving
from simulacra.nets.initialise import initialise

Pictures = Float[Tensor, "b c h w"]
Scorer = Callable[[Tensor], Tensor]  # pictures (b, c, h, w) -> (b,), higher where more likely generated
Learner = Callable[[Tensor, Tensor, Rng], Scorer]  # (real, generated, rng) -> what it learned
BATCH = 64
BOOTSTRAP = 2_000
FEWEST = 100  # pictures of each kind


@dataclass(frozen=True, kw_only=True)
class Handling:
    """What every picture goes through before it is looked at, real or generated.

    side     of the square it is resized to, with antialiasing; None leaves its size.
    quality  of a JPEG it is stored as and read back from, 1 .. 95; None stores none.
    """

    side: int | None = None
    quality: int | None = 90

    def __post_init__(self) -> None:
        if self.side is not None and self.side < 8:
            raise ValueError(f"pictures are resized to 8 pixels a side at the least; got {self.side}")
        if self.quality is not None and not 1 <= self.quality <= 95:
            raise ValueError(f"the quality of a JPEG lies in 1 .. 95; got {self.quality}")

    def __call__(self, x: Pictures) -> Tensor:
        """Pictures of values -1 .. 1 with one or three channels, handled; rounded to 8 bits in any case."""
        if x.shape[1] not in (1, 3):
            raise ValueError(f"pictures have 1 or 3 channels; got {x.shape[1]}")
        x = x.float() if self.side is None else smoothly(x.float(), (self.side, self.side))
        levels = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
        if self.quality is not None:
            levels = torch.stack([_stored(picture, self.quality) for picture in levels])
        return levels.float() / 127.5 - 1


def _stored(picture: Tensor, quality: int) -> Tensor:
    """A picture uint8 (c, h, w) as a JPEG of this quality gives it back."""
    array = picture.permute(1, 2, 0).numpy()
    image, kept = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array), io.BytesIO()
    image.save(kept, "JPEG", quality=quality)
    back = np.array(Image.open(kept))
    return torch.from_numpy(back.reshape(*array.shape)).permute(2, 0, 1)  # pyright: ignore[reportUnknownMemberType]


class Network(nn.Module):
    """Reads a picture by convolutions and its spectrum beside them: logits (b,) of being generated."""

    def __init__(self, shape: tuple[int, ...], rings: int, channels: int, features: int) -> None:
        super().__init__()
        self.body = halving(shape, channels, features)
        self.head = nn.Sequential(nn.SiLU(), nn.Linear(features + rings, features), nn.SiLU(), nn.Linear(features, 1))

    def forward(self, x: Tensor, spectrum: Tensor) -> Tensor:
        return self.head(torch.cat([self.body(x), spectrum], 1)).squeeze(1)


@dataclass(frozen=True, kw_only=True)
class Convolutional:
    """Learns a small network over pictures and their spectra.

    examples  seen in all, half of them real.
    """

    channels: int = 16
    features: int = 32
    examples: int = 40_000
    lr: float = 2e-3

    def __call__(self, real: Tensor, generated: Tensor, rng: Rng) -> Scorer:
        scale = Scale.of(torch.cat([real, generated]))
        network = Network(tuple(real.shape[1:]), scale.rings, self.channels, self.features)
        initialise(network, rng("weights"))
        _learn(network, real, generated, scale, steps=self.examples // BATCH, lr=self.lr, rng=rng)
        return lambda x: network(x, scale(x))


@dataclass(frozen=True, kw_only=True)
class Frequencies:
    """Learns from the radial spectrum alone, by logistic regression: the baseline (Durall et al. 2020)."""

    examples: int = 100_000
    lr: float = 3e-2

    def __call__(self, real: Tensor, generated: Tensor, rng: Rng) -> Scorer:
        scale = Scale.of(torch.cat([real, generated]))
        line = nn.Linear(scale.rings, 1)
        initialise(line, rng("weights"))
        read = _Read(line)
        _learn(read, real, generated, scale, steps=self.examples // BATCH, lr=self.lr, rng=rng)
        return lambda x: read(x, scale(x))


class _Read(nn.Module):
    """A layer that is shown the spectrum and not the picture."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, spectrum: Tensor) -> Tensor:
        return self.layer(spectrum).squeeze(1)


@dataclass(frozen=True)
class Scale:
    """Spectra in units of their spread over the pictures learned from."""

    mean: Tensor
    spread: Tensor

    @staticmethod
    def of(x: Tensor) -> Scale:
        """The scale of these pictures' spectra."""
        spectra = radial_log_power(x)
        return Scale(spectra.mean(0), spectra.std(0).clamp(min=1e-3))

    @property
    def rings(self) -> int:
        """How many frequencies a spectrum has."""
        return len(self.mean)

    def __call__(self, x: Tensor) -> Tensor:
        return (radial_log_power(x) - self.mean) / self.spread


def _learn(
    network: nn.Module, real: Tensor, generated: Tensor, scale: Scale, *, steps: int, lr: float, rng: Rng
) -> None:
    """Binary cross-entropy, half of each batch real; the rate falls to 0."""
    (optimiser,) = AdamW(lr=lr, weight_decay=1e-2).build(network)
    truth = torch.cat([torch.zeros(BATCH // 2), torch.ones(BATCH // 2)])
    spectra = [scale(x) for x in (real, generated)]
    network.train()
    for step in range(steps):
        at = [rng("batch", step, i).integers(len(x), (BATCH // 2,)) for i, x in enumerate((real, generated))]
        x = torch.cat([real[at[0]], generated[at[1]]])
        spectrum = torch.cat([spectra[0][at[0]], spectra[1][at[1]]])
        for group in optimiser.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / 50) * (1 - step / steps)
        optimiser.zero_grad(set_to_none=True)
        F.binary_cross_entropy_with_logits(network(x, spectrum), truth).backward()
        optimiser.step()
    network.eval().requires_grad_(False)


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """How well a detector tells real pictures from samples of a run it has never seen: area and average precision."""

    name: str
    area: float
    precision: float
    n: int


@torch.no_grad()
def scores_of(scorer: Scorer, x: Tensor) -> Tensor:
    """Scores of many pictures, (n,)."""
    return torch.cat([scorer(part) for part in x.split(500)])


def left_out(
    real: Pictures, unseen: Pictures, generated: Mapping[str, Tensor], learn: Learner, *, rng: Rng | int = 0
) -> list[LeftOut]:
    """Each run left out in turn: a detector learns from the others' samples, and is tried on its own.

    real       pictures learned from; unseen: real ones of the test, as the data's held-out part.
    generated  run -> samples, at least two runs; every picture handled alike (``Handling``).

    The share of each run in a detector's training is the same. ValueError for too few runs or pictures.
    """
    if len(generated) < 2:
        raise ValueError(f"a run is left out and the others are learned from: give at least 2; got {len(generated)}")
    least = min(len(real), len(unseen), *(len(x) for x in generated.values()))
    if least < FEWEST:
        raise ValueError(f"detectors need at least {FEWEST} pictures of each kind; got {least}")
    if len({tuple(x.shape[1:]) for x in (real, unseen, *generated.values())}) > 1:
        raise ValueError("pictures of several sizes or channels; bring them to one with Handling(side=...) (--side)")
    stream, found = Rng.of(rng), []
    each = min(len(x) for x in generated.values())
    for name, kept in generated.items():
        others = torch.cat([x[:each] for other, x in generated.items() if other != name])
        scorer = learn(real, others, stream("learn", name))
        a, b = scores_of(scorer, unseen), scores_of(scorer, kept)
        area, _ = auc(a, b)
        found.append(LeftOut(name=name, area=area, precision=average_precision(a, b), n=len(kept)))
    return found


def figures_of_detection(found: list[LeftOut], by: str, *, n_real: int, rng: Rng | int = 0) -> list[Figure]:
    """The mean area and average precision over runs that were left out, with a bootstrap over runs.

    The interval is about the mean over kinds of models like these; of fewer than 4 there is none, and of fewer than 20
    its method says that a bootstrap of so few is too narrow.
    """
    stream, figures = Rng.of(rng), []
    for name, values in (
        ("AUC of a family left out", torch.tensor([f.area for f in found], dtype=torch.float64)),
        ("average precision of a family left out", torch.tensor([f.precision for f in found], dtype=torch.float64)),
    ):
        k = len(values)
        means = values[stream("bootstrap").integers(k, (BOOTSTRAP, k))].mean(1)
        ends = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist() if k >= 4 else None
        figures.append(
            Figure(
                name=f"{name}, {by}", value=float(values.mean()), direction="neither", n=sum(f.n for f in found),
                n_real=n_real, interval=None if ends is None else (ends[0], ends[1]),
                interval_method=_method(k),
                seed=stream.seed, note="one half tells nothing" if "AUC" in name else "",
            )
        )  # fmt: skip
    return figures


def _method(k: int) -> str:
    """How the interval over k families came about."""
    if k < 4:
        return f"none: {k} families, 4 are needed"
    return f"bootstrap over {k} families" + ("; too narrow for so few, not simulated" if k < 20 else "")
