"""The page in a real browser: whole studies by keys and by touch, a closed tab, a dead server, times of exposure.

Skipped, saying so, where there is no chromium.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Generator

import pytest
import uvicorn
from bench.browser import Browser, executable
from small_studies import a_wav, pictures

from simulacra.evaluation.study import Discern, Rate, Study, Timed, create
from simulacra.evaluation.study.answers import apply_exclusion, collect
from simulacra.evaluation.study.page import static_page
from simulacra.evaluation.study.server import listening, make_app
from simulacra.evaluation.study.stimuli import Stimulus
from simulacra.evaluation.study.store import Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(executable() is None, reason="no chromium on the path"),
]

# samples, in every frame and apart from the page's own script, whether a stimulus is to be seen
WATCH = """(() => { window.seen = []; let since = null; const look = (now) => {
  const image = document.querySelector('.glance img'); const on = image && getComputedStyle(image).opacity === '1';
  if (on && since === null) since = now; if (!on && since !== null) { window.seen.push(now - since); since = null; }
  requestAnimationFrame(look); }; requestAnimationFrame(look); })()"""


class Served:
    """A study served within this process."""

    def __init__(self, study: Study, port: int = 0) -> None:
        self.store = Store(study)
        self._listener = listening("127.0.0.1", port)
        self.port = self._listener.getsockname()[1]
        self._server = uvicorn.Server(uvicorn.Config(make_app(study, self.store), log_level="error", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self.port}/"

    def stop(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)
        self._listener.close()
        self.store.close()


@pytest.fixture
def tab() -> Generator[Browser]:
    with Browser() as found:
        yield found


READY = "!document.querySelector('#choices button')?.disabled && !document.getElementById('trial').hidden"
DONE = "!document.getElementById('done').hidden"


def at(position: int) -> str:
    return f"{READY} && document.getElementById('count').textContent.startsWith('{position + 1} ')"


def test_a_study_by_keys_a_closed_tab_and_a_dead_server(tab, study):
    served = Served(study)
    tab.open(served.url)
    assert "random number" in tab.run("document.querySelector('#consent .text').textContent")
    assert not tab.run("performance.getEntriesByType('resource').some((r) => r.name.includes('/api/'))")
    tab.run("document.getElementById('agree').click()")
    for position in range(3):
        tab.until(at(position))
        tab.press("ArrowLeft")
    tab.until(at(3))
    tab.open("about:blank")  # the tab is closed, and opened again
    tab.open(served.url)
    tab.until(at(3))
    port = served.port
    served.stop()
    tab.press("ArrowRight")  # into the void: the page tries again by itself
    time.sleep(0.5)
    served = Served(study, port)
    for position in range(4, 12):
        tab.until(at(position))
        tab.press("ArrowRight")
    tab.until(DONE)
    tab.run("void setTimeout(() => history.back(), 0)")
    time.sleep(0.3)
    tab.open(served.url)
    tab.until(DONE)
    rows = served.store.rows()
    assert [row[4] for row in rows] == ["left"] * 3 + ["right"] * 9
    assert all(0 < row[6]["response_ms"] < 60_000 for row in rows)
    served.stop()


def test_what_is_shown_for_a_moment_is_shown_for_that_moment(tab, tmp_path):
    systems = {"real": pictures(30, 0), "alpha": pictures(30, 1)}
    design = Timed(start=120, low=30, high=300, down=30, up=40, mask=100)
    study = create(tmp_path / "timed", design, systems, each=10, checks=2, raters=2)
    served = Served(study)
    tab.open(served.url)
    tab.run(WATCH)
    tab.run("document.getElementById('agree').click()")
    for position in range(12):
        tab.until(f"document.querySelector('.glance') && document.getElementById('note').textContent && document"
                  f".getElementById('count').textContent.startsWith('{position + 1} ')")  # fmt: skip
        assert tab.run("document.querySelector('#choices button').disabled")  # nothing is answered before it was seen
        tab.press("ArrowLeft")
        tab.press(" ")
        tab.until(at(position))
        tab.press("ArrowLeft")
    tab.until(DONE)
    seen, rows = tab.run("window.seen"), served.store.rows()
    served.stop()
    assert len(seen) == len(rows) == 12
    frame = statistics.median(row[6]["frame_ms"] for row in rows)
    assert 4 < frame < 40
    for elsewhere, row in zip(seen, rows, strict=True):
        # what the page records is what an onlooker counts, dropped frames included
        assert abs(row[6]["shown_ms"] - elsewhere) <= 1.01 * frame
    errors = [abs(row[6]["shown_ms"] - row[5]) for row in rows]
    assert statistics.median(errors) <= frame  # on an idle machine all are; a loaded one drops some, and they are told
    kept = apply_exclusion(study, collect(study)[0])
    wrong = [why for why, row in zip(kept.reasons, rows, strict=True) if abs(row[6]["shown_ms"] - row[5]) > 1.6 * frame]
    assert all(wrong) or not wrong


def test_opinions_by_touch_on_a_telephone(tab, tmp_path):
    study = create(tmp_path / "mos", Rate(), {"alpha": pictures(20, 0)}, each=4, checks=1, raters=1)
    served = Served(study)
    tab.device(390, 780, mobile=True)
    tab.open(served.url)
    tab.touch("#agree")
    for position in range(5):
        tab.until(at(position))
        assert tab.run("document.documentElement.scrollWidth <= innerWidth")
        heights = tab.run("[...document.querySelectorAll('#choices button')].map((b) => b.offsetHeight)")
        assert min(heights) >= 44  # WCAG 2.2, 2.5.5: a finger's width
        tab.touch("#choices button:nth-child(4)")
    tab.until(DONE)
    assert [row[4] for row in served.store.rows()] == ["4"] * 5
    served.stop()


def test_sounds_are_answered_once_they_were_heard(tab, tmp_path):
    sounds = [Stimulus(kind="sound", content=a_wav(0.1 + 0.01 * i), source=str(i)) for i in range(12)]
    study = create(tmp_path / "s", Discern(), {"real": sounds, "alpha": sounds[::-1]}, each=2, checks=1, raters=1)
    served = Served(study)
    tab.open(served.url)
    tab.run("document.getElementById('agree').click()")
    for position in range(3):
        tab.until(f"document.querySelectorAll('.sound').length === 2 && document.getElementById('count').textContent"
                  f".startsWith('{position + 1} ')")  # fmt: skip
        tab.press("ArrowLeft")
        assert tab.run("document.querySelector('#choices button').disabled")
        tab.press(" ")
        tab.until("document.querySelector('.sound small').textContent === 'heard'")
        tab.press(" ")
        tab.until(at(position))
        tab.press("ArrowRight")
    tab.until(DONE)
    assert [(row[4], row[6]["plays"]) for row in served.store.rows()] == [("right", 2)] * 3
    served.stop()


def test_one_file_needs_no_server(tab, study, tmp_path):
    (tmp_path / "study.html").write_text(static_page(study))
    url = (tmp_path / "study.html").as_uri() + "#2"
    tab.open(url)
    tab.run("document.getElementById('agree').click()")
    for position in range(12):
        tab.until(at(position))
        if position == 6:
            tab.open("about:blank")
            tab.open(url)
            tab.until(at(position))
        tab.press("ArrowLeft" if position % 2 else "ArrowRight")
    tab.until(DONE)
    tab.run("document.getElementById('save').click()")
    end = time.monotonic() + 20
    while not (found := list(tab.downloads.glob("answers-*.json"))) and time.monotonic() < end:
        time.sleep(0.05)
    assert json.loads(found[0].read_text())["assignment"] == 1
    answers, duplicates = collect(study, [tab.downloads])
    assert duplicates == 0
    assert [a.trial for a in answers] == study.plan.trials(1)
    assert [a.choice for a in answers] == ["right", "left"] * 6
