"""A run of pairs from the command line: fitted, judged with sacreBLEU, and asked for translations."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from simulacra.cli.main import main
from simulacra.runs import load

WORDS = {"eins": "one", "zwei": "two", "drei": "three", "vier": "four"}
SMALL = ["--network.depth", "1", "--network.aspect", "32", "--network.head", "8", "--batch", "16"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run that has seen a few steps of counting words."""
    pytest.importorskip("sacrebleu")
    folder = tmp_path_factory.mktemp("pairs")
    pairs = [(f"{a} {b}", f"{WORDS[a]} {WORDS[b]}") for a in WORDS for b in WORDS]
    for part, some in (("train", pairs), ("test", pairs[::4])):
        for side, language in enumerate(("de", "en")):
            (folder / f"{part}.{language}").write_text("".join(f"{pair[side]}\n" for pair in some))
    out = folder / "run"
    fitted = ["fit", "seq2seq", str(folder), "--languages", "de-en", "--tokens", "bpe:280", "--steps", "3"]
    main([*fitted, *SMALL, "--out", str(out)])
    return out


def told(arguments, capsys) -> str:
    capsys.readouterr()
    main(arguments)
    return capsys.readouterr().out


def test_a_report_shows_translations_and_where_they_look(run):
    page = (run / "report.html").read_text()
    assert "eins eins \u2192 " in page
    assert "data:image/png" in page
    names = [figure["name"] for figure in json.loads((run / "figures.json").read_text())]
    assert {"sacreBLEU", "chrF2", "bits per byte"} <= set(names)


def test_evaluating_tells_bleu_with_its_signature(run, capsys):
    figures = json.loads(told(["evaluate", str(run), "--json"], capsys))
    bleu = next(figure for figure in figures if figure["name"] == "sacreBLEU")
    assert bleu["n"] == 4
    assert "tok:13a" in bleu["extractor"]
    assert "beam of 5" in bleu["note"]


def test_a_sentence_a_file_and_standard_input_are_translated_alike(run, capsys, tmp_path, monkeypatch):
    one = told(["translate", str(run), "zwei drei"], capsys)
    file = tmp_path / "in.txt"
    file.write_text("zwei drei\n\nzwei drei\n")
    assert told(["translate", str(run), str(file)], capsys) == f"{one}\n{one}"
    monkeypatch.setattr("sys.stdin", io.StringIO("zwei drei\n\nzwei drei\n"))
    assert told(["translate", str(run), "-"], capsys) == f"{one}\n{one}"
    out = tmp_path / "out.txt"
    assert "4 translations" in told(["translate", str(run), "held-out", "--out", str(out)], capsys)
    assert len(out.read_text().split("\n")) == 5
    greedy = told(["translate", str(run), "zwei drei", "--width", "1"], capsys)
    assert greedy == told(["translate", str(run), "zwei drei", "--temperature", "0"], capsys)


def test_a_sentence_that_no_path_could_be_is_a_sentence(run, capsys):
    """More bytes than a file's name may have, fewer letters."""
    try:
        said = told(["translate", str(run), "\u00e4" * 200], capsys)
    except SystemExit:
        said = capsys.readouterr().err
    assert said
    assert "name too long" not in said


def test_where_it_looks_is_a_picture(run, capsys, tmp_path):
    out = tmp_path / "look.png"
    told(["translate", str(run), "zwei drei", "--attention", str(out)], capsys)
    assert Image.open(out).width > 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([" "], "there is no sentence to translate"),
        (["zwei " * 5_000], "the sentence has"),
        (["zwei", "--width", "0"], "a beam has at least one lane"),
    ],
)
def test_faults_are_one_line(run, arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["translate", str(run), *arguments])
    assert caught.value.code == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said


def test_sample_draws_for_a_sentence(run):
    batch = load(run).sample(3, y="zwei drei")
    assert len(batch.x) == 3
