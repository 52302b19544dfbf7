"""Runs of a few steps that the verbs are tried on."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulacra.cli.main import main

FIT = ["--steps", "4", "--batch", "16", "--no-report"]


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    """A folder with a VAE and a GAN of the digits."""
    folder = tmp_path_factory.mktemp("verbs")
    main(["fit", "vae", "digits", "--latent", "3", "--networks", "Dense(hidden=(8,))", "--out", f"{folder}/vae", *FIT])
    main(["fit", "gan", "digits", "--generator", "8", "--critic", "8", "--out", f"{folder}/gan", *FIT])
    return folder
