"""Directories of diffusers: a run written as one, and one read as a run. diffusers itself is not needed for either."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simulacra.core.checkpoint import digest, load_tensors, read_json, save_tensors, told, write, write_json
from simulacra.core.space import Classes, Space
from simulacra.families.autoencoder_kl import AutoencoderKL, AutoencoderKLConfig
from simulacra.mathematics.preconditioning import edm
from simulacra.recipes import autoencoder_kl, unet2d
from simulacra.recipes.families import FAMILIES
from simulacra.recipes.settings import from_json, to_json
from simulacra.recipes.vocabulary import SETTINGS
from simulacra.runs.recipe import Recipe, versions

TENSORS = "diffusion_pytorch_model.safetensors"
OURS = "simulacra.json"  # what diffusers has no place for
ABOUT = """# A diffusion model of pictures {shape}

Written by `simulacra export diffusers`. With diffusers:

```python
import torch
from diffusers import {scheduler}, UNet2DModel

unet = UNet2DModel.from_pretrained("{folder}", subfolder="unet")
scheduler = {scheduler}.from_pretrained("{folder}", subfolder="scheduler")
scheduler.set_timesteps(20)
x = torch.randn(4, {shape}) * scheduler.init_noise_sigma
for t in scheduler.timesteps:
    with torch.no_grad():
        predicted = unet(scheduler.scale_model_input(x, t), t{labels}).sample
    x = scheduler.step(predicted, t, x).prev_sample
```

Pictures lie in [-1, 1]; {levels}.{classes} Back again: `simulacra import {folder} --out RUN`.
"""


CODEC_ABOUT = """# An autoencoder of pictures {shape}

Written by `simulacra export diffusers`. With diffusers, for pictures in [-1, 1]:

```python
from diffusers import AutoencoderKL

vae = AutoencoderKL.from_pretrained("{folder}")
codes = vae.encode(pictures).latent_dist.mean
pictures = vae.decode(codes).sample
```

`scaling_factor` is the layout's default: measure the codes' deviation on your data. Back again:
`simulacra import {folder} --out RUN`.
"""


def write_diffusers(model: Any, folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """A diffusion model as a diffusers directory: ``unet``, ``scheduler``, a pipeline where one can sample it; an
    autoencoder as that of its own.

    Raises ValueError for a model without a layout there, a directory in use, and weights beyond the type's range.
    """
    if isinstance(model, AutoencoderKL):
        _write_codec(model, folder, dtype)
        return
    unet2d.network_of(model)
    network, scheduler = unet2d.network_settings(model), unet2d.scheduler_settings(model)
    tensors = {name: _narrow(name, tensor, dtype) for name, tensor in unet2d.outward(model.network).items()}
    _check_free(folder)
    with told(f"make {folder}"):
        (folder / "unet").mkdir(parents=True)
        (folder / "scheduler").mkdir()
    save_tensors(folder / "unet" / TENSORS, tensors, {"format": "pt"})
    write_json(folder / "unet" / "config.json", network)
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    chained = scheduler["_class_name"] == "DDIMScheduler"
    if chained and unet2d.classes_of(model) is None:
        parts = {"scheduler": ["diffusers", "DDIMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
        about = {"_class_name": "DDIMPipeline", "_diffusers_version": unet2d.VERSION, **parts}
        write_json(folder / "model_index.json", about)
    ours = {
        "config": to_json(model.config),
        "space": model.space.to_json(),
        "deviation": float(model.deviation),
        "counts": model.marginal.counts.tolist(),
    }
    write_json(folder / OURS, ours)
    write(folder / "README.md", _about(model, folder, scheduler["_class_name"]).encode())


def _write_codec(model: AutoencoderKL, folder: Path, dtype: torch.dtype) -> None:
    """An autoencoder's two networks as a directory of ``AutoencoderKL``."""
    unet2d.check_range(model.space)
    _check_free(folder)
    tensors = {name: _narrow(name, tensor, dtype) for name, tensor in autoencoder_kl.outward(model).items()}
    with told(f"make {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / TENSORS, tensors, {"format": "pt"})
    settings = {"_diffusers_version": unet2d.VERSION, **autoencoder_kl.network_settings(model)}
    write_json(folder / "config.json", settings)
    scale = model.coder.log_scale
    ours = {"config": to_json(model.config), "space": model.space.to_json(), "log_scale": _number(scale)}
    write_json(folder / OURS, ours)
    shape = ", ".join(map(str, model.space.only.shape))
    write(folder / "README.md", CODEC_ABOUT.format(shape=shape, folder=folder.name).encode())


def _number(tensor: Tensor | None) -> float | None:
    return None if tensor is None else float(tensor.detach())


def _check_free(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; give an empty or a new folder with --out")


def _narrow(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    there = tensor.detach().to(dtype)
    if bool(tensor.isfinite().all()) and not bool(there.isfinite().all()):
        most, bound = float(tensor.abs().max()), torch.finfo(dtype).max
        raise ValueError(
            f"{name!r} reaches {most:.3g}, beyond the {bound:.3g} of {str(dtype).removeprefix('torch.')};"
            " export it as float32 or bfloat16"
        )
    return there


def _about(model: Any, folder: Path, scheduler: str) -> str:
    classes, known = "", unet2d.classes_of(model)
    if known is not None:
        named = ", ".join(f"{i} {name}" for i, name in enumerate(known.names))
        classes = f" Classes: {named}; {len(known)} stands for none."
    levels = "the noise levels are those it was trained with" if scheduler.startswith("EDM") else "spaced trailing"
    labels = "" if known is None else ", class_labels=torch.zeros(4, dtype=torch.long)"
    shape = ", ".join(map(str, model.space.only.shape))
    return ABOUT.format(
        shape=shape, scheduler=scheduler, folder=folder.name, labels=labels, levels=levels, classes=classes
    )


def is_diffusers(folder: Path) -> bool:
    """Whether a folder looks like a directory of diffusers: a pipeline's, or a network's alone."""
    return any((folder / name).is_file() for name in ("model_index.json", "unet/config.json", "config.json"))


def read_diffusers(folder: Path, *, size: int | None = None) -> tuple[Recipe, Any, list[str]]:
    """A diffusers directory as a recipe, the model it describes, and what was taken for granted, in plain lines.

    size  side of the pictures that an autoencoder is to encode; None: that of its ``config.json``.
    Raises ValueError for classes that have no counterpart here, for missing files and for weights that do not fit.
    """
    home = folder / "unet" if (folder / "unet").is_dir() else folder
    path = _weights(home)
    settings, notes = read_json(home / "config.json"), []
    if settings.get("_class_name") == autoencoder_kl.KIND:
        return _read_codec(folder, path, settings, size)
    if size is not None:
        raise ValueError(f"{folder} draws pictures of the size in its config.json; leave the size out")
    backbone = unet2d.backbone_of(settings)
    place = folder / "scheduler" / "scheduler_config.json"
    if not place.is_file():
        notes.append(f"{folder} holds no scheduler: taken to be DDPM's, of 1000 linear betas")
    config, deviation = unet2d.config_of(backbone, read_json(place) if place.is_file() else {})
    space, counts = unet2d.space_of(settings), None
    if (folder / OURS).is_file():
        ours = read_json(folder / OURS)
        known = from_json(ours["config"], SETTINGS)
        config = dataclasses.replace(
            known, backbone=config.backbone, preconditioning=config.preconditioning, low=config.low, high=config.high
        )
        space, counts = Space.from_json(ours["space"]), ours["counts"]
        # a scheduler that knows the data's deviation may have been changed since
        deviation = deviation if config.preconditioning is edm else ours["deviation"]
    model = unet2d.model_of(config, space, load_tensors(path), deviation, counts)
    return _recipe("diffusion", folder, config, space, path), model, notes


def _read_codec(
    folder: Path, path: Path, settings: dict[str, Any], size: int | None
) -> tuple[Recipe, AutoencoderKL, list[str]]:
    config = AutoencoderKLConfig(network=autoencoder_kl.network_of(settings))
    space, scale, notes = autoencoder_kl.space_of(settings, size), None, list[str]()
    if (folder / OURS).is_file():
        ours = read_json(folder / OURS)
        config = dataclasses.replace(from_json(ours["config"], SETTINGS), network=config.network)
        space, scale = Space.from_json(ours["space"]) if size is None else space, ours["log_scale"]
    else:
        notes.append(
            f"{folder} does not say how far pictures scatter about their codes: taken to be 1, half their range"
        )
    model = autoencoder_kl.model_of(config, space, load_tensors(path))
    if scale is not None and model.coder.log_scale is not None:
        model.coder.log_scale.data.fill_(scale)
    notes.append(f"pictures of {' x '.join(map(str, space.only.shape))}; --size gives another side")
    return _recipe("autoencoder_kl", folder, config, space, path), model, notes


def _weights(home: Path) -> Path:
    if not (home / "config.json").is_file():
        raise ValueError(f"{home} has no config.json; expected a directory that diffusers' save_pretrained wrote")
    for path in (home / TENSORS, *sorted(home.glob("diffusion_pytorch_model.*.safetensors"))):
        if path.is_file() and "-of-" not in path.name:
            return path
    if list(home.glob("*-of-*.safetensors")):
        raise ValueError(f"{home} holds its weights in several files; save them in one (max_shard_size='100GB')")
    if list(home.glob("*.bin")):
        raise ValueError(
            f"{home} holds pickled weights, which could run anything; save them with safe_serialization=True"
        )
    raise ValueError(f"{home} has no {TENSORS}; restore it from a copy")


def _recipe(family: str, folder: Path, config: Any, space: Space, path: Path) -> Recipe:
    _, training = FAMILIES[family].recipe(space, 10_000)
    classes = len(space.y) if isinstance(space.y, Classes) else 0
    return Recipe(
        family=family,
        config=config,
        space=space,
        data={
            "name": folder.resolve().name,
            "source": None,
            "options": {},
            "modality": "pictures",
            "fingerprints": {},
            "counts": {},
            "licence": "",
            "consent": "",
            "notes": [f"read from a diffusers directory, {classes or 'no'} classes"],
        },
        training=training,
        versions=versions(),
        files={"model.safetensors": digest(path)},
        ended="imported",
    )
