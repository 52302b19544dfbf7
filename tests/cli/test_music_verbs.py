"""The verbs on music: fitted, drawn as MIDI, sound and rolls, judged, reported; nothing that is drawn is dropped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("symusic")

from simulacra.cli.main import main
from simulacra.core.randomness import Rng
from simulacra.modalities.music.frames import as_tune, frames_of
from simulacra.modalities.music.midi import read_midi, write_midi
from simulacra.modalities.music.tunes import Note, Tune
from simulacra.runs import load

SMALL = ["--network.depth", "1", "--network.aspect", "16", "--network.head", "8", "--batch", "16", "--steps", "4"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for i in range(16):
        pitches = Rng(i)("pitch").integers(12, (8,)).tolist()
        notes = tuple(
            Note(start=12 * j, program=0, pitch=60 + p, duration=12, velocity=92) for j, p in enumerate(pitches)
        )
        write_midi(Tune(notes=notes, bars=(48, 48)), folder / "tunes" / f"{i}.mid")
    main(["fit", "transformer", f"{folder}/tunes", *SMALL, "--block", "40", "--out", f"{folder}/run"])
    return folder


def test_whatever_is_drawn_is_written_and_read_without_loss(capsys, runs, tmp_path):
    run = load(runs / "run")
    tunes = run.tunes(run.sample(6, seed=0))  # would raise for anything that is no tune
    main(["sample", f"{runs}/run", "-n", "6", "--out", f"{tmp_path}/drawn"])
    assert "none dropped" in capsys.readouterr().out
    files = sorted((tmp_path / "drawn").iterdir())
    assert len(files) == 6
    kept = [(t, f) for t, f in zip(tunes, files, strict=True) if t.notes]
    assert kept
    assert all(read_midi(f).tune == t for t, f in kept)
    main(["sample", f"{runs}/run", "-n", "6", "--out", f"{tmp_path}/a.mid"])
    assert (tmp_path / "a-3.mid").read_bytes() == (tmp_path / "drawn" / "3.mid").read_bytes()


def test_sound_and_picture(runs, tmp_path):
    main(["sample", f"{runs}/run", "-n", "4", "--out", f"{tmp_path}/a.wav"])
    assert (tmp_path / "a.wav").read_bytes()[:4] == b"RIFF"
    main(["sample", f"{runs}/run", "-n", "4", "--out", f"{tmp_path}/a.png"])
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_is_judged_and_its_page_can_be_heard(capsys, runs):
    capsys.readouterr()
    main(["evaluate", f"{runs}/run", "-n", "12", "--json"])
    found = {f["name"]: f for f in json.loads(capsys.readouterr().out)}
    assert found["negative log-likelihood of events of music"]["kind"] == "exact"
    assert 0 <= found["overlapping area"]["value"] <= 1
    page = (runs / "run" / "report.html").read_text()
    assert page.count("data:audio/wav") == 2
    assert page.count("data:image/png") >= 2
    main(["evaluate", f"{runs}/tunes", "--real", f"{runs}/tunes", "--json"])
    assert json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["sample", "{}/run", "--out", "a.pdf"], "tunes are written as .mid"),
        (["sample", "{}/run", "--prompt", "c"], "c: no MIDI that can be read"),
        (["impute", "{}/run", "{}/tunes/0.mid"], "impute of a tune needs a Completer"),
        (["fit", "transformer", "{}/tunes/0.mid", "--out", "{}/no"], "one tune cannot be split"),
        (["evaluate", "math:sqrt", "--real", "{}/tunes"], "tunes are read from files"),
        (["evaluate", "{}/tunes", "--real", "{}/tunes", "--tasks"], "--tasks on tunes is of a run"),
        (["evaluate", "{}/run", "--tasks"], "a task needs at least 20 sequences; there are"),
    ],
)
def test_mistakes_are_told_in_one_line(capsys, runs, arguments, part):
    with pytest.raises(SystemExit) as caught:
        main([a.format(runs) for a in arguments])
    error = capsys.readouterr().err
    assert caught.value.code == 2, error
    assert part in error
    assert error.count("\n") == 1


def test_frames_of_keys_are_learnt_drawn_and_judged(capsys, tmp_path):
    parts = {p: [[[40 + i, 50 + (i * j) % 20] for j in range(1, 6)] for i in range(n)]
             for p, n in (("train", 12), ("test", 6))}  # fmt: skip
    (tmp_path / "frames.json").write_text(json.dumps(parts))
    main(["fit", "transformer", f"{tmp_path}/frames.json", *SMALL, "--transpose", "3", "--no-report",
          "--out", f"{tmp_path}/run"])  # fmt: skip
    main(["sample", f"{tmp_path}/run", "-n", "5", "--out", f"{tmp_path}/drawn"])
    assert "none dropped" in capsys.readouterr().out
    main(["evaluate", f"{tmp_path}/run", "--json"])
    found = {f["name"]: f for f in json.loads(capsys.readouterr().out)}
    assert found["negative log-likelihood a frame"]["unit"] == "nats"
    assert found["negative log-likelihood a frame"]["kind"] == "exact"
    assert "overlapping area" in found


def test_a_tune_goes_on_from_its_file(capsys, runs, tmp_path):
    """What was there comes back note by note, and something follows it; the same seed, the same tune."""
    main(["sample", f"{runs}/run", "--prompt", f"{runs}/tunes/3.mid", "-n", "2", "--tokens", "12", "--out",
          f"{tmp_path}/on.mid"])  # fmt: skip
    said = capsys.readouterr()
    assert "2 tunes" in said.out
    assert "only the last 1 of 2 bars are heeded" in said.err
    given = read_midi(runs / "tunes" / "3.mid").tune
    for number in (1, 2):
        made = read_midi(tmp_path / f"on-{number}.mid").tune
        assert made.notes[: len(given.notes)] == given.notes
        assert len(made.bars) > len(given.bars) or len(made.notes) > len(given.notes)
    main(["sample", f"{runs}/run", "--prompt", f"{runs}/tunes/3.mid", "--tokens", "12", "--out", f"{tmp_path}/one.mid"])
    assert read_midi(tmp_path / "one.mid").tune == read_midi(tmp_path / "on-1.mid").tune


@pytest.fixture(scope="module")
def chorales(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("chorales")
    parts = {p: [[[40 + i, 50 + (i * j) % 20, 75] for j in range(1, 5)] for i in range(n)]
             for p, n in (("train", 12), ("test", 6))}  # fmt: skip
    (folder / "frames.json").write_text(json.dumps(parts))
    main(["fit", "frames", f"{folder}/frames.json", "--batch", "12", "--steps", "3", "--no-report",
          "--out", f"{folder}/run"])  # fmt: skip
    return folder


def test_a_melody_is_harmonised_and_a_voice_found_anew(capsys, chorales, tmp_path):
    main(["impute", f"{chorales}/run", "held-out:2", "--out", f"{tmp_path}/a.mid", "-n", "2"])
    assert "harmony of 1 bars drawn anew; draws are approximate" in capsys.readouterr().out
    for number in (1, 2):
        frames = frames_of(read_midi(tmp_path / f"a-{number}.mid").tune)
        assert [max(f) for f in frames] == [75] * 4
    write_midi(as_tune([[40, 60, 75]] * 4), tmp_path / "given.mid")
    main(["impute", f"{chorales}/run", f"{tmp_path}/given.mid", "--fill", "voice:2", "--out", f"{tmp_path}/b.mid"])
    found = frames_of(read_midi(tmp_path / "b.mid").tune)
    assert all(f[0] == 40 and f[-1] == 75 for f in found)
    assert found != [[40, 60, 75]] * 4
    main(["impute", f"{chorales}/run", f"{tmp_path}/given.mid", "--fill", "voice:1", "--out", f"{tmp_path}/c.png"])
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_frames_are_drawn_judged_and_go_on(capsys, chorales, tmp_path):
    main(["sample", f"{chorales}/run", "-n", "3", "--out", f"{tmp_path}/drawn"])
    assert "none dropped" in capsys.readouterr().out
    main(["evaluate", f"{chorales}/run", "-n", "2", "--json"])
    found = {f["name"]: f for f in json.loads(capsys.readouterr().out)}
    assert found["negative log-likelihood a frame"]["kind"] == "exact"
    write_midi(as_tune([[40, 60, 75]] * 2), tmp_path / "given.mid")
    main(["sample", f"{chorales}/run", "--prompt", f"{tmp_path}/given.mid", "--out", f"{tmp_path}/on.mid"])
    assert frames_of(read_midi(tmp_path / "on.mid").tune)[:2] == [[40, 60, 75]] * 2


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["impute", "{}/run", "held-out:9"], "held-out:1 to held-out:6"),
        (["impute", "{}/run", "held-out", "--fill", "alto"], "expected harmony, voice:N or bars:A-B"),
        (["impute", "{}/run", "held-out", "--fill", "voice:4"], "nothing of the tune is left to be drawn"),
        (["impute", "{}/run", "held-out", "--fill", "bars:1"], "nothing is known of 1 of 1"),
        (["impute", "{}/run", "held-out", "--fill", "bars:2-7"], "and the tune has 1"),
        (["fit", "frames", "{}/frames.json", "--tokens", "sets"], "written as keys or roll"),
    ],
)
def test_mistakes_with_frames_are_told_in_one_line(capsys, chorales, arguments, part):
    with pytest.raises(SystemExit) as caught:
        main([a.format(chorales) for a in arguments])
    error = capsys.readouterr().err
    assert caught.value.code == 2, error
    assert part in error
    assert error.count("\n") == 1
