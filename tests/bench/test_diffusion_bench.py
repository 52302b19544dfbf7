"""The measurement's own arithmetic: the peers' network is ours, and an order is an order."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench import diffusion, solver_orders
from simulacra.recipes import unet2d


def test_the_networks_that_are_compared_are_the_same():
    """Their config is what ours is written as; diffusers itself is not needed to see it."""
    settings = unet2d.network_settings(diffusion.ours())
    assert settings["block_out_channels"] == list(diffusion.WIDTHS)
    assert settings["down_block_types"] == ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"]
    assert settings["up_block_types"] == ["AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"]
    assert settings["layers_per_block"] == 2
    peers = pytest.importorskip("diffusers") and diffusion.theirs()
    ours = sum(p.numel() for p in diffusion.ours().network.parameters())
    assert sum(p.numel() for p in peers.parameters()) == ours


def test_errors_fall_with_the_order(monkeypatch):
    monkeypatch.setattr(solver_orders, "COUNTS", (16, 32))
    errors = {name: solver_orders.order_errors(name, points=4, reference=128) for name in ("euler", "heun")}
    assert 0.5 < math.log2(errors["euler"][0] / errors["euler"][1]) < 1.5
    assert errors["heun"][0] < errors["euler"][0] / 4


def test_no_sampler_misses_the_only_point():
    assert max(solver_orders.oracle_deviation().values()) < 1e-10
