"""Molecules <-> whole numbers: SMILES cut atom by atom, with what is open told or not, or SELFIES, of which every
sequence is some molecule.

Text that goes in and comes out is SMILES either way (Weininger 1988; the OpenSMILES specification, opensmiles.org;
SELFIES: Krenn et al. 2020).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

KINDS = "smiles, nested or selfies"
STATE = "|"  # between a token of SMILES and what it says of branches and rings; in no SMILES

# OpenSMILES, section 3: an atom in brackets is one token whatever it carries (isotope, chirality, hydrogens, charge),
# atoms outside are B C N O P S F Cl Br I, aromatic b c n o p s, or *; then rings, bonds and branches. ~ is "any bond"
TOKEN = re.compile(r"\[[^\[\]\s]+\]|Cl|Br|%\d\d|%\(\d{1,5}\)|[BCNOPSFIbcnops*]|\d|[-=#$:/\\~.()]")


def cut_smiles(smiles: str) -> list[str]:
    """A SMILES as its tokens, which put together are the same text; ValueError where something is no token of SMILES.

    >>> cut_smiles("[13CH3]C(=O)Oc1ccccc1Cl")[:4]
    ['[13CH3]', 'C', '(', '=']
    """
    found, at = list[str](), 0
    for match in TOKEN.finditer(smiles):
        if match.start() != at:
            break
        found.append(match.group())
        at = match.end()
    if at != len(smiles):
        raise ValueError(
            f"{smiles!r} is no SMILES: {smiles[at]!r} at place {at} begins no atom, bond, branch or ring; mend it"
        )
    return found


class _Alphabet:
    """Tokens by their numbers."""

    alphabet: tuple[str, ...]

    @cached_property
    def _number(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.alphabet)}

    def _numbers(self, tokens: Iterable[str], text: str) -> np.ndarray:
        try:
            return np.array([self._number[t] for t in tokens], np.int64)
        except KeyError as error:
            raise ValueError(
                f"{text!r} has the token {error.args[0]}, which is not among the {len(self.alphabet)} that were learned"
                " from; leave it out, or fit on data that has it"
            ) from None


@dataclass(frozen=True)
class Smiles(_Alphabet):
    """Tokens of SMILES, those of what is learned from, in alphabetical order."""

    alphabet: tuple[str, ...]
    words = "tokens of SMILES"
    measure = "bytes"  # of the SMILES, so that likelihoods compare with those of models of its characters
    streams = True

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(len(t.encode()) for t in self.alphabet)

    def encode(self, text: str) -> np.ndarray:
        """Tokens int64 (t,) of a SMILES, or of how one begins; ValueError for a token that is not in the alphabet."""
        return self._numbers(cut_smiles(text), text)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens, a SMILES or not."""
        return "".join(self.alphabet[t] for t in tokens)

    def to_json(self) -> dict[str, Any]:
        return {"kind": "smiles", "alphabet": list(self.alphabet)}


@dataclass(frozen=True)
class Nested(Smiles):
    """Tokens of SMILES that say what is open: a branch its depth, a ring's number whether it begins or ends one.

    The text is the same, and so is what its likelihood is of. Where tokens contradict one another they still are a
    text, mostly no molecule; what a model gives to such sequences is lost to it, so its likelihood never flatters.
    """

    def encode(self, text: str) -> np.ndarray:
        """Tokens int64 (t,) of a SMILES, or of how one begins; ValueError for a token that is not in the alphabet."""
        return self._numbers(cut_nested(text), text)

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(len(bare(t).encode()) for t in self.alphabet)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens, a SMILES or not."""
        return "".join(bare(self.alphabet[t]) for t in tokens)

    def to_json(self) -> dict[str, Any]:
        return {"kind": "nested", "alphabet": list(self.alphabet)}


def cut_nested(smiles: str) -> list[str]:
    """A SMILES as its tokens, branches with their depth and rings with whether they begin (<) or end (>).

    >>> cut_nested("C1CC1(C(C)O)")
    ['C', '1|<', 'C', 'C', '1|>', '(|1', 'C', '(|2', 'C', ')|2', 'O', ')|1']
    """
    found, depth, begun = list[str](), 0, set[int]()
    for token in cut_smiles(smiles):
        if token == "(":
            depth += 1
        if token in "()":
            found.append(f"{token}{STATE}{depth}")
            depth -= token == ")"
        elif token[0] == "%" or token.isdecimal():
            number = int(token.strip("%()"))
            found.append(f"{token}{STATE}{'>' if number in begun else '<'}")
            begun ^= {number}
        else:
            found.append(token)
    return found


def bare(token: str) -> str:
    """What a token is in a SMILES."""
    return token.partition(STATE)[0]


@dataclass(frozen=True)
class Selfies(_Alphabet):
    """Symbols of SELFIES, by ``selfies``: what comes out is the SMILES of the molecule that they mean."""

    alphabet: tuple[str, ...]
    words = "symbols of SELFIES"
    measure = "SELFIES"
    streams = False  # a symbol changes what those after it mean: the beginning of a molecule is not written first

    @property
    def sizes(self) -> tuple[int, ...]:
        return (1,) * len(self.alphabet)

    def encode(self, text: str) -> np.ndarray:
        """Symbols int64 (t,) of the SELFIES of a SMILES; ValueError for one that SELFIES cannot write."""
        return self._numbers(cut_selfies(text), text)

    def decode(self, tokens: Sequence[int]) -> str:
        """The SMILES of some symbols; "" for no molecule."""
        return _selfies().decoder("".join(self.alphabet[t] for t in tokens))

    def to_json(self) -> dict[str, Any]:
        return {"kind": "selfies", "alphabet": list(self.alphabet)}


def cut_selfies(smiles: str) -> list[str]:
    """The symbols of a SMILES's SELFIES; ValueError where it has none, as for some charges and stereo bonds."""
    selfies = _selfies()
    try:
        return list(selfies.split_selfies(selfies.encoder(smiles)))
    except selfies.EncoderError as error:
        why = str(error).strip().splitlines()[-1].strip()
        raise ValueError(f"{smiles!r} has no SELFIES ({why}); take tokens=smiles") from error


def cutter(kind: str | None) -> tuple[Callable[[str], list[str]], type[Smiles] | type[Selfies]]:
    """What cuts a SMILES into tokens of that kind, and the encoding made of an alphabet; None: SMILES."""
    if kind in (None, "smiles"):
        return cut_smiles, Smiles
    if kind == "nested":
        return cut_nested, Nested
    if kind == "selfies":
        _selfies()
        return cut_selfies, Selfies
    raise ValueError(f"no tokens {kind!r} of molecules; expected {KINDS}, or --modality text for others")


def _selfies() -> Any:
    try:
        import selfies
    except ImportError as error:
        raise ImportError("SELFIES need the package selfies: pip install 'simulacra[molecules]'") from error
    return selfies
