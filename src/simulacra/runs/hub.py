"""A language model's directory of the hub, as it lies on disk: config.json, model.safetensors, tokenizer.json -> a run.

transformers itself is not needed; the tokenizer is read by ``tokenizers`` (extra ``text``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simulacra.core.checkpoint import digest, load_tensors, read_json
from simulacra.modalities.tokens import Encoding, byte_level
from simulacra.recipes import gpt2
from simulacra.recipes.families import FAMILIES
from simulacra.runs.recipe import Recipe, versions

TENSORS, TOKENIZER = "model.safetensors", "tokenizer.json"


def is_language_model(folder: Path) -> bool:
    """Whether a folder's ``config.json`` is that of a model of transformers, of whatever architecture."""
    path = folder / "config.json"
    return path.is_file() and "model_type" in read_json(path)


def read_language_model(folder: Path) -> tuple[Recipe, Any, Encoding, list[str]]:
    """A directory as a recipe, the model, its tokens, and what is worth knowing, in plain lines.

    Raises ValueError for another architecture, named, for missing files and for weights that do not fit.
    """
    settings = read_json(folder / "config.json")
    config = gpt2.config_of(settings)
    path = _file(folder, TENSORS, "save_pretrained(..., max_shard_size='100GB', safe_serialization=True) writes it")
    encoding = byte_level(_file(folder, TOKENIZER, "AutoTokenizer.from_pretrained(...).save_pretrained(...) writes it"))
    space, start = gpt2.space_of(settings, encoding.sizes), gpt2.start_of(settings)
    model = gpt2.model_of(config, space, load_tensors(path), start)
    _, training = FAMILIES["transformer"].recipe(space, 10_000)
    recipe = Recipe(
        family="transformer",
        config=config,
        space=space,
        data={
            "name": folder.resolve().name,
            "source": None,
            "options": {"block": space.only.shape[0], "cut": "blocks"},
            "modality": "text",
            "fingerprints": {},
            "counts": {},
            "licence": "",
            "consent": "",
            "notes": [f"read from a directory of the layout {gpt2.KIND}"],
        },
        training=training,
        versions=versions(),
        files={"model.safetensors": digest(path)},
        ended="imported",
    )
    begins = encoding.decode([start])
    said = [f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(encoding.sizes):,} tokens, up to"
            f" {space.only.shape[0]:,} of them; every text begins with {begins!r}, unseen"]  # fmt: skip
    return recipe, model, encoding, said


def _file(folder: Path, name: str, remedy: str) -> Path:
    if not (folder / name).is_file():
        raise ValueError(f"{folder} has no {name}; {remedy}")
    return folder / name
