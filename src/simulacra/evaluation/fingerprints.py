"""The extractor of molecules: which small surroundings of atoms they hold.

Morgan fingerprints (Rogers & Hahn 2010, "Extended-connectivity fingerprints"): each atom's surroundings up to so many
bonds away become a number, and the numbers a row of ones and noughts. The same molecule has the same row however its
SMILES is spelt. RDKit does it; the extra ``molecules`` has RDKit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from simulacra.evaluation.extractors import Extractor
from simulacra.modalities.molecules import chemistry
from simulacra.modalities.molecules.chemistry import parsed

RADIUS, BITS = 2, 2048  # ECFP4, as it is mostly used


def fingerprints(smiles: Sequence[str], *, radius: int = RADIUS, bits: int = BITS) -> Float[Tensor, "n bits"]:
    """Morgan fingerprints of molecules by their SMILES, 0 or 1, float32.

    radius  bonds from an atom to the edge of its surroundings; bits  length of the row: with few, surroundings collide.
    ValueError that counts what is no molecule; ``readable`` tells which are.
    """
    if radius < 0 or bits < 1:
        raise ValueError(f"fingerprints take a radius of at least 0 and at least 1 bit; got {radius} and {bits}")
    bad = [text for text in smiles if parsed(text) is None]
    if bad:
        raise ValueError(
            f"{len(bad)} of {len(smiles)} texts are no molecules, the first {bad[0]!r}: leave them out (`readable`"
            " tells which) and report their share beside the figures"
        )
    return torch.from_numpy(chemistry.fingerprints(smiles, radius=radius, bits=bits)).float()


def readable(smiles: Sequence[str]) -> list[bool]:
    """Whether each text is the SMILES of a molecule: its grammar, its valences, and at least one atom."""
    return [parsed(text) is not None for text in smiles]


def fingerprint_extractor(
    spell: Callable[[Tensor], Sequence[str]], *, radius: int = RADIUS, bits: int = BITS
) -> Extractor:
    """Fingerprints of examples that are tensors: ``spell`` turns a batch of them into SMILES, one each."""
    name = f"Morgan fingerprint, radius {radius}, {bits} bits"

    def features(x: Tensor) -> Tensor:
        return fingerprints(spell(x), radius=radius, bits=bits)

    return Extractor(name="Morgan fingerprint", hash=hashlib.sha256(name.encode()).hexdigest(), features=features)
