"""Extractors that others trained: Inception-v3 of the Frechet inception distance, DINOv2, CLIP; from files on disk.

Nothing is fetched. A file's SHA-256 is checked where the published one is known, and is the extractor's hash, so that
figures of other weights never share a column. Pictures come in their space's own values and are shown to the networks
as 8-bit ones: a sample that was never rounded would be judged on digits that no picture has.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.core.space import Continuous, Space
from simulacra.evaluation.extractors import Extractor
from simulacra.mathematics.resize import cropped, tensorflow_bilinear
from simulacra.nets.inception import SIDE, Inception
from simulacra.nets.vision import VisionConfig, VisionTransformer, quick_gelu

# how SHA-256 of pt_inception-2015-12-05-6726825d.pth begins, as its name says
INCEPTION_SHA = "6726825d"
INCEPTION_STANDARD = {
    "Frechet distance": ("FID-50k", 50_000),
    "kernel distance, mean of 100 subsets": ("KID", 50_000),
    "class score, mean of 10 parts": ("Inception score", 50_000),
}
# mean and deviation of the channels: of ImageNet, and of CLIP's own data (its preprocessor_config.json)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HIDDEN = {"gelu": F.gelu, "quick_gelu": quick_gelu}
DINOV2_NAMES = (
    (r"^embeddings\.cls_token$", "token"),
    (r"^embeddings\.position_embeddings$", "position"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patches."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.attention\.", "."),
    (r"\.attention\.output\.dense\.", ".out."),
    (r"\.layer_scale(\d)\.lambda1$", r".scale\1.weight"),
    (r"\.mlp\.", "."),
    (r"^layernorm\.", "after."),
)
CLIP_NAMES = (
    (r"^vision_model\.", ""),
    (r"^embeddings\.class_embedding$", "token"),
    (r"^embeddings\.position_embedding\.weight$", "position"),
    (r"^embeddings\.patch_embedding\.", "patches."),
    (r"^pre_layrnorm\.", "before."),
    (r"^encoder\.layers\.", "blocks."),
    (r"\.self_attn\.q_proj\.", ".query."),
    (r"\.self_attn\.k_proj\.", ".key."),
    (r"\.self_attn\.v_proj\.", ".value."),
    (r"\.self_attn\.out_proj\.", ".out."),
    (r"\.layer_norm(\d)\.", r".norm\1."),
    (r"\.mlp\.", "."),
    (r"^post_layernorm\.", "after."),
    (r"^visual_projection\.", "projection."),
)


def bytes_of(x: Tensor, space: Space) -> Tensor:
    """Pictures in their space's values as whole numbers 0 .. 255 of three channels, float, (b, 3, h, w)."""
    shown = space.only
    if not isinstance(shown, Continuous) or len(shown.shape) != 3 or shown.shape[0] not in (1, 3):
        raise ValueError(f"this network sees grey or RGB pictures; got a field of shape {shown.shape}: give channels=3")
    if x.shape[1:] != shown.shape:
        raise ValueError(f"pictures of shape {tuple(x.shape[1:])}; expected {shown.shape}, as the real ones have")
    return ((x.float() - shown.low) / (shown.high - shown.low) * 255).round().clamp(0, 255).expand(-1, 3, -1, -1)


def inception(space: Space, path: Path, *, sha: str | None = INCEPTION_SHA) -> Extractor:
    """Inception-v3 from the file pt_inception-2015-12-05-6726825d.pth (or the same as .safetensors with sha=None).

    sha  how the file's SHA-256 must begin; None takes any weights that fit, under no published name.
    """
    digest = _hash(path, sha)
    network = Inception()
    _fill(network, _tensors(path), path, left=())
    network.eval().requires_grad_(False)

    def features(x: Tensor) -> Tensor:
        return network(tensorflow_bilinear(bytes_of(x, space), (SIDE, SIDE)))

    return Extractor(
        name="Inception-v3" if sha is None else "Inception-v3 (FID)",
        hash=digest,
        features=_by(features, 50),
        classify=_by(lambda x: network.logits(features(x)).softmax(1), 50),
        standard={} if sha is None else INCEPTION_STANDARD,
    )


def dinov2(space: Space, folder: Path, *, sha: str | None = None) -> Extractor:
    """DINOv2 from a hub directory (config.json and model.safetensors): the class token of 224 x 224 pixels."""
    settings = _settings(folder)
    network = VisionTransformer(dinov2_config(settings))
    path = folder / "model.safetensors"
    digest = _hash(path, sha)
    _fill(network, renamed(_tensors(path), DINOV2_NAMES), path, left=("embeddings.mask_token",))
    # 256 and its middle 224: the preprocessor_config.json of the published models
    return _seen("DINOv2", digest, network, space, side=224, of=256, tones=IMAGENET)


def clip(space: Space, folder: Path, *, sha: str | None = None) -> Extractor:
    """CLIP's picture encoder from a hub directory, projected to where pictures and texts meet."""
    settings = _settings(folder)
    network = VisionTransformer(clip_config(settings))
    path = folder / "model.safetensors"
    digest = _hash(path, sha)
    tensors = {n: t for n, t in _tensors(path).items() if n.startswith(("vision_model.", "visual_projection."))}
    _fill(network, renamed(tensors, CLIP_NAMES), path, left=("embeddings.position_ids",))
    side = network.config.side
    return _seen("CLIP", digest, network, space, side=side, of=side, tones=CLIP)


def dinov2_config(settings: Mapping[str, Any]) -> VisionConfig:
    """The network that a config.json of DINOv2 describes; ValueError for a variant that is not ours."""
    if settings.get("use_swiglu_ffn") or settings.get("num_register_tokens"):
        raise ValueError("DINOv2 with registers or gated layers is not known here; use the small, base or large one")
    return VisionConfig(
        side=settings["image_size"],
        patch=settings["patch_size"],
        width=settings["hidden_size"],
        depth=settings["num_hidden_layers"],
        heads=settings["num_attention_heads"],
        hidden=settings["hidden_size"] * settings.get("mlp_ratio", 4),
        activation=HIDDEN[settings.get("hidden_act", "gelu")],
        epsilon=settings.get("layer_norm_eps", 1e-6),
    )


def clip_config(settings: Mapping[str, Any]) -> VisionConfig:
    """The picture encoder that a config.json of CLIP describes; what it leaves out is as in ViT-B/32."""
    seen = settings.get("vision_config", settings)
    return VisionConfig(
        side=seen.get("image_size", 224),
        patch=seen.get("patch_size", 32),
        width=seen.get("hidden_size", 768),
        depth=seen.get("num_hidden_layers", 12),
        heads=seen.get("num_attention_heads", 12),
        hidden=seen.get("intermediate_size", 3072),
        activation=HIDDEN[seen.get("hidden_act", "quick_gelu")],
        epsilon=seen.get("layer_norm_eps", 1e-5),
        before=True,
        scaled=False,
        projected=settings.get("projection_dim", 512),
    )


def renamed(tensors: Mapping[str, Tensor], names: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    """Tensors of a hub's model under the names of ``VisionTransformer``; leading extents of one dropped."""
    found: dict[str, Tensor] = {}
    for name, t in tensors.items():
        for pattern, ours in names:
            name = re.sub(pattern, ours, name)
        found[name] = t.reshape(t.shape[-2:] if name == "position" else t.shape[-1:]) if name in (
            "token", "position"
        ) else t  # fmt: skip
    return found


def _seen(name: str, digest: str, network: VisionTransformer, space: Space, *, side: int, of: int, tones) -> Extractor:
    network.eval().requires_grad_(False)
    mean, spread = (torch.tensor(t).reshape(1, 3, 1, 1) for t in tones)

    def features(x: Tensor) -> Tensor:
        return network((cropped(bytes_of(x, space), side, of).clamp(0, 255) / 255 - mean) / spread)

    c = network.config
    return Extractor(name=f"{name} ViT-{c.width}/{c.patch}", hash=digest, features=_by(features, 50))


def _by(function, rows: int):
    """The function a few rows at a time: networks of this size hold much between layers."""
    return lambda x: torch.cat([function(part) for part in x.split(rows)])


def _settings(folder: Path) -> dict[str, Any]:
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} has no config.json; expected a hub directory with config.json and model.safetensors"
        )
    return json.loads(path.read_text())


def _hash(path: Path, sha: str | None) -> str:
    """SHA-256 of a file; ValueError where it is missing or begins otherwise than it must."""
    if not Path(path).is_file():
        raise ValueError(f"no weights at {path}; this extractor is read from a file on this disk, nothing is fetched")
    with Path(path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if sha is not None and not digest.startswith(sha.lower()):
        raise ValueError(f"{path}: SHA-256 begins {digest[:8]}, expected {sha[:8]}: it is damaged, or of other weights")
    return digest


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path}: no weights that can be read ({' '.join(str(error).split())[:80]})") from error


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, *, left: tuple[str, ...]) -> None:
    """Weights into a network; ValueError, naming some, where one lacks, has no place or has another shape."""
    own = network.state_dict()
    given = {n: t for n, t in tensors.items() if n not in left}
    # counts of batches are no weights, and older files have none
    missing = [n for n in own if n not in given and not n.endswith("num_batches_tracked")]
    strange = [n for n in given if n not in own]
    shaped = [n for n in given if n in own and given[n].shape != own[n].shape]
    for what, names in (("lacks", missing), ("has no place for", strange), ("has another shape of", shaped)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ValueError(f"{path}: the network {what} {names[0]}{more}; these are weights of another network")
    network.load_state_dict({n: t.to(own[n].dtype) for n, t in given.items()}, strict=False)
