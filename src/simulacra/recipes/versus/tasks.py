"""The data sets of the experiment: scikit-learn's own, and Adult, COMPAS, names, MNIST where they are at hand."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Continuous
from simulacra.evaluation.versus.task import Task
from simulacra.modalities.sources import open_data

INK = 0.4  # grey level from which a pixel of a halved picture counts as black
ADULT = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship", "race",
    "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income",
)  # fmt: skip
VOWELS = "aeiou"


def data_folder() -> Path | None:
    """The folder that SIMULACRA_DATA names; None where there is none."""
    given = os.environ.get("SIMULACRA_DATA")
    return Path(given) if given and Path(given).is_dir() else None


# -- scikit-learn's ---------------------------------------------------------------------------------------------------


def iris() -> Task:
    """Three kinds of iris by four lengths."""
    return _of_sklearn("iris", "iris", "kind of iris by lengths of petals and sepals (Fisher 1936)")


def wine() -> Task:
    """Three growers of wine by thirteen chemical measures."""
    return _of_sklearn("wine", "wine", "grower of a wine by chemical analysis (UCI)")


def breast_cancer() -> Task:
    """Malignant or benign by thirty measures of cell nuclei."""
    return _of_sklearn(
        "breast_cancer", "breast cancer", "malignant or benign by measures of cell nuclei (UCI, Wisconsin)"
    )


def digits() -> Task:
    """Ten digits, 8x8, 17 grey levels as numbers."""
    return _of_sklearn("digits", "digits, grey", "which of ten digits, 64 grey pixels as numbers (UCI)")


def digits_binary() -> Task:
    """Ten digits, 8x8, black and white."""
    task = digits()
    return replace(
        task,
        name="digits, binary",
        x=(task.x >= 8).double(),
        columns=(2,) * task.x.shape[1],
        what="which of ten digits, 64 black and white pixels",
    )


def diabetes() -> Task:
    """Progression of diabetes above or below its median, by ten measures."""
    from sklearn.datasets import load_diabetes

    found: Any = load_diabetes()
    x, target = torch.from_numpy(found.data).double(), torch.from_numpy(found.target)
    return Task(
        name="diabetes",
        x=x,
        y=(target > target.median()).long(),
        classes=("slow", "fast"),
        columns=(0,) * x.shape[1],
        what="progression within a year above its median, by ten measures (Efron et al. 2004)",
    )


def _of_sklearn(loader: str, name: str, what: str) -> Task:
    from sklearn import datasets

    found = getattr(datasets, f"load_{loader}")()
    x = torch.from_numpy(found.data).double()
    return Task(
        name=name,
        x=x,
        y=torch.from_numpy(found.target).long(),
        classes=tuple(map(str, found.target_names)),
        columns=(0,) * x.shape[1],
        what=what,
    )


# -- tables -----------------------------------------------------------------------------------------------------------


def adult(folder: Path) -> Task:
    """Whether somebody earned more than 50,000 dollars in 1994, by twelve columns of the census.

    fnlwgt is a weight of the survey and education the words of education-num: both are left out. Gains and losses are
    nought for nine in ten; they are categories: nought, and thirds of the rest.
    """
    rows: list[list[str]] = []
    for part in ("train", "test"):
        with (folder / "tables" / f"adult.{part}.csv").open(newline="") as file:
            rows += [[cell.strip() for cell in row] for row in csv.reader(file) if len(row) == len(ADULT)]
    columns = dict(zip(ADULT, zip(*rows, strict=True), strict=True))
    table = {name: _numbers(columns[name]) for name in ("age", "education-num", "hours-per-week")}
    table |= {name: _peaked(_numbers(columns[name])[0]) for name in ("capital-gain", "capital-loss")}
    words = ("workclass", "marital-status", "occupation", "relationship", "race", "sex", "native-country")
    table |= {name: _categories(columns[name]) for name in words}
    y = torch.tensor([cell.startswith(">") for cell in columns["income"]]).long()
    return _table("Adult", table, y, ("at most 50K", "over 50K"), "income over 50,000 dollars, census of 1994 (UCI)")


def compas(folder: Path) -> Task:
    """Whether a defendant was charged again within two years: ProPublica's records, without COMPAS' scores."""
    with (folder / "tables" / "compas-scores-two-years.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    column = {name: [row[name] for row in rows] for name in rows[0]}
    table = {"age": _numbers(column["age"])}
    table["priors"] = (_numbers(column["priors_count"])[0].log1p(), 0)  # counts, from 0 to 38
    for name in ("juv_fel_count", "juv_misd_count", "juv_other_count"):
        table[name] = (_numbers(column[name])[0].clamp(max=2), 3)
    table |= {name: _categories(column[name]) for name in ("sex", "race", "c_charge_degree")}
    y = _numbers(column["two_year_recid"])[0].long()
    return _table("COMPAS", table, y, ("no", "yes"), "charged again within two years (ProPublica 2016), without scores")


Column = tuple[Tensor, int]  # values, and how many categories they are, 0 for numbers


def _table(name: str, table: dict[str, Column], y: Tensor, classes: tuple[str, ...], what: str) -> Task:
    x = torch.stack([values.double() for values, _ in table.values()], dim=1)
    return Task(name=name, x=x, y=y, classes=classes, columns=tuple(k for _, k in table.values()), what=what)


def _numbers(cells: Sequence[str]) -> Column:
    return torch.tensor([float(c) for c in cells], dtype=torch.float64), 0


def _categories(cells: Sequence[str]) -> Column:
    known = {c: i for i, c in enumerate(sorted(set(cells)))}
    return torch.tensor([known[c] for c in cells]), len(known)


def _peaked(values: Tensor) -> Column:
    """Numbers most of which are nought as four categories: nought, and thirds of the rest."""
    edges = values[values > 0].quantile(torch.tensor([1 / 3, 2 / 3], dtype=values.dtype))
    return (values > 0).long() + (values > edges[0]).long() + (values > edges[1]).long(), 4


def names(folder: Path) -> Task:
    """Whether a first name ends in a vowel, told from the four letters before, the first, and how many."""
    known = sorted({line.strip() for line in (folder / "text" / "names.txt").read_text().splitlines()})
    known = [name for name in known if len(name) >= 3]
    number = {c: i + 1 for i, c in enumerate("abcdefghijklmnopqrstuvwxyz")}
    rows = [[*(number[c] for c in name[-5:-1].rjust(4)[:4] if c != " ")] for name in known]
    letters = [[0] * (4 - len(row)) + row for row in rows]
    table = {f"letter {4 - j} before": (torch.tensor([row[j] for row in letters]), 27) for j in range(4)}
    table["first"] = (torch.tensor([number[name[0]] for name in known]), 27)
    table["length"] = (torch.tensor([float(len(name)) for name in known]), 0)
    y = torch.tensor([name[-1] in VOWELS for name in known]).long()
    return _table("names", table, y, ("consonant", "vowel"), "whether a first name's hidden last letter is a vowel")


# -- pictures ---------------------------------------------------------------------------------------------------------


def mnist(name: str = "mnist") -> Task:
    """Ten classes of pictures, halved to 14x14, black and white."""
    data = open_data(name)
    assert isinstance(data.train, Stored)
    stored, y = data.train.x, data.train.y
    assert isinstance(stored, Tensor)
    assert isinstance(y, Tensor)
    grey = stored.float().div(255)  # kept as numbers of levels
    x = (torch.nn.functional.avg_pool2d(grey, 2) > INK).float()
    return Task(
        name={"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}[name],
        x=x,
        y=y.long(),
        classes=data.train.space.classes.names,
        field=Continuous(low=0.0, high=1.0, levels=2, shape=(1, 14, 14)),
        what="which of ten classes, pictures halved to 14x14, black and white",
    )


def pair(task: Task, one: int, two: int, name: str) -> Task:
    """Two classes of pictures as a table of black and white pixels."""
    there = (task.y == one) | (task.y == two)
    x = task.x[there].flatten(1).double()
    classes = (task.classes[one], task.classes[two])
    return Task(
        name=name,
        x=x,
        y=(task.y[there] == two).long(),
        classes=classes,
        columns=(2,) * x.shape[1],
        what=f"{classes[0]} or {classes[1]}, {x.shape[1]} black and white pixels",
    )


def digits_pictures() -> Task:
    """The built-in digits as black and white pictures."""
    task = digits_binary()
    field = Continuous(low=0.0, high=1.0, levels=2, shape=(1, 8, 8))
    return replace(task, name="digits", x=task.x.view(-1, 1, 8, 8).float(), columns=(), field=field)


# -- texts ------------------------------------------------------------------------------------------------------------

LETTERS = "abcdefghijklmnopqrstuvwxyz "
SOURCES = (("Shakespeare", "tinyshakespeare.txt"), ("Wikipedia", "wikitext2.valid.txt"), ("names", "names.txt"))


def sources(folder: Path, length: int = 16) -> Task:
    """Short strings of Shakespeare, of Wikipedia and of first names, each equally often: which is it from?

    All are brought to small letters and single spaces, so that no sign and no capital gives a source away.
    """
    parts = [(folder / "text" / file).read_text(encoding="utf-8") for _, file in SOURCES]
    parts[2] = "\n".join(sorted(parts[2].split(), key=lambda name: hash_of(name)))  # by frequency otherwise
    return of_texts([name for name, _ in SOURCES], parts, length)


def of_texts(classes: Sequence[str], texts: Sequence[str], length: int) -> Task:
    """Strings of so many letters cut from texts, equally many of each."""
    cut = [_cut(text, length) for text in texts]
    least = min(map(len, cut))
    x = torch.cat([rows[torch.linspace(0, len(rows) - 1, least).long()] for rows in cut])
    return Task(
        name="texts",
        x=x,
        y=torch.arange(len(cut)).repeat_interleave(least),
        classes=tuple(classes),
        field=Categorical(k=len(LETTERS), shape=(length,)),
        what=f"which source a string of {length} letters is cut from",
    )


def hash_of(text: str) -> str:
    """An order that has nothing to do with what is ordered."""
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def _cut(text: str, length: int) -> Tensor:
    number = {c: i for i, c in enumerate(LETTERS)}
    plain = " ".join("".join(c if c in number else " " for c in text.lower()).split())
    codes = torch.tensor([number[c] for c in plain])
    return codes[: len(codes) // length * length].view(-1, length)


# -- a world whose best classifier is known ---------------------------------------------------------------------------


def two_gaussians(features: int, apart: float = 0.5, n: int = 6_000, seed: int = 0) -> Task:
    """Two normal classes of unit variance, ``apart`` in every feature: naive Bayes is right, and so is a regression.

    The least error is Phi(-sqrt(features) apart / 2), the share beyond the hyperplane half-way between the means.
    """
    rng = Rng(seed)("two Gaussians", features)
    y = (torch.arange(n) % 2).long()
    sign = (2 * y - 1)[:, None].double()
    x = sign * apart / 2 + rng("x").normal((n, features), dtype=torch.float64)
    least = 0.5 * torch.special.erfc(torch.tensor(features**0.5 * apart / 2 / 2**0.5, dtype=torch.float64))
    return Task(
        name=f"two Gaussians, {features} features",
        x=x,
        y=y,
        classes=("left", "right"),
        columns=(0,) * features,
        what=f"two normal classes {apart:g} standard deviations apart in each of {features} features",
        asymptote=float(least),
    )


OWN: tuple[Callable[[], Task], ...] = (iris, wine, breast_cancer, diabetes, digits, digits_binary)


def own() -> list[Task]:
    """The data sets that scikit-learn carries."""
    return [make() for make in OWN]


def at_hand(folder: Path | None) -> list[Task]:
    """The data sets of SIMULACRA_DATA that are tables, or pairs of classes of pictures."""
    if folder is None:
        return []
    digits_, clothes = mnist(), mnist(name="fashion-mnist")
    return [
        adult(folder),
        compas(folder),
        names(folder),
        pair(digits_, 4, 9, "MNIST, 4 or 9"),
        pair(digits_, 3, 5, "MNIST, 3 or 5"),
        pair(clothes, 0, 6, "Fashion-MNIST, T-shirt or shirt"),
    ]
