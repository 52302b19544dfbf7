"""Settings as JSON: frozen dataclasses and the functions they hold, by name, looked up in one plain table.

Only what the table lists can be named, so a damaged or hostile ``recipe.json`` imports and runs nothing.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any


def table(modules: Iterable[ModuleType]) -> dict[str, Any]:
    """ "module:name" -> every public dataclass and function that these modules define themselves."""
    found: dict[str, Any] = {}
    for module in modules:
        for name, value in vars(module).items():
            ours = getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
            if ours and (dataclasses.is_dataclass(value) or inspect.isfunction(value)):
                found[qualified(value)] = value
    return found


def qualified(value: Any) -> str:
    """ "module:name" of a class or function, without the library's own name in front."""
    return f"{value.__module__.removeprefix('simulacra.')}:{value.__qualname__}"


def to_json(value: Any) -> Any:
    """A setting as a JSON value; ValueError for something no table could name, such as a lambda."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return {"is": qualified(type(value)), **parts}
    if isinstance(value, (tuple, list)):
        return [to_json(v) for v in value]
    if isinstance(value, Mapping):
        return {"mapping": {str(k): to_json(v) for k, v in value.items()}}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if callable(value) and "<" not in getattr(value, "__qualname__", "<"):
        return {"function": qualified(value)}
    raise ValueError(f"a setting must be plain data or a named function of a module; got {value!r}")


def from_json(value: Any, known: Mapping[str, Any]) -> Any:
    """The setting that ``to_json`` wrote, its names looked up in ``known``. Lists become tuples."""
    if isinstance(value, list):
        return tuple(from_json(v, known) for v in value)
    if not isinstance(value, dict):
        return value
    if "is" in value:  # first: a setting may be called like one of the marks below
        kind: Any = _find(value["is"], known)
        names = {f.name for f in dataclasses.fields(kind) if f.init}
        if unknown := set(value) - names - {"is"}:
            raise ValueError(f"{value['is']} has no setting {sorted(unknown)}; expected some of {sorted(names)}")
        return kind(**{k: from_json(v, known) for k, v in value.items() if k != "is"})
    if "float" in value:
        return float(value["float"])
    if "mapping" in value:
        return {k: from_json(v, known) for k, v in value["mapping"].items()}
    if "function" in value:
        return _find(value["function"], known)
    raise ValueError(f"not a setting: {value!r}")


def _find(name: Any, known: Mapping[str, Any]) -> Callable[..., Any]:
    if name not in known:
        raise ValueError(f"no setting is called {name!r} in this version of simulacra; upgrade, or fit again")
    return known[name]
