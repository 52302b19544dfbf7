"""Which features a run's samples are judged by: the examples' own values, and a classifier's where there are labels."""

from __future__ import annotations

from simulacra.core.space import Classes
from simulacra.evaluation.classifier import classifier
from simulacra.evaluation.extractors import Extractor, plain
from simulacra.modalities.fetch import cache
from simulacra.modalities.samples import is_pictures
from simulacra.modalities.sources import Loaded


def extractors_for(loaded: Loaded) -> list[Extractor]:
    """Extractors for this data, the most telling first. A classifier is trained once for each data set and kept."""
    space = loaded.train.space
    found = [] if (own := plain(space)) is None else [own]
    if is_pictures(space) and isinstance(space.y, Classes) and len(space.y) > 1:
        found.insert(0, classifier(loaded.train, folder=cache() / "classifiers"))
    return found
