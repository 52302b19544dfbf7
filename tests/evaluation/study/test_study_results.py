"""From answers to figures: raters of known truth, the registered exclusion, saved files, the page."""

from __future__ import annotations

import csv
import io
import json
import math
import re

import numpy as np
import pytest
from raters import answer_all, attentive, wrong_with

from simulacra.core.figure import Figure
from simulacra.evaluation.study import Discern, Exclusion, Prefer, Rate, Study, Timed, Untimed
from simulacra.evaluation.study.answers import apply_exclusion, collect, export_csv, export_jsonl
from simulacra.evaluation.study.results import Results, results_of
from simulacra.evaluation.study.results_page import results_page
from simulacra.evaluation.study.store import Store


def judged(study: Study) -> Results:
    return results_of(study, apply_exclusion(study, collect(study)[0]))


def named(results: Results, name: str) -> Figure:
    (found,) = [f for f in results.figures if f.name == name]
    return found


def test_error_rates_are_the_shares_that_raters_have(make):
    study = make(Untimed(), names=("real", "alpha", "beta"), each=6, checks=1, raters=24)
    rate = {"alpha": 0.45, "beta": 0.15}
    answer_all(study, wrong_with(lambda rater, group: rate[group] + 0.1 * (rater % 2 - 0.5)), 24)
    found = judged(study)
    for group, truth in rate.items():
        figure = named(found, f"error rate, {group}")
        assert figure.n == 24 * 6
        assert figure.value == pytest.approx(truth, abs=4 * math.sqrt(truth * (1 - truth) / figure.n))
        assert figure.interval is not None
        assert figure.interval[0] < figure.value < figure.interval[1]
        assert figure.interval_method == "log-odds, clustered by rater"
    difference = named(found, "error rate, alpha less beta")
    assert difference.interval is not None
    assert difference.interval[0] > 0
    assert difference.value == pytest.approx(
        named(found, "error rate, alpha").value - named(found, "error rate, beta").value
    )
    assert [t.title for t in found.tables] == ["Other intervals", "Mixed model"]


def test_few_raters_have_figures_and_no_interval(make):
    study = make(Discern(), raters=4)
    answer_all(study, wrong_with(lambda rater, group: 0.4), 4)
    figure = named(judged(study), "deception rate, alpha")
    assert figure.interval is None
    assert figure.interval_method == "none: 4 raters, the method holds from 20 on"


def test_opinions_are_means_with_agreement(make):
    study = make(Rate(), names=("alpha", "beta"), each=5, checks=1, raters=22)
    rng = np.random.default_rng(0)
    scale = {"alpha": 2.0, "beta": 4.0}
    answer_all(
        study,
        attentive(lambda r, t, a: str(int(np.clip(round(scale[t.group] + rng.normal(0, 0.6)), 1, 5)))),
        22,
    )
    found = judged(study)
    assert named(found, "mean opinion, alpha").value == pytest.approx(2, abs=0.2)
    assert named(found, "mean opinion, beta").value == pytest.approx(4, abs=0.2)
    assert named(found, "mean opinion, alpha less beta").value == pytest.approx(-2, abs=0.3)
    assert named(found, "Krippendorff's alpha, ordinal").value > 0.6
    assert sum(int(v) for row in found.tables[0].rows for v in row[1:]) == 22 * 10


def test_preferences_give_strengths(make):
    study = make(Prefer(), names=("a", "b", "c"), each=4, checks=1, raters=25)
    rng = np.random.default_rng(0)
    strength = {"a": 1.0, "b": 0.0, "c": -1.0}

    def choose(rater, trial, asked):
        gap = strength[trial.systems[0]] - strength[trial.systems[1]]
        weights = np.array([math.exp(gap / 2), 0.6, math.exp(-gap / 2)])  # Davidson's model with nu = 0.6
        return ("left", "tie", "right")[rng.choice(3, p=weights / weights.sum())]

    answer_all(study, attentive(choose), 25)
    found = judged(study)
    for system, truth in strength.items():
        figure = named(found, f"strength, {system}")
        assert figure.interval is not None
        error = (figure.interval[1] - figure.interval[0]) / 4
        assert figure.value == pytest.approx(truth, abs=4 * error)
        assert error < 0.3
    titles = [t.title for t in found.tables]
    assert titles == ["Pairs", "Strengths"]
    assert "Davidson" in found.tables[1].about


def test_a_system_that_always_wins_has_no_strength_and_says_so(make):
    study = make(Prefer(ties=False), names=("a", "b"), raters=2)
    answer_all(study, attentive(lambda r, t, a: ("left", "right")[t.systems.index("a")]), 2)
    found = judged(study)
    assert not [f for f in found.figures if f.name.startswith("strength")]
    assert "no finite estimate" in found.tables[1].about
    assert named(found, "preference for a over b").value == 1
    assert named(found, "preference for a over b").interval is None


def glanced(study: Study, midpoint: float, raters: int) -> None:
    rng = np.random.default_rng(0)
    other = {"real": "generated", "generated": "real"}

    def choose(rater, trial, asked):
        p = 0.5 + 0.49 / (1 + math.exp(-(math.log(asked) - math.log(midpoint)) / 0.35))
        return trial.expected[0] if rng.random() < p else other[trial.expected[0]]

    answer_all(study, attentive(choose), raters)


@pytest.mark.slow
def test_a_staircase_finds_the_threshold_that_raters_have(make):
    study = make(Timed(start=500, down=20, up=60, low=20), each=40, checks=1, raters=20)
    glanced(study, 260, 20)
    figure = named(judged(study), "threshold at 75% right, alpha")
    truth = 260 * math.exp(0.35 * math.log((0.25 / 0.49) / (1 - 0.25 / 0.49)))
    assert figure.interval is not None
    assert figure.unit == "ms"
    # four standard errors, from the width of its own interval
    assert figure.value == pytest.approx(truth, abs=figure.interval[1] - figure.interval[0])
    assert figure.interval[1] / figure.interval[0] < 1.6


def test_a_threshold_beyond_the_longest_exposure_is_a_bound(make):
    study = make(Timed(high=600), each=12, checks=1, raters=3)
    answer_all(study, wrong_with(lambda rater, group: 0.5), 3)
    figure = named(judged(study), "threshold at 75% right, alpha")
    assert (figure.kind, figure.value, figure.interval) == ("bound", 600, None)


def test_the_registered_rule_leaves_out_whom_it_names_and_nobody_else(make):
    study = make(Discern(), each=8, checks=4, raters=9, exclusion=Exclusion(checks=0.75, fast_ms=300, hasty=0.2))

    def careless(failures: int):
        count = iter(range(100))
        return lambda r, t, a: (
            {"left": "right", "right": "left"}[t.expected[0]] if t.check and next(count) < failures else t.expected[0]
        )

    answer_all(study, careless(1), 1)  # 3 of 4 is enough
    answer_all(study, careless(2), 1)
    answer_all(study, careless(0), 1, response_ms=100.0)
    store = Store(study)
    token = store.begin()
    trial = store.next(token)[0]
    assert trial is not None
    store.answer(token, trial.id, "left", {"response_ms": 900.0})
    store.close()
    kept = apply_exclusion(study, collect(study)[0])
    assert kept.raters == 4
    assert kept.excluded == {
        1: "passed 2 of 4 attention checks",
        2: "gave 100% of the answers in less than 300 ms",
        3: "answered 1 of 12 trials",
    }
    assert len(kept.counted) == 8
    assert {a.rater for a in kept.counted} == {0}


def test_exposures_that_were_not_kept_are_left_out_one_by_one(make):
    study = make(Timed(), each=10, checks=1, raters=2)
    answer_all(study, wrong_with(lambda r, g: 0.2), 1)
    answer_all(study, wrong_with(lambda r, g: 0.2), 1, shown_ms=2000.0)
    kept = apply_exclusion(study, collect(study)[0])
    assert not kept.excluded
    assert len(kept.counted) == 10
    assert sum(why.startswith("shown 2000 ms instead") for why in kept.reasons) == 10
    assert "shown for another time than was asked" in results_page(study, kept, results_of(study, kept))


def saved(study: Study, token: str, assignment: int, count: int, **change) -> dict:
    answers = [
        {
            "trial": t.id,
            "choice": t.expected[0],
            "measured": {"response_ms": 800.0, "shown_ms": 800.0, "frame_ms": 16.0},
        }
        for t in study.plan.trials(assignment)[:count]
    ]
    value = {"format": 1, "study": study.digest, "token": token, "assignment": assignment, "answers": answers}
    return {**value, **change}


def test_saved_files_are_read_and_repeats_recognised(study, tmp_path):
    folder = tmp_path / "answers"
    folder.mkdir()
    files = {
        "a": saved(study, "one", 0, 12), "a (1)": saved(study, "one", 0, 12), "a (2)": saved(study, "one", 0, 5),
        "b": saved(study, "two", 0, 12), "c": saved(study, "three", 2, 12),
    }  # fmt: skip
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    answers, duplicates = collect(study, [folder])
    assert duplicates == 2
    assert len(answers) == 36
    assert {a.rater for a in answers} == {0, 1, 2}
    assert all(a.right for a in answers)
    answer_all(study, wrong_with(lambda r, g: 0.0), 1)  # besides one whom the server saw
    assert len({a.rater for a in collect(study, [folder])[0]}) == 4


def test_saved_files_that_are_not_what_the_page_wrote_are_refused(study, tmp_path):
    def refused(value: object, said: str) -> None:
        (tmp_path / "x.json").write_text(value if isinstance(value, str) else json.dumps(value))
        with pytest.raises(ValueError, match=said) as caught:
            collect(study, [tmp_path / "x.json"])
        assert "\n" not in str(caught.value)

    refused("{", "damaged")
    refused([1], "no file of saved answers")
    refused({**saved(study, "one", 0, 3), "study": "0" * 64}, "answers another study")
    refused(saved(study, "one", 99, 0), "none of the study's 3")
    moved = saved(study, "one", 0, 3)
    moved["answers"] = moved["answers"][::-1]
    refused(moved, "belongs to no trial of its assignment")
    untimed = saved(study, "one", 0, 3)
    untimed["answers"][1]["measured"]["response_ms"] = "fast"
    refused(untimed, "says not how long it took")
    other = saved(study, "one", 0, 3)
    other["answers"][0]["choice"] = {"left": "right", "right": "left"}[other["answers"][0]["choice"]]
    for name, value in (("p", saved(study, "one", 0, 3)), ("q", other)):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    with pytest.raises(ValueError, match="contradict each other"):
        collect(study, [tmp_path / "p.json", tmp_path / "q.json"])
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="no saved answers"):
        collect(study, [tmp_path / "none"])


def test_the_page_holds_everything_and_the_exports_every_answer(make):
    study = make(Timed(), each=12, checks=1, raters=3, title="Which <b>is</b> it?")
    glanced(study, 200, 3)
    kept = apply_exclusion(study, collect(study)[0])
    page = results_page(study, kept, results_of(study, kept))
    assert study.digest in page
    assert "Which &lt;b&gt;is&lt;/b&gt; it?" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    lines = [json.loads(line) for line in export_jsonl(kept).splitlines()]
    assert len(lines) == 3 * 13
    assert {line["group"] for line in lines} == {"alpha", ""}
    rows = list(csv.DictReader(io.StringIO(export_csv(kept))))
    assert [r["choice"] for r in rows] == [line["choice"] for line in lines]


def test_no_answers_are_told_in_a_line(study):
    with pytest.raises(ValueError, match="no answer counts yet"):
        results_of(study, apply_exclusion(study, collect(study)[0]))
