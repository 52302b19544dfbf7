"""What RDKit says of molecules: whether a text is one, its canonical SMILES, scaffold, fingerprint and properties.

Everything else here knows molecules by their SMILES; only this file and the pictures see RDKit's own objects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

REMEMBERED = 20_000  # parsed molecules, a few kB each
RADIUS, BITS = 2, 1024  # of Morgan fingerprints: those of MOSES' measures (Polykovskiy et al. 2020, section 2)


def rdkit() -> Any:
    """RDKit's ``Chem``; ImportError with the remedy where it is not installed."""
    try:
        from rdkit import Chem
    except ImportError as error:
        raise ImportError(
            "molecules need the package rdkit: pip install 'simulacra[molecules]', or --modality text to learn SMILES"
            " as any text"
        ) from error
    return Chem


@lru_cache(maxsize=REMEMBERED)
def parsed(smiles: str) -> Any:
    """RDKit's molecule of a SMILES, sanitised; None where it is none: no atom at all is none either."""
    Chem = rdkit()
    from rdkit import rdBase

    with rdBase.BlockLogs():
        found = Chem.MolFromSmiles(smiles)
    return None if found is None or found.GetNumAtoms() == 0 else found


def fault(smiles: str) -> str | None:
    """Why a text is no molecule: "empty", "syntax", "valence" or "aromaticity"; None where it is one."""
    if parsed(smiles) is not None:
        return None
    if not smiles.strip():
        return "empty"
    Chem = rdkit()
    from rdkit import rdBase

    with rdBase.BlockLogs():
        raw = Chem.MolFromSmiles(smiles, sanitize=False)
        if raw is None or raw.GetNumAtoms() == 0:
            return "syntax"
        kinds = {problem.GetType() for problem in Chem.DetectChemistryProblems(raw)}
    return "valence" if "AtomValenceException" in kinds else "aromaticity"


def canonical(smiles: str) -> str | None:
    """The one SMILES that RDKit writes for a molecule, however it was spelt; None where it is none."""
    found = parsed(smiles)
    return None if found is None else rdkit().MolToSmiles(found)


def spelt(smiles: str, order: Sequence[float] | np.ndarray) -> str:
    """A SMILES of the same molecule that begins at another atom and visits branches in another order.

    order  a number for each atom, at least as many as there are: atoms are numbered by it before RDKit writes them
           (the restricted random SMILES of Arus-Pous et al. 2019).
    """
    found = parsed(smiles)
    if found is None:
        return smiles
    chosen = np.argsort(np.asarray(order)[: found.GetNumAtoms()], kind="stable").tolist()
    return rdkit().MolToSmiles(rdkit().RenumberAtoms(found, chosen), canonical=False)


def kekule(smiles: str) -> str:
    """A SMILES of the same molecule that writes aromatic rings as single and double bonds in turn: C1=CC=CC=C1.

    What is written so cannot fail to be aromatic: every atom has its bonds, and RDKit finds which rings are.
    """
    if parsed(smiles) is None:
        return smiles
    Chem = rdkit()
    found = Chem.Mol(parsed(smiles))
    Chem.Kekulize(found, clearAromaticFlags=True)
    return Chem.MolToSmiles(found, kekuleSmiles=True)


def atoms(smiles: str) -> int:
    """Number of heavy atoms (those that are written); 0 for what is no molecule."""
    found = parsed(smiles)
    return 0 if found is None else found.GetNumAtoms()


def scaffold(smiles: str) -> str:
    """Canonical SMILES of a molecule's rings and what joins them (Bemis & Murcko 1996); "" where it has no ring."""
    from rdkit.Chem.Scaffolds import MurckoScaffold

    found = parsed(smiles)
    return "" if found is None else MurckoScaffold.MurckoScaffoldSmiles(mol=found)


def fingerprints(molecules: Sequence[str], *, radius: int = RADIUS, bits: int = BITS) -> np.ndarray:
    """Morgan fingerprints of molecules, uint8 (n, bits) of 0 and 1 (Rogers & Hahn 2010)."""
    rdkit()
    from rdkit.Chem import rdFingerprintGenerator

    make = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=bits)
    rows = [make.GetFingerprintAsNumPy(parsed(smiles)) for smiles in molecules]
    return np.stack(rows).astype(np.uint8) if rows else np.zeros((0, bits), np.uint8)


# -- properties -------------------------------------------------------------------------------------------------------


def _qed(found: Any) -> float:
    from rdkit.Chem import QED

    return QED.qed(found)


def _log_p(found: Any) -> float:
    from rdkit.Chem import Crippen

    return Crippen.MolLogP(found)  # pyright: ignore[reportAttributeAccessIssue]


def _weight(found: Any) -> float:
    from rdkit.Chem import Descriptors

    return Descriptors.MolWt(found)  # pyright: ignore[reportAttributeAccessIssue]


def _sa(found: Any) -> float:
    try:
        from rdkit.Contrib.SA_Score import sascorer
    except ImportError:  # builds of RDKit without its contributed part
        return math.nan
    return sascorer.calculateScore(found)


PROPERTIES: Mapping[str, Callable[[Any], float]] = {
    "QED": _qed,  # drug-likeness, 0 .. 1 (Bickerton et al. 2012)
    "SA": _sa,  # how hard it is to make, 1 easy .. 10 hard (Ertl & Schuffenhauer 2009)
    "logP": _log_p,  # octanol against water, by atoms' contributions (Wildman & Crippen 1999)
    "weight": _weight,  # daltons, of the natural mixture of isotopes unless one is written
}


def properties(molecules: Sequence[str]) -> dict[str, np.ndarray]:
    """QED, SA, logP and weight of molecules, float64 (n,) each; NaN of SA where RDKit came without it.

    ValueError for a text that is no molecule.
    """
    from rdkit import rdBase

    found = []
    for smiles in molecules:
        if (molecule := parsed(smiles)) is None:
            raise ValueError(f"{smiles!r} is no molecule ({fault(smiles)}), so it has no properties; leave it out")
        found.append(molecule)
    with rdBase.BlockLogs():
        return {name: np.array([of(molecule) for molecule in found], float) for name, of in PROPERTIES.items()}
