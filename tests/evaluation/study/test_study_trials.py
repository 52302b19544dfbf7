"""Who sees what: balance, blinding, the registered protocol, staircases."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import numpy as np
import pytest
from small_studies import pictures

from simulacra.evaluation.study import DESIGNS, Discern, Exclusion, Prefer, Rate, Timed, Untimed, create, open_study
from simulacra.evaluation.study.designs import SPOILED
from simulacra.evaluation.study.page import served_page, static_page
from simulacra.evaluation.study.stimuli import of_texts


def test_every_rater_sees_every_group_and_side_equally_often(study):
    for rater in range(4):
        trials = [t for t in study.plan.trials(rater) if not t.check]
        assert Counter(t.group for t in trials) == {"alpha": 5, "beta": 5}
        for group in ("alpha", "beta"):
            left = sum(t.systems[0] == "real" for t in trials if t.group == group)
            assert left in (2, 3)
    left = sum(t.systems[0] == "real" for r in range(4) for t in study.plan.trials(r) if t.group == "alpha")
    assert left == 10  # an odd trial out changes sides from rater to rater


def test_stimuli_come_equally_often_over_raters_and_never_twice_to_one(study):
    seen: Counter[str] = Counter()
    for rater in range(7):
        own = [i for t in study.plan.trials(rater) if not t.check for i in t.items]
        assert len(set(own)) == len(own)
        seen.update(own)
    for system in study.plan.systems:
        pool = study.plan._pools()[system]
        counts = [seen[i.id] for i in pool]
        assert max(counts) - min(counts) <= 1


def test_trials_are_a_function_of_seed_and_rater_alone(study):
    again = open_study(study.folder)
    assert again.plan == study.plan
    assert again.plan.trials(5) == study.plan.trials(5)
    assert again.plan.trials(5) != study.plan.trials(6)


@pytest.mark.parametrize("design", [Untimed(), Timed()])
def test_half_of_the_single_trials_are_real(make, design):
    trials = [t for t in make(design).plan.trials(0) if not t.check]
    assert Counter(t.systems[0] for t in trials) == {"real": 3, "alpha": 3}
    assert all(t.group == "alpha" for t in trials)
    assert all(t.expected == (("real",) if t.systems == ("real",) else ("generated",)) for t in trials)


def test_preferences_pair_all_systems_and_matched_ones_by_name(tmp_path):
    systems = {s: pictures(30, i) for i, s in enumerate("abc")}
    study = create(tmp_path / "m", Prefer(), systems, each=4, checks=2, matched=True)
    trials = [t for t in study.plan.trials(1) if not t.check]
    assert Counter(t.group for t in trials) == {"a|b": 4, "a|c": 4, "b|c": 4}
    source = {i.id: i.source for i in study.plan.items}
    assert all(source[t.items[0]] == source[t.items[1]] for t in trials)
    assert len({source[t.items[0]] for t in trials}) == 12
    other = {"a": systems["a"], "b": systems["b"][:-1]}
    with pytest.raises(ValueError, match="same names"):
        create(tmp_path / "n", Prefer(), other, each=2, matched=True)


@pytest.mark.parametrize("name", DESIGNS)
def test_checks_show_what_is_spoiled_and_have_a_right_answer(make, name):
    design = DESIGNS[name]()
    study = make(design)
    checks = [t for t in study.plan.trials(0) if t.check]
    assert len(checks) == 2
    for t in checks:
        assert SPOILED in t.systems
        assert t.expected
        assert set(t.expected) < {c.value for c in design.choices}
        if len(t.systems) == 2:
            assert t.systems[("left", "right").index(t.expected[0])] != SPOILED
    # nobody is asked about the intact copy of what a check has shown
    kept = {i.source for i in study.plan.items if i.system == SPOILED}
    intact = {i.id for i in study.plan.items if i.source in kept and i.system == "real"}
    assert not intact & {i for r in range(9) for t in study.plan.trials(r) if not t.check for i in t.items}


def test_what_a_rater_receives_tells_no_system(study, make):
    timed = make(Timed())
    for page in (served_page(study), static_page(study), static_page(timed)):
        assert "alpha" not in page
        assert "beta" not in page
        assert "spoiled" not in page
        assert "expected" not in page
    for item in study.plan.items:
        assert item.system not in item.id
        assert study.file_of(item.id).is_file()
    # systems' files are of one date to the eye: listed by name they are shuffled
    order = [i.system for i in sorted(study.plan.items, key=lambda i: i.id)]
    assert order != sorted(order)
    assert len({i.id for i in study.plan.items}) == len(study.plan.items)


def test_ids_need_the_salt_and_not_the_seed(tmp_path):
    systems = {"real": pictures(10, 0), "alpha": pictures(10, 1)}
    a, b = (create(tmp_path / n, Discern(), systems, each=2, seed=0) for n in "ab")
    assert not {i.id for i in a.plan.items} & {i.id for i in b.plan.items}
    assert not {t.id for t in a.plan.trials(0)} & {t.id for t in b.plan.trials(0)}


def test_a_changed_protocol_is_refused_and_a_moved_one_is_not(study, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(study.folder, moved)
    assert open_study(moved).digest == study.digest
    value = json.loads((moved / "study.json").read_text())
    assert value["digest"] == study.digest
    value["exclusion"]["checks"] = 0.0
    (moved / "study.json").write_text(json.dumps(value))
    with pytest.raises(ValueError, match="changed after it was registered"):
        open_study(moved)
    with pytest.raises(ValueError, match="holds no study"):
        open_study(tmp_path)


def test_staircase_settles_where_up_and_down_balance():
    """A rater whose P(right) rises through 3/4 at 300 ms is led there: p * down = (1 - p) * up."""
    design = Timed(start=500, low=50, high=1000, down=10, up=30)
    assert design.target == 0.75
    assert design.exposure([]) == 500
    assert design.exposure([True, True]) == 480
    assert design.exposure([False]) == 530
    assert design.exposure([True] * 100) == 50
    assert design.exposure([False] * 100) == 1000
    rng, right, shown = np.random.default_rng(0), [], []
    for _ in range(3000):
        shown.append(design.exposure(right))
        right.append(bool(rng.random() < 0.5 + 0.5 / (1 + np.exp(-(shown[-1] - 300) / 40))))
    assert np.mean(shown[200:]) == pytest.approx(300, abs=12)
    assert np.mean(right[200:]) == pytest.approx(0.75, abs=0.02)


def test_without_a_server_exposures_are_constant_and_balanced(make):
    study = make(Timed(low=100, high=600), each=6)
    for rater in range(3):
        trials = study.plan.trials(rater)
        assert sorted(t.exposure or 0 for t in trials if t.group == "alpha") == [100, 200, 300, 400, 500, 600]
        assert all(t.exposure == 600 for t in trials if t.check)


@pytest.mark.parametrize(
    ("design", "names", "options", "said"),
    [
        (Discern(), ("a", "b"), {}, 'name them "real"'),
        (Prefer(), ("a",), {}, "at least 2 systems"),
        (Discern(), ("real", "a|b"), {}, "name is any text without"),
        (Discern(), ("real", "spoiled"), {}, "name is any text without"),
        (Discern(), ("real", "a"), {"each": 60}, "a rater would see 60 stimuli"),
        (Discern(), ("real", "a"), {"each": 0}, "at least 1"),
        (Discern(), ("real", "a"), {"checks": 41}, "checks need as many stimuli"),
        (Rate(), ("a",), {"matched": True}, "only pairs"),
    ],
)
def test_studies_that_cannot_be_are_refused_in_a_line(make, design, names, options, said):
    with pytest.raises(ValueError, match=said) as caught:
        make(design, names=names, **options)
    assert "\n" not in str(caught.value)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="low <= start <= high"):
        Timed(start=20)
    with pytest.raises(ValueError, match="steps must be above 0"):
        Timed(up=0)
    with pytest.raises(ValueError, match="is a share"):
        Exclusion(checks=2)


def test_texts_are_stimuli_too(tmp_path):
    texts = {"real": of_texts([f"a true line {i}" for i in range(12)]), "m": of_texts([f"line {i}" for i in range(12)])}
    study = create(tmp_path / "t", Discern(), texts, each=4)
    assert study.kind == "text"
    assert study.file_of(study.plan.items[0].id).suffix == ".txt"
