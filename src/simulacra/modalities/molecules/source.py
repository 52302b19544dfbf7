"""Molecules from what a person says, ready to learn from: a known name, a .smi, a .csv with a column of SMILES."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simulacra.core.batch import Batch, Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Space
from simulacra.modalities import recognise
from simulacra.modalities.loaded import Loaded
from simulacra.modalities.molecules.chemistry import atoms, kekule, spelt
from simulacra.modalities.molecules.reading import Molecules, is_molecules, read_molecules
from simulacra.modalities.molecules.tokens import bare, cutter
from simulacra.modalities.names import KNOWN
from simulacra.modalities.reading import named
from simulacra.modalities.split import enough
from simulacra.modalities.text import split_texts
from simulacra.modalities.tokens import Encoding

LONGEST = 256  # tokens of a molecule that is learnt from unless somebody says
SPELLINGS = ("canonical", "random", "kekule")
ROOM = 1.25  # random spellings have more branches than canonical ones, so more tokens
TRIED = 3  # random spellings of each molecule whose tokens are in the alphabet


@dataclass(frozen=True)
class Respelling:
    """Each molecule of a batch in an order of its own, afresh every time; as it was where that has no tokens, or is
    too long: an augmentation (Bjerrum 2017).
    """

    encoding: Encoding

    def __call__(self, batch: Batch, rng: Rng) -> Batch:
        """Tokens of other SMILES of the same molecules."""
        assert isinstance(batch.x, Tensor)
        assert batch.length is not None
        x, length = batch.x.clone(), batch.length.clone()
        order = rng("spelling").uniform(tuple(x.shape)).numpy()
        for i, (row, m) in enumerate(zip(batch.x.tolist(), batch.length.tolist(), strict=True)):
            smiles = self.encoding.decode(row[:m])
            try:
                tokens = self.encoding.encode(spelt(smiles, order[i]))
            except ValueError:
                continue
            if len(tokens) <= x.shape[1]:
                x[i] = torch.from_numpy(np.pad(tokens, (0, x.shape[1] - len(tokens))))
                length[i] = len(tokens)
        return Batch(x=x, y=batch.y, known=batch.known, length=length)


def molecules_path(name: str, modality: str | None) -> Path | None:
    """Where molecules lie that a name means, known or by its path; None for anything else."""
    known = KNOWN.get(name)
    if known is not None:
        mine = known.modality == "molecules" and modality in (None, "molecules")
        return recognise.find(name, known) if mine else None
    try:
        found = recognise.find(name, None)
    except ValueError:
        if modality == "molecules":
            raise
        return None  # a built-in name, or a mistake that is told where all else is read
    if modality == "molecules" and (found is None or not found.is_file()):
        raise ValueError(f"{name}: molecules are read from a file; expected the path of a .smi or a .csv")
    return found if found is not None and (modality == "molecules" or (modality is None and is_molecules(found))) else (
        None
    )  # fmt: skip


def molecules(name: str, path: Path, choices: Mapping[str, Any], held_out: float | None, skip: float) -> Loaded:
    """Molecules of a file or a known name, split, encoded and described.

    choices  tokens: "smiles", "nested" or "selfies"; block: the most tokens a molecule may have; spelling: "canonical",
             "random" for another SMILES of the same molecule every time one is learnt from, or "kekule" for aromatic
             rings as single and double bonds in turn.
    """
    known = KNOWN.get(name)
    if known is None:
        read, label, test = read_molecules(path, skip=skip), path.name, None
    else:
        if lacking := [file for file in known.files if not (path / file).is_file()]:
            raise ValueError(f"{name}: {lacking[0]} is not in {path}; {known.by_hand}")
        read, *rest = (read_molecules(path / file, skip=skip) for file in known.files)
        label, test = name, rest[0] if rest else None
    return _opened(read, test, label, held_out, **choices)


def _opened(
    read: Molecules,
    test: Molecules | None,
    name: str,
    share: float | None,
    *,
    tokens: str | None = None,
    block: int | None = None,
    spelling: str | None = None,
) -> Loaded:
    if spelling not in (None, *SPELLINGS):
        raise ValueError(f"no spelling {spelling!r} of molecules; expected {' or '.join(SPELLINGS)}")
    random = spelling == "random"
    if spelling is not None and tokens == "selfies":
        raise ValueError("spellings are of SMILES; leave the spelling out, or take tokens=smiles")
    said, options = list(read.notes), dict[str, Any]()
    if test is not None:
        parts = [read.smiles, test.smiles]
        if shared := len(set(parts[0]) & set(parts[1])):
            said.append(f"{shared:,} molecules are in both parts, as they were published")
    else:
        if len(read.smiles) < 2:
            raise ValueError(f"{name}: one molecule cannot be split into a part to learn and one to judge; give more")
        share = enough(len(read.smiles)) if share is None else share
        options["held_out"] = share
        parts = split_texts(read.smiles, share, name)
    cut, make = cutter(tokens)
    if kekulised := spelling == "kekule":
        parts = [[kekule(smiles) for smiles in part] for part in parts]
    rows = [_cut(part, cut, said) for part in parts]
    seen = [token for row in rows[0] for token in row]
    if random:
        seen += _of_random(rows[0], cut)
    encoding = make(tuple(sorted(set(seen))))
    most = block or min(LONGEST, int(max(map(len, rows[0])) * (ROOM if random else 1)))
    numbers = [_fitting(part, encoding, most, said) for part in rows]
    if not all(numbers):
        raise ValueError(f"{name}: no molecule of at most {most} tokens on one side of the split; give a larger block")
    # other texts than the canonical ones: their likelihoods are not to be compared
    space = _space(encoding, most, "bytes of Kekule SMILES" if kekulised else encoding.measure)
    change = Respelling(encoding) if random else None
    train = _stored(numbers[0], space, name, change)
    held = _stored(numbers[1], space, f"{name} ({'test' if test is not None else 'held out'})", None)
    kept = "the official test split" if test is not None else "by content hash"
    spelt_so = ", spelt afresh in every batch" if random else ", rings as bonds in turn" if kekulised else ""
    first = (
        f"{len(train) + len(held):,} molecules of up to {most} of {len(encoding.sizes)} {encoding.words}{spelt_so};"
        f" {len(held):,} held out, {kept}"
    )
    return Loaded(train=train, held_out=held, modality="molecules", notes=(first, *said), options=options,
                  encoding=encoding)  # fmt: skip


def _cut(smiles: Sequence[str], cut: Callable[[str], list[str]], said: list[str]) -> list[list[str]]:
    """Molecules as tokens; those that have none are left out, and that is said."""
    found, lost = list[list[str]](), list[str]()
    for text in smiles:
        try:
            found.append(cut(text))
        except ValueError as error:
            lost.append(str(error))
    if lost:
        said.append(f"left out {len(lost):,} molecules that cannot be written so: {named(lost)}")
    return found


def _of_random(rows: Sequence[Sequence[str]], cut: Callable[[str], list[str]]) -> list[str]:
    """Tokens of some other spellings: chirality and rings are written otherwise when begun elsewhere."""
    found = list[str]()
    for i, row in enumerate(rows):
        smiles = "".join(map(bare, row))
        if "[" not in smiles and i % 10:
            continue  # only ring numbers may be new, and those are soon seen
        for draw in range(TRIED):
            order = Rng(0)("alphabet", draw).rows(i).uniform((1, max(1, atoms(smiles))))[0].numpy()
            found += cut(spelt(smiles, order))
    return found


def _fitting(rows: Sequence[Sequence[str]], encoding: Any, most: int, said: list[str]) -> list[np.ndarray]:
    """Rows as numbers; those too long, or with tokens that are not learned from, are left out, and that is said."""
    number = {token: i for i, token in enumerate(encoding.alphabet)}
    strange = [row for row in rows if any(t not in number for t in row)]
    if strange:
        tokens = sorted({t for row in strange for t in row if t not in number})
        said.append(
            f"left out {len(strange):,} held-out molecules with tokens that none to learn from has: {named(tokens)}"
        )
    known = [np.array([number[t] for t in row], np.int64) for row in rows if all(t in number for t in row)]
    long = [len(row) for row in known if len(row) > most]
    if long:
        said.append(f"left out {len(long):,} molecules of more than {most} tokens, the longest of {max(long):,}")
    return [row for row in known if len(row) <= most]


def _space(encoding: Any, most: int, measure: str) -> Space:
    sizes = encoding.sizes
    f = Categorical(
        k=len(sizes),
        shape=(most,),
        varying=True,
        names=encoding.alphabet,
        sizes=None if set(sizes) == {1} else sizes,
    )
    return Space(fields={"molecule": f}, measure=measure)


def _stored(rows: Sequence[np.ndarray], space: Space, name: str, change: Respelling | None) -> Stored:
    x = torch.zeros(len(rows), *space.only.shape, dtype=torch.int64)
    for i, row in enumerate(rows):
        x[i, : len(row)] = torch.from_numpy(row)
    return Stored(space=space, x=x, length=torch.tensor([len(row) for row in rows]), name=name, change=change)
