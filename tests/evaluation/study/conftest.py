"""Small studies that the tests of this folder serve, answer and judge."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_studies import pictures

from simulacra.evaluation.study import Design, Discern, Study, create

sys.path.insert(0, str(Path(__file__).parents[3]))  # the browser and the raters are those of ``bench``


@pytest.fixture
def study(tmp_path) -> Study:
    """Which is real, of a real and two generated systems; 10 trials and 2 checks a rater."""
    systems = {"real": pictures(30, 0), "alpha": pictures(20, 1), "beta": pictures(20, 2)}
    return create(tmp_path / "study", Discern(), systems, each=5, checks=2, raters=3)


@pytest.fixture
def make(tmp_path) -> Callable[..., Study]:
    """A study of any design with pictures; real among the systems."""

    def made(design: Design, **options) -> Study:
        names = options.pop("names", ("real", "alpha"))
        systems = {name: pictures(40, i) for i, name in enumerate(names)}
        folder: Path = tmp_path / f"study-{design.name}"
        return create(folder, design, systems, **{"each": 6, "checks": 2, "raters": 3, **options})

    return made


@pytest.fixture
def folder_of_pictures(tmp_path) -> Path:
    """Photographs as they come: JPEG with a camera's data, a PNG with a text, one grey, names that tell a lot."""
    folder = tmp_path / "vae_epoch_9"
    (folder / "best").mkdir(parents=True)
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[271] = "CAMERA"
    Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / "best" / "fake1.jpg", exif=exif)
    Image.fromarray(rng.integers(0, 255, (32, 32), dtype=np.uint8)).save(folder / "fake2.png")
    return folder
