"""The accelerator changes nothing but rounding."""

from __future__ import annotations

import pytest
import torch
from small_models import MODELS, ring

from simulacra.training.loop import train
from simulacra.training.monitors import monitors
from simulacra.training.settings import Training
from simulacra.training.state import weights_and_averages

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("name", MODELS)
def test_twenty_steps_in_float64_are_those_of_the_cpu(name, tmp_path):
    ends = []
    for device in ("cpu", "cuda"):
        model = MODELS[name]()
        settings = Training(steps=20, batch=32, precision="float64", log_every=5)
        watching = monitors(model, held_out=ring(seed=1), every=10)
        trained = train(model, ring(), settings, device=device, folder=tmp_path / device, hooks=watching)
        ends.append(weights_and_averages(trained.model, trained.averaged))
    assert all((ends[1][key] - value).abs().max() < 1e-9 for key, value in ends[0].items())


def test_bfloat16_learns():
    model = MODELS["vae"]()
    trained = train(model, ring(), Training(steps=200, batch=64, precision="bfloat16"), device="cuda")
    assert trained.log[-1]["elbo"] < trained.log[0]["elbo"]
