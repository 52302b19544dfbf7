"""What every test shares: shapes checked by jaxtyping, one thread count, the real data where it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# shapes in signatures are checked under pytest only; it must come before simulacra is imported
install_import_hook("simulacra", "beartype.beartype")

import torch  # noqa: E402


@pytest.fixture(autouse=True)
def _quiet_defaults():
    """No test leaves a changed default dtype behind."""
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; a test that needs it is skipped, saying so, where there is none."""
    folder = os.environ.get("SIMULACRA_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SIMULACRA_DATA names no folder of real data")
    return Path(folder)
