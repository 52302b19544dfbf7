"""``simulacra detect RUN RUN ...``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import torch
from torch import Tensor

from simulacra.cli.parse import Count, JsonFlag, parse
from simulacra.cli.words import say
from simulacra.core.capabilities import Sampler
from simulacra.core.randomness import Rng
from simulacra.evaluation.extractors import values
from simulacra.evaluation.report.figures import finite, interval_text, value_text
from simulacra.evaluation.streaming import of_model
from simulacra.modalities.samples import is_pictures
from simulacra.responsibility.detection import (
    Convolutional,
    Frequencies,
    Handling,
    LeftOut,
    figures_of_detection,
    left_out,
)
from simulacra.runs import Run, load

DETECTORS = {"network and spectrum": Convolutional(), "spectrum alone": Frequencies()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the detectors learn from.

    Attributes:
        n: samples of each run, and at most that many real pictures on either side.
        side: pixels a side that every picture is resized to; their own size unless given.
        quality: of the JPEG that every picture is stored as and read back from, 1 to 95.
        no_jpeg: leave pictures as they are.
        seed: of samples and detectors.
        json: print the figures as JSON.
    """

    n: Count = 2_000
    side: int | None = None
    quality: int = 90
    no_jpeg: bool = False
    seed: int = 0
    json: JsonFlag = False


def main(arguments: Sequence[str]) -> None:
    """Train detectors of generated pictures on all runs but one, and try them on that one; each run in turn."""
    paths = arguments[: _first_option(arguments)]
    if len(paths) < 2 and not {"-h", "--help"} & set(arguments):
        raise ValueError(f"detect needs RUN RUN ..., at least 2 of the same data; got {' '.join(paths) or 'none'}")
    options = parse(Options, arguments[len(paths) :], verb="detect RUN RUN ...")
    handle = Handling(side=options.side, quality=None if options.no_jpeg else options.quality)
    runs = [load(path) for path in paths]
    real, unseen, generated = pictures(runs, handle, options.n, Rng(options.seed)("detect"))
    figures = []
    for by, learn in DETECTORS.items():
        found = left_out(real, unseen, generated, learn, rng=options.seed)
        figures += (made := figures_of_detection(found, by, n_real=len(unseen), rng=options.seed))
        if not options.json:
            _tell(by, found)
            for f in made:
                say(f"  {f.name}: {value_text(f)} {interval_text(f)}")
    if options.json:
        print(json.dumps([finite(f.to_json()) for f in figures], indent=2, ensure_ascii=False, allow_nan=False))
        return
    say("an instrument for comparing kinds of models, and no verdict on a picture: docs/responsibility.md says why")


def pictures(runs: Sequence[Run], handle: Handling, n: int, rng: Rng) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Real pictures to learn from, unseen ones, and samples by the name of their run; all handled alike.

    Raises ValueError for runs that draw no pictures, or learned from different data.
    """
    first = runs[0]
    for run in runs:
        if not is_pictures(run.recipe.space) or not isinstance(run.model, Sampler):
            raise ValueError(f"{run.path} draws no pictures; detect needs runs that do")
        if run.recipe.data["fingerprints"] != first.recipe.data["fingerprints"]:
            raise ValueError(
                f"{run.path} learned from other data than {first.path}; a detector would tell the data apart:"
                " give runs of the same data"
            )
    data, generated = first.data(), dict[str, Tensor]()
    for run in runs:
        name = run.path.name if run.path.name not in generated else str(run.path)
        with torch.no_grad():
            part = of_model(run.model, rng("samples"))
            drawn = [part(at, min(at + 200, n)).x for at in range(0, n, 200)]
        generated[name] = handle(torch.cat([x for x in drawn if isinstance(x, Tensor)]))
    real, unseen = (handle(values(d, n, rng(w))) for d, w in ((data.train, "real"), (data.held_out, "unseen")))
    return real, unseen, generated


def _first_option(arguments: Sequence[str]) -> int:
    return next((i for i, a in enumerate(arguments) if a.startswith("-")), len(arguments))


def _tell(by: str, found: Sequence[LeftOut]) -> None:
    say(f"{by}:")
    width = max(len(f.name) for f in found)
    for f in found:
        say(f"  {f.name:<{width}}  left out: AUC {f.area:.3f}, average precision {f.precision:.3f}, {f.n:,} samples")
