"""Arguments become settings, and every fault is one line."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from typing import Protocol

import pytest

from simulacra.cli.parse import parse, positionals, setting


def double(x: int) -> int:
    """Twice."""
    return 2 * x


@dataclasses.dataclass(frozen=True, kw_only=True)
class Times:
    """So many times, then something else."""

    k: int = 3
    then: Callable[[int], int] = double

    def __call__(self, x: int) -> int:
        return self.then(self.k * x)


class Doer(Protocol):
    """Anything that does."""

    def __call__(self, x: int) -> int: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings."""

    n: int = 1
    work: Callable[[int], int] = double
    also: Doer | None = None


KNOWN = {"tests:double": double, "tests:Times": Times}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], Settings()),
        (["--n", "5"], Settings(n=5)),
        (["--work", "Times"], Settings(work=Times())),
        (["--work", "Times(k=2,then=Times(k=9))"], Settings(work=Times(k=2, then=Times(k=9)))),
        (["--also", "double"], Settings(also=double)),
    ],
)
def test_arguments_become_settings(arguments, expected):
    assert parse(Settings, arguments, verb="try", functions=KNOWN) == expected


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--n", "many"], "--n"),
        (["--work", "eval"], "no function 'eval'; expected one of Times, double"),
        (["--work", "Times(j=1)"], "cannot read 'Times\\(j=1\\)'"),
        (["--work", "__import__('os')"], "cannot read"),
        (["--speed", "3"], "--speed"),
        (["--n"], "--n"),
    ],
)
def test_a_fault_is_one_line(arguments, told):
    with pytest.raises(ValueError, match=told) as caught:
        parse(Settings, arguments, verb="try", functions=KNOWN)
    assert "\n" not in str(caught.value)
    assert "simulacra try --help" in str(caught.value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Twin:
    """Shares its name with another setting."""

    k: int = 1


def test_of_several_with_one_name_the_one_that_fits_is_taken_or_the_module_says_which():
    other = dataclasses.make_dataclass("Twin", [("k", int, 2), ("j", int, 0)], frozen=True)
    other.__module__ = "nets.elsewhere"
    known = {"here:Twin": Twin, "nets.elsewhere:Twin": other}
    assert setting("here.Twin(k=5)", known) == Twin(k=5)
    assert setting("elsewhere.Twin", known) == setting("nets.elsewhere.Twin", known) == other()
    assert setting("Twin(j=3)", known) == other(j=3)  # only one of them has this setting
    assert setting("Twin", known, lambda value: isinstance(value, Twin)) == Twin()
    with pytest.raises(ValueError, match=r"several are called that; say which as MODULE\.NAME: .*elsewhere\.Twin"):
        setting("Twin", known)


def test_a_setting_is_looked_up_and_never_evaluated():
    for text in ("open('x')", "(lambda: 1)()", "double.__globals__", "[double for _ in (1,)]"):
        with pytest.raises(ValueError, match="cannot read|no function"):
            setting(text, KNOWN)
    with pytest.raises(ValueError, match="no function 'open'"):
        setting("open()", KNOWN)


def test_missing_positionals_are_named():
    assert positionals(["vae", "digits", "--n", "1"], ("FAMILY", "DATA"), "fit") == (["vae", "digits"], ["--n", "1"])
    with pytest.raises(ValueError, match="fit needs FAMILY DATA; got vae"):
        positionals(["vae", "--n", "1"], ("FAMILY", "DATA"), "fit")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "simulacra", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [["--help"], ["families"], ["data"], ["families", "--json"], ["--version"]])
def test_answers_about_simulacra_itself_do_not_import_torch(arguments):
    code = (
        "import sys\nfrom simulacra.cli.main import main\n"
        f"main({arguments!r})\nassert 'torch' not in sys.modules, 'torch was imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_an_unknown_verb_is_told_in_one_line():
    done = run("dance")
    assert done.returncode == 2
    assert done.stderr.startswith("simulacra: no verb 'dance'; expected one of quickstart, fit")
    assert done.stderr.count("\n") == 1


def test_families_can_what_their_models_can():
    """The list is read from the sources; it must say what the capabilities of a model of each would."""
    from dataclasses import replace

    from simulacra.cli.families import catalogue
    from simulacra.core.capabilities import CAPABILITIES, capabilities
    from simulacra.core.space import Categorical, Classes, Continuous, Space
    from simulacra.modalities.sources import open_data
    from simulacra.recipes.families import FAMILIES

    words = {"Sampler": "draw", "Likelihood": "score", "Decoder": "decode", "Completer": "complete",
             "Critic": "criticise", "Labelled": "labels"}  # fmt: skip
    assert set(words) <= {c.__name__ for c in CAPABILITIES}
    pictures = open_data("digits").train.space
    tokens = Space(fields={"x": Categorical(k=5, shape=(8,))}, y=pictures.y, measure="tokens")
    table = Space(fields={"a": Categorical(k=5), "b": Continuous(low=0, high=1)}, y=pictures.y, measure="columns")
    given = replace(pictures, y=replace(pictures, y=None))
    # families that learn one kind of data alone
    sentence = Categorical(k=5, shape=(8,), varying=True)
    pairs = Space(fields={"target": sentence}, y=Space(fields={"source": sentence}), measure="tokens")
    alone = {
        **dict.fromkeys(("transformer", "sequence_vae"), tokens),
        "seq2seq": pairs,
        "pix2pix": given,
        "cyclegan": replace(pictures, y=Classes(names=("a", "b"))),
        **dict.fromkeys(("any_order", "mixed_diffusion", "table_gan"), table),
    }
    for row in catalogue():
        family = FAMILIES[row["family"]]
        space = alone.get(row["family"], pictures)
        model = family.build(family.recipe(space, 100)[0], space)
        has = {words[c.__name__] for c in capabilities(model) if c.__name__ in words}
        assert has == set(row["can"]) & set(words.values()), row["family"]
