"""Small pictures in files, for the readers."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_pictures import hash_of, png


@pytest.fixture
def cats_and_dogs(tmp_path: Path) -> Path:
    """A folder of 12 + 8 pictures in two subfolders."""
    folder = tmp_path / "animals"
    for name, count in (("cat", 12), ("dog", 8)):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            (folder / name / f"{i}.png").write_bytes(png(hash_of(name) + i))
    return folder
