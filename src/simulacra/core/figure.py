"""One evaluated number with everything that gives it meaning. Only the report formats it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One evaluated number.

    name       the measure, in the field's words: "Frechet distance", "test NLL".
    value      the number.
    unit       "" for a pure number, "nats", "bits/dim", "s" ...
    direction  "lower" | "higher" (is better) | "neither".
    kind       "exact" | "bound" | "estimate": what the number is of the thing it names.
    n          number of examples it rests on (of samples, where two sets are compared), and n_real of the other set.
    interval   (low, high) at ``level``, or None where no method has passed its coverage test.
    interval_method  how, in words: "jackknife"; "none: bootstrap fails its coverage test here".
    seed, extractor, extractor_hash  what the number depends on besides model and data.
    dtype      precision of the features it rests on, "float32"; None where it rests on none.
    compared_in  figures whose ``compared_in`` differ cannot be set side by side (measure, extractor, protocol).
    """

    name: str
    value: float
    direction: Literal["lower", "higher", "neither"]
    n: int
    unit: str = ""
    kind: Literal["exact", "bound", "estimate"] = "estimate"
    n_real: int | None = None
    interval: tuple[float, float] | None = None
    interval_method: str = ""
    level: float = 0.95
    seed: int | None = None
    extractor: str | None = None
    extractor_hash: str | None = None
    note: str = ""
    dtype: str | None = None

    @property
    def compared_in(self) -> tuple[Any, ...]:
        """What must agree before two of these may stand in one column."""
        return (self.name, self.unit, self.extractor, self.extractor_hash)

    def comparable_to(self, other: Figure) -> None:
        """ValueError, saying what differs, where the two may not be compared."""
        if self.compared_in != other.compared_in:
            raise ValueError(
                f"figures that measure different things cannot be compared: {self.compared_in} and {other.compared_in};"
                " evaluate both with the same extractor and protocol"
            )

    def to_json(self) -> dict[str, Any]:
        """A JSON value; ``Figure.from_json`` turns it back."""
        return asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> Figure:
        """The figure that ``to_json`` wrote."""
        interval = value.get("interval")
        settled: dict[str, Any] = {**value, "interval": None if interval is None else tuple(interval)}
        return Figure(**settled)
