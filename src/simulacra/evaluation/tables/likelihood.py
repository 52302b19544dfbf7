"""A model of a table's fields as one of its columns in their own units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from simulacra.core.batch import Values
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.modalities.tables.encoding import TableEncoding


class InOwnUnits(nn.Module):
    """A Likelihood whose numbers can be compared whatever fields its columns became.

    options  the model's own, beside the protocol's.
    """

    def __init__(self, model: Any, encoding: TableEncoding, options: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.model, self.encoding, self.options = model, encoding, dict(options or {})
        self.space = encoding.space

    def log_likelihood(
        self, x: Values, *, y: Values | None = None, known: Values | None = None, rng: Rng | int | None = None
    ) -> LogLikelihood:
        """log p of each row's cells, nats."""
        given = {name: value for name, value in (("y", y), ("known", known)) if value is not None}
        found = self.model.log_likelihood(x, **given, rng=rng, **self.options)
        return self.encoding.in_own_units(found, x, known)
