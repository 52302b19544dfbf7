"""``simulacra data``: the data sets known by name, and what a table's columns are. Imports no torch for the former."""

from __future__ import annotations

import dataclasses
import json as json_
from collections.abc import Sequence
from pathlib import Path

from simulacra.cli.parse import JsonFlag, parse
from simulacra.modalities.names import KNOWN


def main(arguments: Sequence[str]) -> None:
    """Print the data sets, or the schema of a table."""
    if arguments and not arguments[0].startswith("-"):
        _tell_table(arguments[0], parse(OfTable, arguments[1:], verb="data TABLE"))
        return
    parse(show, arguments, verb="data")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfTable:
    """What is told of a table.

    Attributes:
        schema: a JSON file that says what its columns are, completed by what is found.
        schema_out: where to write the schema, to be edited and given to fit with --schema.
    """

    schema: Path | None = None
    schema_out: Path | None = None


def _tell_table(source: str, options: OfTable) -> None:
    from simulacra.modalities.tables.schema import write_schema
    from simulacra.modalities.tables.source import schema_of

    schema, notes = schema_of(source, options.schema)
    for line in (*notes, *schema.lines(most=len(schema.columns))):
        print(line)
    if options.schema_out is not None:
        write_schema(schema, options.schema_out)
        print(f"wrote {options.schema_out}: edit it, and give it to fit with --schema {options.schema_out}")


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
    print("text (.txt, .jsonl, or a folder of them); molecules (.smi, or .csv with a column of SMILES);")
    print("music (.mid, or a folder of them); frames of keys (.json).")
    print("tables (.csv, .tsv, .parquet): simulacra data TABLE tells what their columns are.")
