"""The server: what it refuses, what it keeps, and that nothing is lost or doubled whatever happens to it."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from bench.served import bearer, given, under_fire

from simulacra.evaluation.study import Discern, Timed, create
from simulacra.evaluation.study.store import NAME, Store

pytest.importorskip("fastapi", reason="the extra `study` is not installed")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient
from small_studies import pictures

from simulacra.evaluation.study.server import listening, make_app


@pytest.fixture
def client(study):
    store = Store(study)
    with TestClient(make_app(study, store)) as found:
        yield found
    store.close()


def token_of(client) -> str:
    return client.post("/api/begin").json()["token"]


def finish(client, token: str, choice: str = "left") -> int:
    """Answer all that is left; how many answers that were."""
    count = 0
    while not (now := client.get("/api/trial", headers=bearer(token)).json())["done"]:
        reply = client.post("/api/answer", json=given(now["trial"], choice), headers=bearer(token))
        assert reply.status_code == 200, reply.text
        count += 1
    return count


def test_a_rater_goes_through_the_study(client, study):
    token = token_of(client)
    now = client.get("/api/trial", headers=bearer(token)).json()
    assert now["position"] == 0
    assert now["of"] == 12
    reply = client.get(f"/stimulus/{now['items'][0]}")
    assert reply.headers["content-type"] == "image/png"
    assert not {"last-modified", "etag", "content-disposition"} & set(reply.headers)
    assert finish(client, token) == 12
    assert client.get("/api/trial", headers=bearer(token)).json()["done"]


def test_nothing_that_is_sent_tells_a_system(client, study):
    token, sent = token_of(client), [client.get("/").text]
    for _ in range(study.plan.length):
        now = client.get("/api/trial", headers=bearer(token))
        sent += [now.text, str(now.headers)]
        reply = client.post("/api/answer", json=given(now.json()["trial"], "left"), headers=bearer(token))
        sent += [reply.text, str(reply.headers)]
    for word in (*study.plan.systems, "spoiled", "expected", study.plan.salt):
        if word != "real":  # which the question itself says
            assert not any(word in text for text in sent)
    lengths = {len(text) for text in sent[1::2] if '"answered"' in text}
    assert len(lengths) <= 2  # only the count grows: a right and a wrong answer read alike


def test_closing_and_reloading_comes_back_to_the_same_trial(client):
    token = token_of(client)
    first = client.get("/api/trial", headers=bearer(token)).json()
    assert client.get("/api/trial", headers=bearer(token)).json() == first
    client.post("/api/answer", json=given(first["trial"], "left"), headers=bearer(token))
    assert client.get("/api/trial", headers=bearer(token)).json()["position"] == 1


def test_answering_twice_keeps_the_first_and_a_retry_is_kept_once(client, study):
    token = token_of(client)
    now = client.get("/api/trial", headers=bearer(token)).json()
    for _ in range(3):  # the reply was lost, so the page sends the very same again
        reply = client.post("/api/answer", json=given(now["trial"], "left"), headers=bearer(token))
        assert reply.json() == {"answered": 1}
    again = client.post("/api/answer", json=given(now["trial"], "right"), headers=bearer(token))
    assert again.status_code == 409
    later = client.post("/api/answer", json=given(now["trial"], "left", response_ms=5.0), headers=bearer(token))
    assert later.status_code == 409
    rows = sqlite3.connect(study.folder / NAME).execute("SELECT choice FROM answer").fetchall()
    assert rows == [("left",)]


def test_going_back_or_ahead_is_refused(client, study):
    token = token_of(client)
    trials = study.plan.trials(0)
    for position, status in ((3, 409), (0, 200), (0, 409), (2, 409), (1, 200)):
        choice = "right" if status == 409 else "left"
        reply = client.post("/api/answer", json=given(trials[position].id, choice), headers=bearer(token))
        assert reply.status_code == status
        assert reply.text.count("\n") == 0


def test_forged_trials_and_anothers_token_are_refused(client, study):
    mine, other = token_of(client), token_of(client)
    theirs = client.get("/api/trial", headers=bearer(other)).json()["trial"]
    for trial in (theirs, "0" * 24, "", "' OR 1=1 --"):
        assert client.post("/api/answer", json=given(trial, "left"), headers=bearer(mine)).status_code == 403
    for token in ("", "nobody", mine[:-1], "' OR 1=1 --"):
        assert client.get("/api/trial", headers=bearer(token)).status_code == 401
        assert client.post("/api/answer", json=given(theirs, "left"), headers=bearer(token)).status_code == 401
    assert Store(study).progress() == (2, 0, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"choice": "both"}, {"choice": ["left"]}, {"trial": "x" * 100}, {"extra": 1},
        {"measured": {}}, {"measured": {"response_ms": -1}}, {"measured": {"response_ms": "soon"}},
        {"measured": {"response_ms": 1e300}}, {"measured": {"response_ms": 1, "name": "Ada"}},
    ],
)  # fmt: skip
def test_malformed_answers_are_refused_in_a_line(client, study, change):
    token = token_of(client)
    body = {**given(study.plan.trials(0)[0].id, "left"), **change}
    reply = client.post("/api/answer", json=body, headers=bearer(token))
    assert reply.status_code == 422
    assert set(reply.json()) == {"error"}
    assert "\n" not in reply.json()["error"]
    raw = client.post("/api/answer", content=b'{"trial": NaN', headers=bearer(token))
    assert raw.status_code == 422


def test_only_stimuli_of_the_study_are_served(client, study):
    for path in ("/stimulus/../study.json", "/stimulus/%2e%2e%2fstudy.json", "/stimulus/study", "/study.json", "/docs"):
        reply = client.get(path)
        assert reply.status_code == 404
        assert "salt" not in reply.text


def test_a_complete_study_takes_nobody_new_and_lets_the_others_finish(client):
    late = token_of(client)
    for _ in range(3):
        finish(client, token_of(client))
    assert client.post("/api/begin").status_code == 410
    assert finish(client, late) == 12


def test_nothing_about_a_person_is_kept(client, study):
    token = token_of(client)
    finish(client, token)
    kept = sqlite3.connect(study.folder / NAME)
    columns = {t: [c[1] for c in kept.execute(f"PRAGMA table_info({t})")] for t in ("study", "rater", "answer")}
    assert columns["rater"] == ["number", "token", "day"]
    content = b"".join(p.read_bytes() for p in study.folder.glob(f"{NAME}*"))
    assert token.encode() not in content
    assert b"testclient" not in content


def test_answers_cannot_be_changed_or_removed(client, study):
    finish(client, token_of(client))
    kept = sqlite3.connect(study.folder / NAME)
    for statement in ("UPDATE answer SET choice = 'left'", "DELETE FROM answer", "DELETE FROM rater"):
        with pytest.raises(sqlite3.Error, match="append only"):
            kept.execute(statement)


def test_a_folder_moved_under_the_server_is_told_and_takes_no_answer(client, study, tmp_path):
    token = token_of(client)
    now = client.get("/api/trial", headers=bearer(token)).json()
    study.folder.rename(tmp_path / "elsewhere")
    reply = client.post("/api/answer", json=given(now["trial"], "left"), headers=bearer(token))
    assert reply.status_code == 503
    assert "moved" in reply.json()["error"]
    (tmp_path / "elsewhere").rename(study.folder)
    assert client.post("/api/answer", json=given(now["trial"], "left"), headers=bearer(token)).status_code == 200


def test_answers_of_another_study_are_not_taken_over(study, tmp_path):
    Store(study).close()
    other = create(tmp_path / "other", Discern(), {"real": pictures(9, 0), "x": pictures(9, 1)}, each=2)
    (study.folder / NAME).rename(other.folder / NAME)
    with pytest.raises(ValueError, match="answers to another study"):
        Store(other)


def test_a_port_in_use_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ValueError, match="is in use; give another with --port") as caught:
            listening("127.0.0.1", taken.getsockname()[1])
        assert "\n" not in str(caught.value)


def test_the_staircase_is_the_answers_own_and_outlives_a_restart(make):
    study = make(Timed(start=400))
    store = Store(study)
    token = store.begin()
    expected: list[bool] = []
    for step in range(study.plan.length):
        trial, asked, _ = store.next(token)
        assert trial is not None
        if trial.check:
            assert asked == 1000
            choice = "generated"
        else:
            assert asked == study.design.exposure(expected)
            choice = trial.expected[0] if step % 3 else {"real": "generated", "generated": "real"}[trial.expected[0]]
            expected.append(choice in trial.expected)
        store.answer(token, trial.id, choice, {"response_ms": 1.0})
        store.close()
        store = Store(study)
    store.close()


def test_fifty_raters_at_once_lose_and_double_nothing(study):
    """Every rater sends every answer twice, from two threads at once; what is kept is one of each."""
    study = create(study.folder.parent / "many", Discern(), {"real": pictures(30, 0), "x": pictures(30, 1)}, each=2,
                   raters=50)  # fmt: skip
    store = Store(study)

    def go(rater: int) -> list[tuple[str, str]]:
        token, sent = store.begin(), []
        while (trial := store.next(token)[0]) is not None:
            choice = ("left", "right")[(rater + trial.position) % 2]
            twin = threading.Thread(target=store.answer, args=(token, trial.id, choice, {"response_ms": 1.0}))
            twin.start()
            store.answer(token, trial.id, choice, {"response_ms": 1.0})
            twin.join()
            sent.append((trial.id, choice))
        return sent

    with ThreadPoolExecutor(50) as pool:
        sent = [pair for own in pool.map(go, range(50)) for pair in own]
    kept = [(trial, choice) for _, _, _, trial, choice, _, _ in store.rows()]
    assert sorted(kept) == sorted(sent)
    assert len(kept) == 50 * study.plan.length
    store.close()


@pytest.mark.slow
def test_kill_9_loses_and_doubles_no_answer(tmp_path):
    """Five raters answer while the server is killed three times, at any moment."""
    systems = {"real": pictures(60, 0), "x": pictures(60, 1)}
    study = create(tmp_path / "killed", Discern(), systems, each=40, raters=5)
    sent, _ = under_fire(study.folder, raters=5, kills=3, every=0.3, seconds=240, pause=0.02)
    kept = [(row[3], row[4]) for row in Store(study).rows()]
    assert sorted(kept) == sorted(sent)
    assert len(kept) == 5 * study.plan.length


def test_a_process_killed_within_a_transaction_leaves_whole_answers(study):
    """The quick form: a process tells each answer that is kept, and is killed half-way through keeping the next."""
    told, tell = os.pipe()
    if (child := os.fork()) == 0:
        store = Store(study)
        token = store.begin()
        for _ in range(5):
            trial = store.next(token)[0]
            assert trial is not None
            store.answer(token, trial.id, "left", {"response_ms": 1.0})
            os.write(tell, trial.id.encode())
        store._db.execute("PRAGMA cache_size = 2")  # so that the half that is done reaches the disk
        store._db.execute("BEGIN IMMEDIATE")
        for i in range(500):
            store._db.execute("INSERT INTO rater VALUES (?, ?, 'half')", (99 + i, f"{i}" * 40))
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    store = Store(study)
    assert "".join(row[3] for row in store.rows()) == os.read(told, 1000).decode()
    assert store.progress() == (1, 0, 5)
    store.close()
    os.close(told)
    os.close(tell)
