"""What every test shares: shapes checked by jaxtyping, one thread count, the real data where it is."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# shapes in signatures are checked under pytest only; it must come before simulacra is imported
install_import_hook("simulacra", "typechecker.check")

import torch  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow-part", metavar="I/K", help="of the slow tests, only the I-th of K parts (0 <= I < K)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the part of the slow tests that was asked for; a test's part depends on its name alone."""
    if not (wanted := config.getoption("--slow-part")):
        return
    part, parts = map(int, wanted.split("/"))
    kept = [i for i in items if "slow" not in i.keywords or zlib.crc32(i.nodeid.encode()) % parts == part]
    config.hook.pytest_deselected(items=[i for i in items if i not in kept])
    items[:] = kept


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
