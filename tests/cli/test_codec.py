"""fit --codec: a family of the codes of another run, from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simulacra.cli.main import main

FIT = ["--steps", "4", "--batch", "16"]


def test_a_latent_model_is_fitted_drawn_and_judged_like_any_other(runs: Path, tmp_path: Path, capsys):
    run = f"{tmp_path}/latent"
    small = ["--backbone", "denoisers.Dense(width=16, depth=1)"]
    main(["fit", "flow_matching", "digits", "--codec", f"{runs}/vae", *small, "--out", run, *FIT, "--no-report"])
    assert f"of their codes by {runs}/vae (vae): 3 each" in capsys.readouterr().out
    # the options of the family that learnt the codes, through the codec
    main(["sample", run, "-n", "6", "--steps", "3", "--guidance", "2", "--out", f"{tmp_path}/x.npy"])
    assert np.load(tmp_path / "x.npy").shape == (6, 8, 8, 1)
    main(["reconstruct", run, "held-out", "--out", f"{tmp_path}/again.png"])
    assert (tmp_path / "again.png").exists()


@pytest.mark.parametrize(
    ("codec", "told"),
    [("nowhere", "nowhere is not a run"), ("gan", "a codec of other models needs a Codec")],
)
def test_what_is_no_codec_is_told(runs: Path, tmp_path: Path, capsys, codec: str, told: str):
    path = f"{runs}/gan" if codec == "gan" else codec
    with pytest.raises(SystemExit) as stop:
        main(["fit", "diffusion", "digits", "--codec", path, "--out", f"{tmp_path}/r", *FIT])
    assert stop.value.code == 2
    assert told in capsys.readouterr().err
