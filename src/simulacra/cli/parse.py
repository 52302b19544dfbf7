"""Arguments of a verb from the signatures and dataclasses the library itself uses, by tyro; every fault one line."""

from __future__ import annotations

import ast
import collections.abc
import contextlib
import dataclasses
import io
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import tyro

T = TypeVar("T")
Count = Annotated[int, tyro.conf.arg(aliases=["-n"])]
AtMost = Annotated[int | None, tyro.conf.arg(aliases=["-n"])]
JsonFlag = Annotated[bool, tyro.conf.arg(name="json")]


def parse(
    what: Callable[..., T],
    arguments: Sequence[str],
    *,
    verb: str,
    default: Any = None,
    functions: Mapping[str, Any] | None = None,
) -> T:
    """Call ``what`` (a function or a dataclass) with the arguments given.

    functions  "module:name" -> the functions and settings that a function-valued option may name, as
               ``--objective elbo`` or ``--objective "iwae(k=5)"``.
    Raises ValueError with one line for arguments that do not fit; ``--help`` prints and exits.
    """
    registry = tyro.constructors.ConstructorRegistry()
    registry.primitive_rule(lambda info: _function_rule(info, functions or {}))
    shown = io.StringIO()
    extra = {} if default is None else {"default": default}
    try:
        with registry, contextlib.redirect_stderr(shown):
            return tyro.cli(
                what, args=list(arguments), prog=f"simulacra {verb}", config=(tyro.conf.FlagCreatePairsOff,), **extra
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ValueError(f"{_first_fault(shown.getvalue())} (simulacra {verb} --help says what there is)") from None


def positionals(arguments: Sequence[str], names: Sequence[str], verb: str) -> tuple[list[str], list[str]]:
    """The first arguments, by the names they are known under, and the options after them.

    Raises ValueError where one is missing.
    """
    found = []
    for argument in arguments[: len(names)]:
        if argument.startswith("-") and argument != "-":  # alone it is standard input
            break
        found.append(argument)
    if len(found) < len(names) and not {"-h", "--help"} & set(arguments):
        raise ValueError(f"{verb} needs {' '.join(names)}; got {' '.join(found) or 'nothing'}")
    return found, list(arguments[len(found) :])


def setting(text: str, functions: Mapping[str, Any], fits: Callable[[Any], bool] = lambda value: True) -> Any:
    """The function or settings object that a text names: ``elbo``, ``Warmup(steps=100)``, ``AdamW(lr=1e-4)``.

    fits  tells which of several that share the name is meant; where it cannot, ``module.NAME`` does.

    Only names of the table are looked up; nothing is evaluated. Raises ValueError for anything else.
    """

    def read(node: ast.expr) -> list[Any]:
        """What a node may mean: one value, or several where a name is shared."""
        if isinstance(node, ast.Name | ast.Attribute):
            return [value() if isinstance(value, type) else value for value in _called(node, functions)]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute) and not node.args:
            given = {k.arg: one(k.value) for k in node.keywords if k.arg}
            return _each(_called(node.func, functions), given)
        if isinstance(node, ast.Tuple):
            return [tuple(one(part) for part in node.elts)]
        try:
            return [ast.literal_eval(node)]
        except ValueError:
            raise TypeError("only names, numbers, texts and tuples") from None

    def one(node: ast.expr) -> Any:
        found = read(node)
        if len(found) > 1:
            found = [value for value in found if fits(value)] or found
        if len(found) > 1:
            raise TypeError(f"several are called that; say which as MODULE.NAME: {', '.join(map(_qualified, found))}")
        return found[0]

    try:
        return one(ast.parse(text, mode="eval").body)
    except (SyntaxError, TypeError) as error:
        raise ValueError(f"cannot read {text!r} ({error}); expected NAME or NAME(setting=value, ...)") from error


def _called(node: ast.Name | ast.Attribute, functions: Mapping[str, Any]) -> list[Any]:
    """All that the table has under a name, or under MODULE.NAME; ValueError where there is nothing."""
    wanted = ast.unparse(node)
    found = [value for q, value in functions.items() if f".{q.replace(':', '.')}".endswith(f".{wanted}")]
    if not found:
        known = sorted({q.split(":")[1] for q in functions})
        raise ValueError(f"no function {wanted!r}; expected one of {', '.join(known)}")
    return found


def _each(makers: Sequence[Any], given: Mapping[str, Any]) -> list[Any]:
    """What those makers make that take these settings; TypeError where none does."""
    found: list[Any] = []
    fault: TypeError | None = None
    for make in makers:
        try:
            found.append(make(**given))
        except TypeError as error:
            fault = error
    if not found and fault is not None:
        raise fault
    return found


def _qualified(value: Any) -> str:
    kind: Any = value if hasattr(value, "__qualname__") else type(value)
    return f"{kind.__module__.rpartition('.')[2]}.{kind.__qualname__}"


def interactive() -> bool:
    """Whether a person is watching: progress bars then, plain lines otherwise."""
    return sys.stdout.isatty()


def _function_rule(info: tyro.constructors.PrimitiveTypeInfo, functions: Mapping[str, Any]) -> Any:
    union = typing.get_origin(info.type) in (typing.Union, types.UnionType)
    kinds = [typing.get_origin(o) or o for o in (typing.get_args(info.type) if union else (info.type,))]
    # a function, or an object known by what it does: both are named rather than spelt out
    if not any(kind is collections.abc.Callable or getattr(kind, "_is_protocol", False) for kind in kinds):
        return None
    protocols: Any = tuple(kind for kind in kinds if getattr(kind, "_is_runtime_protocol", False))
    fits = (lambda value: isinstance(value, protocols)) if protocols else (lambda value: True)
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="FUNCTION",
        instance_from_str=lambda given: setting(given[0], functions, fits),
        is_instance=lambda value: callable(value) or value is None,
        str_from_instance=lambda value: [_name(value)],
    )


def _name(value: Any) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = ", ".join(f"{f.name}={_name(getattr(value, f.name))}" for f in dataclasses.fields(value))
        return f"{type(value).__name__}({parts})"
    if isinstance(value, tuple):
        return f"({', '.join(map(_name, value))}{',' if len(value) == 1 else ''})"
    return getattr(value, "__name__", repr(value))


def _first_fault(panel: str) -> str:
    """What went wrong, out of tyro's panel: its first part below the title; rules part it, frames may be lacking."""
    parts: list[list[str]] = [[]]
    for line in re.sub(r"\x1b\[[0-9;]*m", "", panel).splitlines():
        words = line.strip("╭╮╰╯│|+ ")
        if words.endswith(("──", "---")):
            parts.append([])
        elif words:
            parts[-1].append(words)
    return " ".join(parts[1] if len(parts) > 1 else parts[0]) or "the arguments do not fit"
