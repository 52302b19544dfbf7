"""Rows as findings: real rows pass, rows that stand in training get attention."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.evaluation.tables.rows import rows_of
from simulacra.modalities.tables.inference import infer
from simulacra.modalities.tables.reading import Table
from simulacra.responsibility.rows import findings_of_rows


@pytest.mark.slow
def test_real_rows_pass_and_training_rows_get_attention():
    r = np.random.default_rng(0)
    height = r.normal(170, 10, 900).round(1)
    frame = pd.DataFrame({"height": height, "weight": (height - 100 + r.normal(0, 8, 900)).round(1),
                          "kind": r.choice(["a", "b", "c"], 900)})  # fmt: skip
    rows = rows_of(frame, infer(Table(frame)))
    train, held, fresh = (rows.take(part) for part in _parts())
    found = {f.name: f for f in findings_of_rows(train, held, train, rng=Rng(0))}
    for name in ("nearer to training rows than to held-out ones", "membership by distance"):
        assert found[name].verdict == "attention", found[name].why
    innocent = findings_of_rows(fresh, held, train, rng=Rng(0))
    assert [f.verdict for f in innocent].count("attention") == 0, [f.why for f in innocent]


def _parts():
    order = Rng(0)("parts").permutation(900)
    return torch.split(order, 300)
