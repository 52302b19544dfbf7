"""Planted faults: which figure notices which of them, at which dose.

Perfect samples are real MNIST pictures that nobody trained on. A fault is planted in them at rising doses, and every
figure is taken of them against other real pictures. A figure notices a dose if it lies further from its mean over
perfect samples than all of these do, and more than five of their standard deviations.

``python -m bench.evaluation faults`` (ten CPU-minutes); the table it prints is the one of docs/judging.md.
"""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from bench.harness import Row

N = 1000  # samples, and real pictures to compare them with
LEARNT = 4000  # pictures that a model would have been trained on
PERFECT = 8  # sets of perfect samples
NOTICED = 5.0  # standard deviations


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is done to perfect pictures (n, 28, 28) in 0 .. 255 and their labels, at each of some doses."""

    name: str
    unit: str
    doses: tuple[float, ...]
    plant: Callable[[Any, float], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Material:
    """Perfect samples and what faults may draw on: pictures (n, 28, 28), labels, more perfect ones, learnt ones."""

    x: Tensor
    y: Tensor
    spare: Tensor
    spare_y: Tensor
    learnt: Tensor
    learnt_y: Tensor
    seed: int


def _replaced(m: Material, gone: Tensor) -> tuple[Tensor, Tensor]:
    """The pictures with some replaced by perfect ones of what is left."""
    x, y = m.x.clone(), m.y.clone()
    count = int(gone.sum())
    x[gone], y[gone] = m.spare[:count], m.spare_y[:count]
    return x, y


def lost_class(m: Material, dose: float) -> tuple[Tensor, Tensor]:
    """So large a share of the sevens is replaced by other digits."""
    from dataclasses import replace

    import torch

    from simulacra.core.randomness import Rng

    others = m.spare_y != 7
    drop = (m.y == 7) & (Rng(m.seed)("drop").uniform((len(m.y),)) < dose)
    return _replaced(replace(m, spare=m.spare[others], spare_y=m.spare_y[others]), torch.as_tensor(drop))


def _slant(x: Tensor) -> Tensor:
    """How far each picture leans: the slope of its columns' centre over its rows, (n,)."""
    import torch

    row = torch.arange(28.0) - 13.5
    mass = x.sum((1, 2)).clamp(min=1)
    i, j = (x.sum(2) @ row / mass)[:, None], (x.sum(1) @ row / mass)[:, None]
    up, along = row[None] - i, row[None] - j
    cross = torch.einsum("nhw,nh,nw->n", x, up, along)
    return -cross / (x.sum(2) * up.square()).sum(1).clamp(min=1)


def lost_mode(m: Material, dose: float) -> tuple[Tensor, Tensor]:
    """So large a share of what leans most is replaced by what leans less: a mode across all classes."""
    from dataclasses import replace

    edge = float(_slant(m.learnt).quantile(0.75))
    upright = _slant(m.spare) < edge
    from simulacra.core.randomness import Rng

    drop = (_slant(m.x) >= edge) & (Rng(m.seed)("drop").uniform((len(m.y),)) < dose)
    return _replaced(replace(m, spare=m.spare[upright], spare_y=m.spare_y[upright]), drop)


def memorised(m: Material, dose: float) -> tuple[Tensor, Tensor]:
    """So large a share are pictures that were learnt from."""
    count = round(dose * len(m.x))
    x, y = m.x.clone(), m.y.clone()
    x[:count], y[:count] = m.learnt[:count], m.learnt_y[:count]
    return x, y


def blur(m: Material, dose: float) -> tuple[Tensor, Tensor]:
    """A Gaussian of so many pixels over every picture."""
    import torch
    from scipy.ndimage import gaussian_filter

    return torch.from_numpy(gaussian_filter(m.x.numpy(), (0, dose, dose))), m.y


def noise(m: Material, dose: float) -> tuple[Tensor, Tensor]:
    """Gaussian noise of so many grey levels."""
    from simulacra.core.randomness import Rng

    return m.x + dose * Rng(m.seed)("noise").normal(m.x.shape), m.y


def contrast(m: Material, dose: float) -> tuple[Tensor, Tensor]:
    """Grey levels lowered by so large a share."""
    return m.x * (1 - dose), m.y


def leaked_label(m: Material, dose: float) -> tuple[Tensor, Tensor]:
    """The class shows as a pixel in the first row, so many grey levels bright."""
    import torch

    x = m.x.clone()
    x[torch.arange(len(x)), 0, 2 * m.y + 4] = dose
    return x, m.y


def wrong_label(m: Material, dose: float) -> tuple[Tensor, Tensor]:
    """So large a share carry the next class as their label."""
    import torch

    from simulacra.core.randomness import Rng

    wrong = Rng(m.seed)("wrong").uniform((len(m.y),)) < dose
    return m.x, torch.where(wrong, (m.y + 1) % 10, m.y)


def repeated(m: Material, dose: float) -> tuple[Tensor, Tensor]:
    """So large a share are copies of ten of the samples."""
    count = round(dose * len(m.x))
    x, y = m.x.clone(), m.y.clone()
    for i in range(count):
        x[10 + i % (len(x) - 10)], y[10 + i % (len(x) - 10)] = x[i % 10], y[i % 10]
    return x, y


def jpeg(m: Material, dose: float) -> tuple[Tensor, Tensor]:
    """Every picture through JPEG of quality 100 less the dose."""
    import numpy as np
    import torch
    from PIL import Image

    found = []
    for picture in m.x.round().clamp(0, 255).to(torch.uint8).numpy():
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=round(100 - dose))
        found.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(found)).float(), m.y


def aliased(m: Material, dose: float) -> tuple[Tensor, Tensor]:
    """Enlarged by the dose smoothly, and brought back without antialiasing by TensorFlow's old rule."""
    from simulacra.mathematics.resize import smoothly, tensorflow_bilinear

    side = round(28 * dose)
    return tensorflow_bilinear(smoothly(m.x[:, None], (side, side)), (28, 28))[:, 0], m.y


FAULTS = (
    Fault(name="class lost", unit="share of it", doses=(0.25, 0.5, 1.0), plant=lost_class),
    Fault(name="mode lost", unit="share of it", doses=(0.25, 0.5, 1.0), plant=lost_mode),
    Fault(name="repeated", unit="share", doses=(0.05, 0.2, 0.5), plant=repeated),
    Fault(name="memorised", unit="share", doses=(0.1, 0.3, 1.0), plant=memorised),
    Fault(name="blur", unit="pixels", doses=(0.4, 0.7, 1.5), plant=blur),
    Fault(name="noise", unit="grey levels", doses=(5, 20, 60), plant=noise),
    Fault(name="contrast", unit="share lost", doses=(0.05, 0.15, 0.4), plant=contrast),
    Fault(name="label in pixels", unit="grey levels", doses=(20, 80, 255), plant=leaked_label),
    Fault(name="label wrong", unit="share", doses=(0.02, 0.1, 0.3), plant=wrong_label),
    Fault(name="JPEG", unit="100 less quality", doses=(5, 25, 70), plant=jpeg),
    Fault(name="resized badly", unit="times", doses=(1.3, 2.5, 4.0), plant=aliased),
)


def figures_of(x: Tensor, y: Tensor, real: Any, learnt: Any, extractors: Any) -> dict[tuple[str, str], float]:
    """Every figure of samples, by (figure, extractor)."""
    from simulacra.evaluation import classes, further
    from simulacra.evaluation.further import Sets
    from simulacra.evaluation.judge import copying
    from simulacra.evaluation.separability import separability
    from simulacra.evaluation.statistics import Origin
    from simulacra.evaluation.tasks import Labelled, logistic, scored
    from simulacra.mathematics.frechet import frechet_distance, frechet_estimate
    from simulacra.mathematics.two_sample import class_score, kernel_distance, manifolds

    pictures = (x.round().clamp(0, 255) / 127.5 - 1)[:, None]
    found: dict[tuple[str, str], float] = {}
    statistics_ = (
        further.gaussian_kernel, further.sliced, further.frontier, separability, further.likelihood_of_features,
        further.authenticity, further.vendi, classes.diversity, classes.label_accuracy, classes.class_balance,
        classes.class_diversity,
    )  # fmt: skip
    for extractor, seen, known in extractors:
        a, b = extractor(pictures), seen.features
        p = extractor.probabilities(pictures)
        enough = len(a) > 2 * a.shape[1] + 1
        found["Frechet distance", extractor.name] = frechet_estimate(a, b).limit if enough else frechet_distance(a, b)
        found["kernel distance", extractor.name] = kernel_distance(a, b).value
        near = manifolds(a, b, k=5)
        each = {"precision": near.precise, "recall": near.recalled, "density": near.dense, "coverage": near.covered}
        found |= {(name, extractor.name): float(t.mean()) for name, t in each.items()}
        if p is not None:
            found["class score", extractor.name] = class_score(p)
        found["closer to training", extractor.name] = copying(a, b, known.features, origin=Origin()).value
        sets = Sets(fake=a, real=b, train=known.features, fake_p=p, real_p=seen.p, fake_y=y, real_y=real[1])
        origin = Origin(extractor=extractor.name, seed=0)
        # of pixels the likelihood takes minutes, and says nothing that theirs does not
        chosen = [s for s in statistics_ if extractor.name != "pixels" or s is not further.likelihood_of_features]
        found |= {(f.name, extractor.name): f.value for s in chosen for f in s(sets, origin)}
    probabilities = logistic(pictures[:, :, ::2, ::2], y, 10, _rng())
    tried = scored(probabilities, Labelled(x=real[0][:, :, ::2, ::2], y=real[1]), 10)
    found["accuracy, samples on real", "task"] = float(tried.right.double().mean())
    probabilities = logistic(learnt[0][:N, :, ::2, ::2], learnt[1][:N], 10, _rng())
    tried = scored(probabilities, Labelled(x=pictures[:, :, ::2, ::2], y=y), 10)
    found["accuracy, real on samples", "task"] = float(tried.right.double().mean())
    assert all(math.isfinite(v) for v in found.values()), found
    return found


def _rng() -> Any:
    from simulacra.core.randomness import Rng

    return Rng(0)


def measure() -> dict[str, Any]:
    """Every figure of every fault at every dose, and of perfect samples: JSON."""
    from simulacra.core.randomness import Rng
    from simulacra.evaluation.extractors import pixels
    from simulacra.evaluation.streaming import Seen
    from simulacra.modalities.sources import open_data
    from simulacra.runs.extractors import named_extractors

    data = open_data("mnist")
    held = data.held_out
    order = Rng(5)("faults").permutation(len(held))
    train_order = Rng(5)("learnt").permutation(len(data.train))

    def pictures(source: Any, index: Tensor) -> tuple[Tensor, Tensor]:
        batch = source.batch(index, Rng(0))
        return (batch.x[:, 0] + 1) * 127.5, batch.y

    # perfect samples are test pictures: the extractors, too, were trained on others
    learnt, learnt_y = pictures(data.train, train_order[:LEARNT])
    real, real_y = pictures(held, order[:N])
    extractors = []
    as_seen = [(t / 127.5 - 1)[:, None] for t in (real, learnt)]
    for extractor in (*named_extractors(data, ["classifier", "encoder"]), pixels):
        seen, known = (Seen(features=extractor(t), p=extractor.probabilities(t), y=None) for t in as_seen)
        extractors.append((extractor, seen, known))
    given = ((as_seen[0], real_y), (as_seen[1], learnt_y), extractors)
    perfect = []
    for i in range(PERFECT):
        x, y = pictures(held, order[N * (i + 1) : N * (i + 2)])
        perfect.append(figures_of(x, y, *given))
        print(f"perfect {i + 1} of {PERFECT}", flush=True)
    # faults are planted in the last set but one, and what replaces pictures comes from the last thousand
    x, y = pictures(held, order[N * PERFECT : N * (PERFECT + 1)])
    spare, spare_y = pictures(held, order[N * (PERFECT + 1) :])
    material = Material(x=x, y=y, spare=spare, spare_y=spare_y, learnt=learnt, learnt_y=learnt_y, seed=0)
    found: dict[str, Any] = {}
    for fault in FAULTS:
        found[fault.name] = {}
        for dose in fault.doses:
            found[fault.name][dose] = figures_of(*fault.plant(material, dose), *given)
            print(f"{fault.name} {dose:g}", flush=True)
    return {"perfect": perfect, "faults": found}


def deviations(measured: dict[str, Any]) -> dict[tuple[str, str], dict[str, list[tuple[float, float, bool]]]]:
    """(figure, extractor) -> fault -> (dose, deviations from perfect samples, whether it is noticed) of each dose."""
    found: dict[tuple[str, str], dict[str, list[tuple[float, float, bool]]]] = {}
    for key in measured["perfect"][0]:
        values = [p[key] for p in measured["perfect"]]
        mean, spread = statistics.mean(values), max(statistics.stdev(values), 1e-12)
        found[key] = {}
        for fault, doses in measured["faults"].items():
            each = [(dose, (figures[key] - mean) / spread) for dose, figures in doses.items()]
            found[key][fault] = [
                (dose, z, abs(z) > NOTICED and not min(values) <= mean + z * spread <= max(values)) for dose, z in each
            ]
    return found


def table(found: dict[tuple[str, str], dict[str, list[tuple[float, float, bool]]]]) -> str:
    """Markdown: a row a figure, a column a fault, in each cell the smallest dose from which on all are noticed."""
    lines = [
        "| figure (features) | " + " | ".join(f"{f.name}<br><sub>{f.unit}</sub>" for f in FAULTS) + " |",
        "|---|" + "--:|" * len(FAULTS),
        "| *doses tried* | " + " | ".join(", ".join(f"{d:g}" for d in f.doses) for f in FAULTS) + " |",
    ]
    for (figure, extractor), faults in found.items():
        cells = [_smallest(faults[f.name]) for f in FAULTS]
        lines.append(f"| {figure} ({extractor}) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _smallest(doses: list[tuple[float, float, bool]]) -> str:
    first = None
    for dose, _, noticed in reversed(doses):
        if not noticed:
            break
        first = dose
    return "" if first is None else f"{first:g}"


def run() -> list[Row]:
    """A row a figure: how many faults it notices at some dose, and all its deviations."""
    from bench.harness import Row

    measured = measure()
    found = deviations(measured)
    print(table(found))
    rows = []
    for (figure, extractor), faults in found.items():
        seen = sum(bool(_smallest(doses)) for doses in faults.values())
        told = "; ".join(
            f"{fault}: " + ", ".join(f"{dose:g} {z:+.1f}" for dose, z, _ in doses) for fault, doses in faults.items()
        )
        what = f"{figure} ({extractor}): faults noticed, of {len(faults)}"
        rows.append(Row(what=what, unit="faults", ours=float(seen), note=told))
    return rows
