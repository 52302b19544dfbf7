"""Keep a small run of the present format for ever: python tests/runs/make_format.py, once when FORMAT changes."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import simulacra
from simulacra.families.vae import VAEConfig
from simulacra.nets.backbones import Dense
from simulacra.runs.recipe import FORMAT
from simulacra.training.settings import Training

FORMATS = Path(__file__).parent / "formats"


def main() -> None:
    """Fit, and keep what loading needs and what the run drew."""
    kept = FORMATS / str(FORMAT)
    if kept.exists():
        raise SystemExit(f"{kept} is there already; a past format is never made again")
    with tempfile.TemporaryDirectory() as folder:
        config = VAEConfig(latent=2, networks=Dense(hidden=(8,)))
        run = simulacra.fit("vae", "ring", out=Path(folder) / "run", config=config, training=Training(steps=20))
        kept.mkdir(parents=True)
        for name in ("recipe.json", "model.safetensors"):
            shutil.copy(run.path / name, kept / name)
        (kept / "drawn.json").write_text(json.dumps(run.sample(4, seed=0).x.tolist()))


if __name__ == "__main__":
    main()
