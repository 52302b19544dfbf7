"""The verbs on text: fitted on names, drawn from, continued from a prompt, judged, and a report that shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simulacra.cli.main import main
from simulacra.core.checkpoint import load_tensors
from simulacra.nets.decoder_steps import Recomputed
from simulacra.nets.lora import adapted
from simulacra.runs import load

SMALL = ["--network.depth", "1", "--network.aspect", "16", "--network.head", "8", "--batch", "16"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    names = [f"{a}{b}{c}" for a in "abcde" for b in "aeiou" for c in ("", "n", "la", "ré")]
    (folder / "names.txt").write_text("\n".join(names) + "\n")
    (folder / "prose.txt").write_text("\n\n".join(f"Line {i} of what goes on & on <and> on." for i in range(80)))
    for what, more in (("names", []), ("prose", ["--block", "16", "--tokens", "bytes"])):
        out = ["--out", f"{folder}/{what}", "--steps", "4"]
        main(["fit", "transformer", f"{folder}/{what}.txt", *SMALL, *more, *out])
    return folder


def test_names_are_written_one_a_line(capsys, runs, tmp_path):
    main(["sample", f"{runs}/names", "-n", "20", "--out", f"{tmp_path}/names.txt"])
    assert "20 texts" in (said := capsys.readouterr().out)
    assert "a second" in said
    assert len((tmp_path / "names.txt").read_text().split("\n")) == 21
    main(["sample", f"{runs}/names", "-n", "7", "--out", f"{tmp_path}/few.txt"])
    few = (tmp_path / "few.txt").read_text().splitlines()
    assert (tmp_path / "names.txt").read_text().splitlines()[:7] == few


def test_a_prompt_is_gone_on_from(capsys, runs):
    main(["sample", f"{runs}/prose", "--prompt", "Line 3", "--tokens", "40", "--temperature", "0.5"])
    told = capsys.readouterr()
    assert told.out.startswith("Line 3")
    assert "40 tokens" in told.err
    main(["sample", f"{runs}/prose", "--prompt", "Line 3 of what goes on", "--tokens", "3"])
    assert "the prompt has 22 tokens and this model sees 15 at most" in capsys.readouterr().err
    main(["sample", f"{runs}/names", "--prompt", "a", "-n", "3"])
    assert all(line.startswith("a") for line in capsys.readouterr().out.splitlines())


def test_a_run_of_text_is_tuned_by_adapters_of_its_attention(capsys, runs, tmp_path):
    """Tuned on names it takes over its parent's vocabulary; drawing token by token heeds the adapters."""
    more = ["--from", f"{runs}/names", "--adapter", "LoRA(rank=2)", "--steps", "3", "--no-report"]
    main(["fit", "transformer", f"{runs}/names.txt", *more, "--out", f"{tmp_path}/tuned"])
    assert "numbers learn beside them" in capsys.readouterr().out
    kept = load_tensors(tmp_path / "tuned" / "model.safetensors")
    adapters = {adapted(name.partition("/")[2]) for name in kept} - {None}
    assert adapters == {f"network.blocks.0.attention.{part}.weight" for part in ("inward", "outward")}
    tuned, parent = (load(path).model for path in (tmp_path / "tuned", runs / "names"))
    inward = lambda model: model.network.blocks[0].attention.inward.weight  # noqa: E731
    assert not inward(tuned).equal(inward(parent))
    assert tuned.network.blocks[0].dense.inward.weight.equal(parent.network.blocks[0].dense.inward.weight)
    for model in (tuned, parent):
        assert model.sample(8, rng=1).x.equal(model.sample(8, rng=1, along=Recomputed).x)


def test_figures_are_of_bytes_and_texts(capsys, runs, tmp_path):
    main(["evaluate", f"{runs}/names", "--json"])
    figures = {f["name"]: f for f in json.loads(capsys.readouterr().out)}
    assert figures["bits per byte"]["kind"] == "exact"
    assert figures["perplexity a token"]["value"] < 20
    assert "self-BLEU of characters" in figures
    main(["sample", f"{runs}/names", "-n", "20", "--out", f"{tmp_path}/names.txt"])
    main(["evaluate", f"{tmp_path}/names.txt", "--real", f"{runs}/names.txt"])
    assert "self-BLEU" in capsys.readouterr().out


def test_runs_of_text_are_judged_against_other_texts(capsys, runs, tmp_path):
    """What a run draws for a seed is judged as the same texts read from a file are."""
    capsys.readouterr()
    main(["evaluate", f"{runs}/names", "--real", f"{runs}/names.txt", "-n", "20", "--json"])
    of_run = json.loads(capsys.readouterr().out)
    main(["sample", f"{runs}/names", "-n", "20", "--out", f"{tmp_path}/drawn.txt"])
    capsys.readouterr()
    main(["evaluate", f"{tmp_path}/drawn.txt", "--real", f"{runs}/names.txt", "--json"])
    of_file = json.loads(capsys.readouterr().out)
    value = lambda figures: {f["name"]: f["value"] for f in figures}  # noqa: E731
    assert value(of_run) == value(of_file)
    with pytest.raises(SystemExit):
        main(["evaluate", "math:sqrt", "--real", f"{runs}/names.txt"])
    assert "is a function, and texts are read from files" in capsys.readouterr().err


def test_the_report_shows_texts_and_surprise(runs):
    page = (runs / "prose" / "report.html").read_text()
    assert "&lt;and&gt;" in page
    assert '<span class="b' in page
    assert ' bits">' in page
    assert (runs / "names" / "samples" / "step-0000004.txt").is_file()


def test_a_text_is_scored_after_another(capsys, runs):
    """log p of a whole text is that of its beginning and of what follows."""
    capsys.readouterr()
    found = {}
    for text, more in (("anla", []), ("an", ["--no-ends"]), ("la", ["--prompt", "an"])):
        main(["score", f"{runs}/names", text, "--json", *more])
        found[text] = json.loads(capsys.readouterr().out)
    assert found["anla"]["tokens"] == 5
    assert found["anla"]["log_prob"] == pytest.approx(found["an"]["log_prob"] + found["la"]["log_prob"], abs=1e-4)
    main(["score", f"{runs}/prose", "Line 3 of what goes on & on and on"])
    said = capsys.readouterr()
    assert "this model sees 16: each is given between 8 and 15 before it" in said.err
    assert "34 tokens, 34 bytes" in said.out


def test_what_stands_between_is_drawn(capsys, runs, tmp_path):
    capsys.readouterr()
    out = tmp_path / "drawn.txt"
    main(["sample", f"{runs}/names", "--prompt", "a", "--suffix", "la", "-n", "4", "--draws", "8", "--out", f"{out}"])
    said = capsys.readouterr()
    texts = said.out.splitlines()
    assert len(texts) == 4
    assert all(t.startswith("a") and t.endswith("la") for t in texts)
    assert out.read_text().splitlines() == texts
    assert "8 middles drawn, worth" in said.err


def test_a_runs_text_is_tuned_on_in_its_own_tokens(capsys, runs, tmp_path):
    (tmp_path / "other.txt").write_text("\n".join(f"{a}{b}n" for a in "abcd" for b in "aeiou") + "\n")
    main(["fit", "transformer", f"{tmp_path}/other.txt", "--from", f"{runs}/names", "--steps", "1", "--batch", "4",
          "--no-report", "--out", f"{tmp_path}/tuned"])  # fmt: skip
    assert load(tmp_path / "tuned").encoding == load(runs / "names").encoding


def test_a_runs_encoding_is_its_own(runs):
    run = load(runs / "names")
    assert run.encoding.decode(run.encoding.encode("anré").tolist()) == "anré"
    path = runs / "names" / "space" / "encoding.json"
    before = path.read_text()
    path.write_text(before.replace("a", "b"))
    with pytest.raises(ValueError, match="is not the file that was written"):
        _ = run.encoding
    path.write_text(before)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["sample", "{}/names", "--prompt", "x!"], "the character 'x' at place 0 is not among"),
        (["sample", "{}/names", "--out", "a.png"], "texts are written as .txt"),
        (["sample", "{}/names", "--prompt", "a" * 9, "--suffix", "n"], "this model sees 4; give less"),
        (["score", "{}/names", "a" * 9], "texts of up to 4 tokens; got 9"),
        (["score", "{}/prose", ""], "an empty text has nothing to score"),
        (["score", "{}/names", "x!"], "the character 'x' at place 0 is not among"),
        (["fit", "transformer", "{}/prose.txt", "--tokens", "words", "--out", "{}/no"], "no tokens 'words'"),
        (["fit", "transformer", "digits", "--out", "{}/no"], "one sequence of categories"),
        (["fit", "gan", "{}/names.txt", "--out", "{}/no"], "'text' is categorical"),
    ],
)
def test_mistakes_are_told_in_one_line(capsys, runs, arguments, part):
    with pytest.raises(SystemExit) as caught:
        main([a.format(runs) for a in arguments])
    error = capsys.readouterr().err
    assert caught.value.code == 2, error
    assert part in error
    assert error.count("\n") == 1
