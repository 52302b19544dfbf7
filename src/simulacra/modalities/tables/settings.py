"""The ways in which numbers become fields, by name, and what was fitted by them, from JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from simulacra.modalities.tables.bins import Binned, Bins
from simulacra.modalities.tables.columns import Fitted, Setting, Values
from simulacra.modalities.tables.mixture import Mixed, Mixture
from simulacra.modalities.tables.pieces import Pieces
from simulacra.modalities.tables.schema import Column
from simulacra.modalities.tables.scores import Quantile, Scored

SETTINGS: dict[str, Callable[[], Setting]] = {"bins": Bins, "quantile": Quantile, "mixture": Mixture}


def setting(text: str) -> Setting:
    """The setting that a text names: "bins", "bins:32", "quantile", "mixture:5"; ValueError for any other."""
    name, _, number = text.partition(":")
    if name not in SETTINGS or (number and not number.isdecimal()):
        raise ValueError(
            f"no way to encode numbers {text!r}; expected {', '.join(SETTINGS)}, or one with its number, as bins:32"
        )
    if not number:
        return SETTINGS[name]()
    if int(number) < 2:
        raise ValueError(f"numbers are cut into at least 2; got {text!r}")
    kind: Any = SETTINGS[name]
    return kind(**{"components" if name == "mixture" else "count": int(number)})


def fitted_from_json(value: Mapping[str, Any], column: Column) -> Fitted:
    """What ``to_json`` wrote for this column."""
    missing = bool(value["missing"])
    match value["how"]:
        case "values":
            return Values(column, missing, tuple(value["counts"]))
        case "bins":
            return Binned(column, missing, Pieces.from_json(value["pieces"]))
        case "quantile":
            return Scored(column, missing, Pieces.from_json(value["pieces"]), tuple(value["ends"]))
        case "mixture":
            parts = (tuple(map(float, value[k])) for k in ("means", "deviations", "weights", "peaks"))
            return Mixed(column, missing, *parts)
    raise ValueError(f"no way {value['how']!r} to encode a column; expected values, {', '.join(SETTINGS)}")
