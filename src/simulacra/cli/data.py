"""``simulacra data``: the data sets known by name. Imports no torch."""

from __future__ import annotations

import json as json_
from collections.abc import Sequence

from simulacra.cli.parse import JsonFlag, parse
from simulacra.modalities.names import KNOWN


def main(arguments: Sequence[str]) -> None:
    """Print the data sets."""
    parse(show, arguments, verb="data")


def show(*, json: JsonFlag = False) -> None:
    """The data sets known by name; any path to pictures is data too.

    Args:
        json: print JSON instead of a table.
    """
    if json:
        print(json_.dumps([{"name": name, "what": known.what} for name, known in KNOWN.items()], indent=1))
        return
    width = max(map(len, KNOWN))
    for name, known in KNOWN.items():
        print(f"{name:<{width}}  {known.what}")
    print("\nA path is data too: a folder (subfolders are classes), IDX, CIFAR binary, .npy, .npz, .zip or .tar;")
    print("text (.txt, .smi, .jsonl, or a folder of them).")
