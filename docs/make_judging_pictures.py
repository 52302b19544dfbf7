"""The pictures of docs/judging.md and docs/study.md, seen by a browser: python docs/make_judging_pictures.py RUNS.

RUNS is the folder of a quickstart (after ``make demo``, runs/quickstart). The raters of the study are simulated, with a
chance of being deceived that is known; the page's own figures should say so. Needs chromium.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # for bench, which is no package that is installed

from bench.browser import Browser  # noqa: E402
from bench.served import MEASURED, Served  # noqa: E402

from simulacra.cli import main as cli  # noqa: E402
from simulacra.evaluation.study import open_study  # noqa: E402
from simulacra.evaluation.study.store import Store  # noqa: E402

PICTURES = HERE / "pictures"
DECEIVED = {"diffusion": 0.42, "vae": 0.2}  # the chance that a rater takes a generated digit for the real one
RATERS = 24
WIDTH, HEIGHT = 1100, 820


def main(runs: Path) -> None:
    """A trial, a results page and a comparison."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, Browser(width=WIDTH, height=HEIGHT) as tab:
        folder, pages = Path(scratch) / "study", Path(scratch)
        given = ["real=digits", *(f"{name}={runs / name}" for name in DECEIVED)]
        title = ["--title", "Handwritten digits, real or drawn"]
        _simulacra("study", "new", str(folder), *given, "--each", "10", "--raters", str(RATERS + 1), *title)
        with Served(folder) as served:
            tab.open(f"http://127.0.0.1:{served.port}/")
            tab.run("document.getElementById('agree').click()")
            tab.until("!document.querySelector('#choices button')?.disabled")
            _keep(tab, "study-trial.png")
        _answer(folder)
        _simulacra("study", "result", str(folder), "--out", str(pages / "results.html"))
        tab.open((pages / "results.html").as_uri())
        _keep(tab, "study-results.png", height=1500)
        names = ("vae", "dcgan", "diffusion", "pixelcnn")
        _simulacra("compare", *(str(runs / n) for n in names), "--out", str(pages / "comparison.html"),
                   "--title", "Four models of handwritten digits")  # fmt: skip
        tab.open((pages / "comparison.html").as_uri())
        _keep(tab, "comparison.png", height=1500)


def _simulacra(*arguments: str) -> None:
    code = cli.main(arguments)
    if code:
        raise SystemExit(code)


def _answer(folder: Path) -> None:
    """Every rater but the one whose trial was looked at answers all of it."""
    study, rng = open_study(folder), np.random.default_rng(0)
    store = Store(study)
    leaning = rng.normal(0, 0.08, RATERS)  # some are easier to deceive than others
    for rater in range(RATERS):
        token = store.begin()
        while (trial := store.next(token)[0]) is not None:
            right = trial.expected[0]
            fooled = not trial.check and rng.random() < DECEIVED[trial.group] + leaning[rater]
            choice = {"left": "right", "right": "left"}[right] if fooled else right
            store.answer(token, trial.id, choice, {**MEASURED, "response_ms": float(rng.gamma(4, 350))})
    store.close()


def _keep(tab: Browser, name: str, *, height: int = HEIGHT) -> None:
    tab.device(WIDTH, height)
    path = PICTURES / name
    tab.screenshot(path)
    with Image.open(path) as seen:
        seen.convert("RGB").quantize(128, method=Image.Quantize.MEDIANCUT).save(path, optimize=True)
    print(f"wrote {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
