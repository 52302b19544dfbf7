"""Examples looked at in batches, by several processes, in memory that does not grow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from streaming_processes import BATCH, EXTRACTOR, N, part

from simulacra.core.batch import Stored
from simulacra.core.space import Continuous, Space
from simulacra.evaluation.extractors import values
from simulacra.evaluation.streaming import look, moments, of_data

HERE = Path(__file__).parent


@pytest.mark.parametrize("batch", [1, 7, 53, 500])
def test_what_is_seen_does_not_depend_on_batches(batch):
    (seen,) = look(part, N, [EXTRACTOR], batch=batch)
    whole = part(0, N)
    torch.testing.assert_close(seen.features, 2 * whole.x.double())
    assert torch.equal(seen.y, whole.y)
    torch.testing.assert_close(seen.p.sum(1), torch.ones(N).double())
    found = moments(part, N, EXTRACTOR, batch=batch)
    torch.testing.assert_close(found.mean, seen.features.mean(0))
    torch.testing.assert_close(found.covariance, seen.features.T.cov().tril())


def test_chosen_examples_are_those_that_values_chooses():
    space = Space(fields={"p": Continuous(low=-1e9, high=1e9, shape=(3,))})
    data = Stored(space=space, x=torch.arange(300.0).reshape(100, 3))
    (seen,) = look(*of_data(data, 30, 5), [EXTRACTOR], batch=8)
    torch.testing.assert_close(seen.features, 2 * values(data, 30, 5).double())
    assert seen.y is None
    with pytest.raises(ValueError, match="at least 1; got 0"):
        look(part, 0, [EXTRACTOR])


@pytest.mark.slow
def test_three_processes_see_what_one_sees(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1] / "src"), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([sys.executable, HERE / "streaming_processes.py", str(rank), tmp_path], env=environment)
        for rank in range(3)
    ]
    try:
        assert [process.wait(timeout=60) for process in running] == [0, 0, 0]
    finally:
        for process in running:
            process.kill()
    (seen,) = look(part, N, [EXTRACTOR], batch=BATCH)
    one = moments(part, N, EXTRACTOR, batch=BATCH)
    for rank in range(3):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert torch.equal(found["features"], seen.features)
        assert torch.equal(found["p"], seen.p)
        assert torch.equal(found["y"], seen.y)
        assert found["count"] == N
        torch.testing.assert_close(found["mean"], one.mean)
        torch.testing.assert_close(found["scatter"], one.scatter)
        torch.testing.assert_close(found["few"], seen.features[:5].mean(0))


@pytest.mark.slow
def test_two_hundred_thousand_pictures_in_bounded_memory(tmp_path):
    """Pictures of 3 x 32 x 32 made as they are asked for: 2.4 GB as floats, looked at within 400 MB."""
    script = """
import resource, torch
from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.evaluation.extractors import Extractor
from simulacra.evaluation.streaming import look, moments
base = torch.linspace(0, 1, 3072).reshape(3, 32, 32)
def part(first, last):
    return Batch(x=base + torch.arange(first, last)[:, None, None, None] / 2e5)
small = Extractor(name="means", hash="0", features=lambda x: x.mean(3).flatten(1))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(seen,) = look(part, 200_000, [small])
found = moments(part, 200_000, small)
assert seen.features.shape == (200_000, 96) and found.count == 200_000
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1] / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 400
