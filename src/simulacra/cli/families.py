"""``simulacra families``: what there is and what each can do, read from the sources so that torch is not imported."""

from __future__ import annotations

import ast
import json as json_
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simulacra.cli.parse import JsonFlag, parse

# a capability shows itself by its method
CAN = {
    "sample": "draw",
    "sample_given": "draw given another space",
    "log_likelihood": "score",
    "log_prob_of": "optimise",
    "encode": "encode",
    "decode": "decode",
    "to_latent": "invert",
    "choice_log_probs": "code",
    "walk": "walk",
    "continue_from": "continue",
    "complete": "complete",
    "denoise": "denoise",
    "translate": "translate",
    "criticise": "criticise",
    "label_log_prob": "labels",
}


def main(arguments: Sequence[str]) -> None:
    """Print the families."""
    parse(show, arguments, verb="families")


def show(*, json: JsonFlag = False) -> None:
    """The families of models, what each is, and what each can do.

    Args:
        json: print JSON instead of a table.
    """
    found = catalogue()
    if json:
        print(json_.dumps(found, indent=1))
        return
    width = max(len(f["family"]) for f in found)
    for row in found:
        print(f"{row['family']:<{width}}  {row['what']}")
        print(f"{'':<{width}}  can {', '.join(row['can'])}")


def catalogue() -> list[dict[str, Any]]:
    """family, what (first line of its docstring) and can (from its methods' names), one a family file."""
    folder = Path(__file__).parents[1] / "families"
    rows = []
    for path in sorted(folder.glob("[!_]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        methods = _methods(tree)
        said = (ast.get_docstring(tree) or "").split("\n")[0]
        rows.append({"family": path.stem, "what": said, "can": [word for name, word in CAN.items() if name in methods]})
    return rows


def _methods(tree: ast.Module) -> set[str]:
    """Names of the methods of a file's classes, those of bases that it imports from simulacra.nets among them."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    named = [base.value if isinstance(base, ast.Subscript) else base for node in classes for base in node.bases]
    bases = {base.id for base in named if isinstance(base, ast.Name)}
    found = {part.name for node in classes for part in node.body if isinstance(part, ast.FunctionDef)}
    for node in tree.body:
        if not isinstance(node, ast.ImportFrom):
            continue
        module = (node.module or "").split(".")
        if module[:2] == ["simulacra", "nets"] and bases & {name.name for name in node.names}:
            file = Path(__file__).parents[1].joinpath(*module[1:]).with_suffix(".py")
            found |= _methods(ast.parse(file.read_text(encoding="utf-8")))
    return found
