"""The public layout ``AutoencoderKL`` as one of ours: names, settings, numbers. Pictures there lie in [-1, 1].

Codes are those of the encoder, not multiplied by the layout's ``scaling_factor``: whoever learns codes here measures
their centre and scale from the data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from simulacra.core.space import Continuous, Space
from simulacra.families.autoencoder_kl import AutoencoderKL, AutoencoderKLConfig
from simulacra.nets.picture_coder import PictureCoder
from simulacra.recipes import public_layout

KIND = "AutoencoderKL"
# ours -> theirs, one after the other
NAMES = (
    (r"^encoder\.moments\.", "quant_conv."),
    (r"^decoder\.vectors\.", "post_quant_conv."),
    (r"coder\.first\.", "coder.conv_in."),
    (r"coder\.norm\.", "coder.conv_norm_out."),
    (r"coder\.last\.", "coder.conv_out."),
    (r"coder\.middle\.", "coder.mid_block."),
    (r"coder\.(down|up)\.(\d+)\.", r"coder.\1_blocks.\2."),
    (r"\.(down|up)(_blocks\.\d+)\.then\.", r".\1\2.\1samplers.0.conv."),
    (r"\.blocks\.(\d+)\.", r".resnets.\1."),
    (r"\.skip\.", ".conv_shortcut."),
    (r"(\.attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"\.outward\.", ".to_out.0."),
)
DEFAULTS: dict[str, Any] = {
    "block_out_channels": (64,), "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 32, "in_channels": 3,
    "out_channels": 3, "use_quant_conv": True, "use_post_quant_conv": True, "mid_block_add_attention": True,
    "act_fn": "silu", "sample_size": 32, "down_block_types": None, "up_block_types": None,
}  # fmt: skip
BLOCKS = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}
OURS = "log_scale"  # which the layout has no place for


def renamed(name: str) -> str:
    """The name there of one of the two networks' tensors."""
    for pattern, there in NAMES:
        name = re.sub(pattern, there, name)
    return name


def network_of(settings: Mapping[str, Any]) -> PictureCoder:
    """The networks' sizes from ``config.json``; ValueError naming what has no counterpart here."""
    s = {**DEFAULTS, **settings}
    for name, kind in BLOCKS.items():
        if wrong := [block for block in s[name] or () if block != kind]:
            raise ValueError(f"{KIND} with {name}={wrong[0]!r} cannot be read; only {kind!r} can")
    if s["act_fn"] not in ("silu", "swish") or s["in_channels"] != s["out_channels"]:
        raise ValueError(
            f"{KIND} with act_fn={s['act_fn']!r} and {s['in_channels']} channels in, {s['out_channels']} out cannot be"
            " read; expected silu, and as many out as in"
        )
    return PictureCoder(
        widths=tuple(s["block_out_channels"]),
        channels=s["latent_channels"],
        blocks=s["layers_per_block"],
        groups=s["norm_num_groups"],
        attention=s["mid_block_add_attention"],
        moments=s["use_quant_conv"],
        vectors=s["use_post_quant_conv"],
    )


def space_of(settings: Mapping[str, Any], size: int | None) -> Space:
    """Pictures of that size, of ``sample_size`` where it is None: the networks take any."""
    s = {**DEFAULTS, **settings}
    side = size or s["sample_size"]
    height, width = side if isinstance(side, (list, tuple)) else (side, side)
    picture = Continuous(low=-1.0, high=1.0, levels=256, shape=(s["in_channels"], height, width))
    return Space(fields={"picture": picture}, measure="8-bit pixels")


def model_of(config: AutoencoderKLConfig, space: Space, kept: Mapping[str, Tensor]) -> AutoencoderKL:
    """The autoencoder with these public tensors; ValueError where they do not fit."""
    model = AutoencoderKL(config, space)
    public = public_layout.Kept(kept)
    state = model.coder.state_dict()
    found = {name: public.for_ours(name, tensor, renamed) for name, tensor in state.items() if name != OURS}
    public.finish()
    model.coder.load_state_dict({**state, **found})
    return model.eval()


def outward(model: AutoencoderKL) -> dict[str, Tensor]:
    """The networks' tensors under their public names."""
    state = {name: tensor for name, tensor in model.coder.state_dict().items() if name != OURS}
    return public_layout.outward(state, renamed)


def network_settings(model: AutoencoderKL) -> dict[str, Any]:
    """``config.json`` of the networks."""
    s, (channels, height, width) = model.config.network, model.space.only.shape
    return {
        "_class_name": KIND,
        "act_fn": "silu",
        "block_out_channels": list(s.widths),
        **{name: [kind] * len(s.widths) for name, kind in BLOCKS.items()},
        "in_channels": channels,
        "latent_channels": s.channels,
        "layers_per_block": s.blocks,
        "mid_block_add_attention": s.attention,
        "norm_num_groups": s.groups,
        "out_channels": channels,
        "sample_size": height if height == width else [height, width],
        "use_post_quant_conv": s.vectors,
        "use_quant_conv": s.moments,
    }
