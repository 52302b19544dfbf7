"""Which features a run's samples are judged by: the examples' own values, a classifier's where there are labels, an
encoder's where there are none; or those that a person names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from simulacra.core.batch import Data
from simulacra.core.space import Classes, Space
from simulacra.evaluation import pretrained
from simulacra.evaluation.classifier import classifier
from simulacra.evaluation.extractors import Extractor, plain
from simulacra.evaluation.regressor import regressor
from simulacra.evaluation.self_supervised import LEAST, encoder
from simulacra.modalities.fetch import cache
from simulacra.modalities.samples import is_pictures
from simulacra.modalities.sources import Loaded
from simulacra.nets.self_supervised import EncoderConfig


def extractors_for(loaded: Loaded) -> list[Extractor]:
    """Extractors for this data, the most telling first.

    A classifier, or an encoder for pictures without labels, is trained once for each data set and kept.
    """
    space = loaded.train.space
    found = [] if (own := plain(space)) is None else [own]
    if is_pictures(space) and isinstance(space.y, Classes) and len(space.y) > 1:
        found.insert(0, _classifier(loaded.train, None))
    elif is_pictures(space) and len(loaded.train) >= LEAST:
        found.insert(0, _encoder(loaded.train, None))
    return found


def named_extractors(loaded: Loaded, names: Sequence[str]) -> list[Extractor]:
    """The extractors of these names: those of ``NAMED``, with =FILE or =FOLDER for those that are read from disk.

    ValueError for a name that does not exist, one that needs a path and has none, or data it cannot see.
    """
    found: list[Extractor] = []
    for text in names:
        name, _, path = text.partition("=")
        if name not in NAMED:
            raise ValueError(f"no extractor {name!r}; expected one of {', '.join(NAMED)}")
        make, needs = NAMED[name]
        if bool(path) != needs:
            what = f"is read from disk: {name}=PATH" if needs else f"takes no path; got {path}"
            raise ValueError(f"the extractor {name} {what}")
        found.append(make(loaded.train, Path(path).expanduser() if needs else None))
    return found


def _values(data: Data, path: Path | None) -> Extractor:
    if (own := plain(data.space)) is None:
        raise ValueError(f"examples of {data.name} have no plain values to compare; give another extractor")
    return own


def _classifier(data: Data, path: Path | None) -> Extractor:
    return classifier(data, folder=cache() / "classifiers")


def _regressor(data: Data, path: Path | None) -> Extractor:
    return regressor(data, folder=cache() / "regressors")


def _encoder(data: Data, path: Path | None) -> Extractor:
    # large pictures cost more each, and tell more: about the same time for all; small data is seen forty times
    _, h, w = data.space.only.shape if len(data.space.only.shape) == 3 else (1, 1, 1)
    examples = round(min(60_000, max(6_000, 60_000 * 1024 / (h * w)), 40 * len(data)))
    return encoder(data, folder=cache() / "encoders", config=EncoderConfig(examples=examples))


def _read(make: Callable[[Space, Path], Extractor]) -> Callable[[Data, Path | None], Extractor]:
    def read(data: Data, path: Path | None) -> Extractor:
        assert path is not None
        return make(data.space, path)

    return read


# name -> what makes it of the training data and a path, and whether it needs one
NAMED: dict[str, tuple[Callable[[Data, Path | None], Extractor], bool]] = {
    "pixels": (_values, False),
    "classifier": (_classifier, False),
    "regressor": (_regressor, False),
    "encoder": (_encoder, False),
    "inception": (_read(pretrained.inception), True),
    "dinov2": (_read(pretrained.dinov2), True),
    "clip": (_read(pretrained.clip), True),
}
