"""``simulacra study`` as a user runs it."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from PIL import Image

from simulacra.cli.main import main
from simulacra.evaluation.study import open_study
from simulacra.evaluation.study.store import Store


def told(capsys, *arguments: object) -> str:
    """What the verb prints."""
    main(["study", *map(str, arguments)])
    return capsys.readouterr().out


def fault(capsys, *arguments: object) -> str:
    """The one line the verb fails with, exit 2."""
    with pytest.raises(SystemExit) as caught:
        main(["study", *map(str, arguments)])
    error = capsys.readouterr().err
    assert caught.value.code == 2, error
    assert error.count("\n") == 1
    return error


@pytest.fixture
def samples(tmp_path):
    """Folders of pictures: real ones, and one of a model's."""
    rng = np.random.default_rng(0)
    for name in ("real", "model"):
        (tmp_path / name).mkdir()
        for i in range(12):
            Image.fromarray(rng.integers(0, 255, (5, 5, 3), dtype=np.uint8)).save(tmp_path / name / f"{i}.png")
    return [f"real={tmp_path / 'real'}", f"model={tmp_path / 'model'}"]


def test_a_study_from_new_to_result(capsys, samples, tmp_path):
    folder = tmp_path / "study"
    said = told(capsys, "new", folder, *samples, "--each", 4, "--raters", 2, "--static", "--exclusion.checks", 0.5)
    study = open_study(folder)
    assert study.digest in said
    assert study.exclusion.checks == 0.5
    assert "6 trials a rater (2 of them checks), 2 raters" in said
    assert study.digest in (folder / "study.html").read_text()
    store = Store(study)
    for _ in range(2):
        token = store.begin()
        while (trial := store.next(token)[0]) is not None:
            store.answer(token, trial.id, trial.expected[0], {"response_ms": 900.0})
    store.close()
    said = told(capsys, "result", folder, "--csv", tmp_path / "a.csv", "--jsonl", tmp_path / "a.jsonl")
    assert "2 raters, 0 left out; 8 answers count" in said
    assert "deception rate, model" in said
    assert (folder / "results.html").read_text().startswith("<!doctype html>")
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 12
    (figure,) = json.loads(told(capsys, "result", folder, "--json"))
    assert (figure["name"], figure["value"], figure["interval"]) == ("deception rate, model", 0.0, None)


def test_runs_and_known_data_are_systems(capsys, runs, tmp_path):
    systems = ("real=digits", f"vae={runs / 'vae'}")
    said = told(capsys, "new", tmp_path / "s", *systems, "--design", "untimed", "--most", 12, "--each", 4)
    assert "untimed of real, vae, pictures" in said


def test_planning_says_how_many(capsys):
    said = told(capsys, "plan", "--share", 0.4, "--rho", 0.1)
    assert "194 independent answers" in said
    assert "20 trials each:   29 raters" in said
    found = json.loads(told(capsys, "plan", "--effect", 0.5, "--json"))
    assert found["independent"] == pytest.approx(62.79, abs=0.01)


def test_help_and_faults_are_short(capsys, samples, tmp_path):
    assert "study serve FOLDER" in told(capsys, "--help")
    assert "expected one of new, serve, result, plan" in fault(capsys, "begin")
    assert "needs FOLDER NAME=SAMPLES" in fault(capsys, "new", tmp_path / "x")
    assert "NAME=SAMPLES; got" in fault(capsys, "new", tmp_path / "x", "real")
    assert "two systems are called 'real'" in fault(capsys, "new", tmp_path / "x", samples[0], samples[0])
    assert 'name them "real"' in fault(capsys, "new", tmp_path / "x", samples[1], "--each", 2)
    assert "does not exist" in fault(capsys, "new", tmp_path / "x", "real=nowhere")
    assert "leave --no-ties out" in fault(capsys, "new", tmp_path / "x", *samples, "--no-ties")
    assert "holds no study" in fault(capsys, "serve", tmp_path / "x")
    assert "holds no study" in fault(capsys, "result", tmp_path)
    told(capsys, "new", tmp_path / "y", *samples, "--each", 2)
    assert "not an empty folder" in fault(capsys, "new", tmp_path / "y", *samples, "--each", 2)
    assert "no answer counts yet" in fault(capsys, "result", tmp_path / "y")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "is in use" in fault(capsys, "serve", tmp_path / "y", "--port", taken.getsockname()[1])
    (tmp_path / "moved").mkdir()
    (tmp_path / "y" / "study.json").rename(tmp_path / "moved" / "study.json")
    assert "say where it was moved" in fault(capsys, "serve", tmp_path / "y")


@pytest.mark.slow
def test_serving_says_where_and_stops_on_an_interrupt(capsys, samples, tmp_path):
    told(capsys, "new", tmp_path / "s", *samples, "--each", 2)
    line = [sys.executable, "-m", "simulacra", "study", "serve", str(tmp_path / "s"), "--port", "0"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert "0 raters began, 0 of 20 finished" in process.stdout.readline()
    assert "SHA-256" in process.stdout.readline()
    (address,) = re.findall(r"http://\S+/", process.stdout.readline())
    with urllib.request.urlopen(address) as page:
        assert b"Which of the two is real?" in page.read()
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[1]
    assert said.count("\n") <= 1, said
