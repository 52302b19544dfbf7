"""The measuring itself, measured: three times the work takes three times the CPU."""

import json
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.__main__ import GROUPS, meant
from bench.harness import Comparison, Ratio, Round, Row, Side, compare, environment, faster, measure, save, show

from bench import harness

WORKERS = Path(__file__).parent / "workers.py"


def side(function: str, **settings) -> Side:
    return Side(file=WORKERS, function=function, settings=settings, python=Path(sys.executable))


def test_three_times_the_work_takes_three_times_the_cpu():
    both = compare(side("burn", million=2), side("burn", million=6, noisy=True), rounds=3)
    assert len(both.ours) == len(both.peer) == 3
    assert 2 < both.ratio("cpu_s").value < 4.5
    assert both.ours[0].work == 2
    # what the workers computed comes back whole, though one of them printed
    assert both.peer[0].value == [sum(range(6_000_000)), 0]
    assert "python" in both.versions["peer"]
    row = faster("sums", both, at_least=2)
    assert row.met
    assert row.ours == pytest.approx(sorted(r.cpu_s / 2 for r in both.ours)[1])


def test_peak_memory_is_the_round_s_own():
    (small,) = measure(side("burn", million=0.01), rounds=1)
    (large,) = measure(side("burn", million=0.01, memory=200 << 20), rounds=1)
    assert large.peak_rss - small.peak_rss == pytest.approx(200 << 20, rel=0.1)


def test_ratio_is_of_medians_and_its_spread_of_pairs():
    rounds = lambda *seconds: tuple(Round(cpu_s=s, wall_s=s, peak_rss=1) for s in seconds)  # noqa: E731
    both = Comparison(ours=rounds(1, 2, 4), peer=rounds(6, 6, 6), versions={})
    assert both.ratio() == Ratio(value=3, low=1.5, high=6)


@pytest.mark.parametrize(("function", "words"), [("fail", "the worker's own words"), ("fail_to_start", "no set-up")])
def test_a_worker_that_fails_is_quoted(function, words):
    with pytest.raises(RuntimeError, match=words):
        measure(side(function))


def test_a_worker_that_hangs_is_ended():
    with pytest.raises(RuntimeError, match="said nothing"):
        measure(side("silent"), timeout=1)


def test_results_are_json_with_machine_and_command(tmp_path, capsys):
    rows = [
        Row(what="a", unit="s", ours=1.0, peer=math.inf, ratio=Ratio(value=2, low=1, high=3), target="3x", met=False),
        Row(what="no opponent", unit="nats", ours=-80.1),
    ]  # fmt: skip
    record = json.loads(save("group", rows, folder=tmp_path).read_text())
    assert record["rows"][0]["ratio"]["value"] == 2
    assert record["command"] == "python -m bench group"
    assert {"cpu", "cores", "torch", "python", "date"} <= set(record)
    show("group", rows)
    assert "1 of 2 reach their target" in capsys.readouterr().out


def test_an_environment_is_made_once_and_again_when_its_requirements_change(tmp_path, monkeypatch):
    made = []

    def record(command):
        made.append(command)
        (tmp_path / ".env-peer").mkdir(exist_ok=True)

    monkeypatch.setattr(harness, "HERE", tmp_path)
    monkeypatch.setattr(harness, "ROOT", tmp_path)
    monkeypatch.setattr(harness, "_quietly", record)
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    python = environment("peer", ["numpy"], bare=["prdc==0.2"])
    assert python == tmp_path / ".env-peer" / "bin" / "python"
    assert [c[-1] for c in made] == [str(tmp_path / ".env-peer"), "numpy", "prdc==0.2"]
    assert "--no-deps" in made[2]
    assert "--no-deps" not in made[1]
    environment("peer", ["numpy"], bare=["prdc==0.2"])
    assert len(made) == 3
    environment("peer", ["numpy"])
    assert len(made) == 5


def test_a_name_means_its_group_or_all_that_begin_with_it():
    assert meant("coverage") == ["coverage"]
    assert meant("tables") == [g for g in GROUPS if g.startswith("tables_")] != []
    assert meant("table") == []
