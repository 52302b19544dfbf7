"""Molecules as a person sees them: a grid of structures, as PNG or SVG; what is no molecule is shown as such."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simulacra.core.checkpoint import told
from simulacra.modalities.molecules.chemistry import fault, parsed, rdkit

CELL = (220, 180)  # pixels
SHOWN = 100  # molecules of one grid: more cannot be looked at
COLUMNS = 6
PICTURES = (".png", ".svg")


def grid_png(smiles: Sequence[str], *, columns: int = COLUMNS) -> bytes:
    """The structures of the first 100, row by row, as a PNG."""
    return _drawn(smiles, columns, "MolDraw2DCairo")


def grid_svg(smiles: Sequence[str], *, columns: int = COLUMNS) -> str:
    """The same as an SVG."""
    return _drawn(smiles, columns, "MolDraw2DSVG")


def write_grid(smiles: Sequence[str], path: Path) -> str:
    """Write a grid as FILE.png or FILE.svg; returns a line that says what was written. ValueError for other names."""
    if path.suffix.lower() not in PICTURES:
        raise ValueError(f"{path}: structures are drawn as .png or .svg")
    content = grid_png(smiles) if path.suffix.lower() == ".png" else grid_svg(smiles).encode()
    with told(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    none = sum(parsed(s) is None for s in smiles[:SHOWN])
    left = f" (the first {SHOWN} of {len(smiles):,}; .smi holds all)" if len(smiles) > SHOWN else ""
    return f"{path}: {min(len(smiles), SHOWN):,} structures{left}, {none} of them no molecule"


def _drawn(smiles: Sequence[str], columns: int, how: str) -> Any:
    rdkit()
    from rdkit import rdBase
    from rdkit.Chem.Draw import rdMolDraw2D

    shown = list(smiles[:SHOWN])
    if not shown:
        raise ValueError("a grid shows at least one molecule; got none")
    columns = min(columns, len(shown))
    width, height = CELL
    draw = getattr(rdMolDraw2D, how)(width * columns, height * -(-len(shown) // columns), width, height)
    draw.drawOptions().legendFontSize = 14
    with rdBase.BlockLogs():
        draw.DrawMolecules(
            [found if (found := parsed(s)) is not None else _none() for s in shown],
            legends=["" if parsed(s) is not None else f"no molecule: {fault(s)}" for s in shown],
        )
    draw.FinishDrawing()
    return draw.GetDrawingText()


def _none() -> Any:
    """What stands where there is no molecule: an empty one would be drawn without its legend."""
    Chem = rdkit()
    blank = Chem.RWMol()
    blank.AddAtom(Chem.Atom(0))
    blank.GetAtomWithIdx(0).SetProp("atomLabel", "?")
    return blank.GetMol()
