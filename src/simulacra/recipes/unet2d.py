"""A diffusion model in the layout of diffusers' ``UNet2DModel`` and its schedulers, and back: names, settings, numbers.

What the two share: blocks of ``nets.residual_unet``; from a scheduler its noise levels and what the network predicts.
``edm`` preconditioning with c_noise itself as the time is ``EDMEulerScheduler`` (same coefficients, sigma_data the
data's deviation); ``epsilon``, ``v`` and ``clean`` with the steps of a ``NoiseChain`` are ``DDIMScheduler``. There the
steps must be spaced "trailing", so that sampling starts at the last level (Lin et al. 2024, table 2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.diffusion import Diffusion, DiffusionConfig
from simulacra.mathematics import noise_chain
from simulacra.mathematics import preconditioning as pre
from simulacra.mathematics.noise_chain import AlongChain, NoiseChain, unchanged
from simulacra.nets.residual_unet import ResidualDenoiser, ResidualUNet
from simulacra.recipes import public_layout

VERSION = "0.33.0"  # the oldest diffusers that reads what is written here
PREDICTS: dict[Any, str] = {pre.epsilon: "epsilon", pre.v: "v_prediction", pre.clean: "sample"}
BETAS: dict[Any, str] = {
    noise_chain.linear: "linear",
    noise_chain.root_linear: "scaled_linear",
    noise_chain.squared_cosine: "squaredcos_cap_v2",
}
# ours -> theirs, one after the other
NAMES = (
    (r"^first\.", "conv_in."),
    (r"^norm\.", "conv_norm_out."),
    (r"^last\.", "conv_out."),
    (r"^level\.dense([12])\.", r"time_embedding.linear_\1."),
    (r"^middle\.", "mid_block."),
    (r"^(down|up)\.(\d+)\.", r"\1_blocks.\2."),
    (r"^(down|up)(_blocks\.\d+)\.then\.", r"\1\2.\1samplers.0.conv."),
    (r"\.blocks\.(\d+)\.", r".resnets.\1."),
    (r"\.time\.", ".time_emb_proj."),
    (r"\.skip\.", ".conv_shortcut."),
    (r"(\.attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"\.outward\.", ".to_out.0."),
)
GIVEN = "level.given.weight"
# settings of UNet2DModel that are read, and those that must have the value here
READ = {"block_out_channels", "down_block_types", "up_block_types", "layers_per_block", "add_attention",
        "norm_num_groups", "attention_head_dim", "norm_eps", "downsample_padding", "flip_sin_to_cos", "freq_shift",
        "in_channels", "out_channels", "sample_size", "num_class_embeds"}  # fmt: skip
FIXED: dict[str, tuple[Any, ...]] = {
    "center_input_sample": (False,),
    "time_embedding_type": ("positional",),
    "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1,),
    "downsample_type": ("conv",),
    "upsample_type": ("conv",),
    "dropout": (0.0,),
    "act_fn": ("silu", "swish"),
    "resnet_time_scale_shift": ("default",),
    "class_embed_type": (None,),
    "attn_norm_num_groups": (None,),
    "time_embedding_dim": (None,),
}
DEFAULTS: dict[str, Any] = {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (224, 448, 672, 896), "layers_per_block": 2, "add_attention": True, "norm_num_groups": 32,
    "attention_head_dim": 8, "norm_eps": 1e-5, "downsample_padding": 1, "flip_sin_to_cos": True, "freq_shift": 0,
    "in_channels": 3, "out_channels": 3, "sample_size": None, "num_class_embeds": None,
}  # fmt: skip


# -- settings ---------------------------------------------------------------------------------------------------------


def network_of(model: Any) -> ResidualDenoiser:
    """The network of a model that has a public layout; ValueError, naming what it is instead, for any other."""
    if not isinstance(model, Diffusion):
        raise ValueError(f"diffusers has a layout for diffusion models; this is a {type(model).__name__}")
    if not isinstance(model.network, ResidualDenoiser):
        raise ValueError(
            f"diffusers has no layout for a {type(model.network).__name__}; fit with --backbone ResidualUNet to export"
        )
    if not isinstance(model.space.only, Continuous) or isinstance(model.space.y, Space):
        raise ValueError("UNet2DModel knows classes only; this model is conditional on another space")
    check_range(model.space)
    if wrong := [side for side in model.space.only.shape[1:] if side % model.network.unit]:
        raise ValueError(f"UNet2DModel halves {model.network.unit.bit_length() - 1} times; {wrong[0]} cannot be halved")
    return model.network


def check_range(space: Space) -> None:
    """ValueError for pictures that do not lie where diffusers has them."""
    f = space.only
    assert isinstance(f, Continuous)
    if (f.low, f.high, f.centre, f.scale) != (-1, 1, 0, 1):
        raise ValueError(
            f"pictures of diffusers lie in [-1, 1]; this model's lie in [{f.low:g}, {f.high:g}] with centre"
            f" {f.centre:g} and scale {f.scale:g}; fit on pictures of grey levels or colours"
        )


def classes_of(model: Diffusion) -> Classes | None:
    """The classes that a model tells apart."""
    return model.space.y if isinstance(model.space.y, Classes) else None


def network_settings(model: Diffusion) -> dict[str, Any]:
    """``config.json`` of the network; one class more than the model has, the last one standing for none."""
    s, (channels, height, width) = network_of(model).settings, model.space.only.shape
    kinds = ["Attn" if a else "" for a in s.attention]
    known = classes_of(model)
    classes = None if known is None else len(known) + 1
    return {
        "_class_name": "UNet2DModel",
        "_diffusers_version": VERSION,
        **{name: values[0] for name, values in FIXED.items()},
        "sample_size": height if height == width else [height, width],
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": list(s.widths),
        "down_block_types": [f"{kind}DownBlock2D" for kind in kinds],
        "up_block_types": [f"{kind}UpBlock2D" for kind in reversed(kinds)],
        "layers_per_block": s.blocks,
        "add_attention": s.middle,
        "norm_num_groups": s.groups,
        "attention_head_dim": s.head,
        "norm_eps": s.eps,
        "downsample_padding": s.padding,
        "flip_sin_to_cos": s.cosines,
        "freq_shift": s.shift,
        "num_class_embeds": classes,
    }


def backbone_of(settings: Mapping[str, Any]) -> ResidualUNet:
    """The network's settings from its ``config.json``, its clock not yet known; ValueError naming what is not ours."""
    if (kind := settings.get("_class_name")) != "UNet2DModel":
        raise ValueError(f"only UNet2DModel can be read from a diffusers directory; this is a {kind}")
    s = {**DEFAULTS, **{name: value for name, value in settings.items() if name in READ}}
    for name, values in FIXED.items():
        if settings.get(name, values[0]) not in values:
            raise ValueError(f"UNet2DModel with {name}={settings[name]!r} cannot be read; only {values[0]!r} can")
    down, up = list(s["down_block_types"]), list(s["up_block_types"])
    if unknown := [k for k in (*down, *up) if not re.fullmatch(r"(Attn)?(Down|Up)Block2D", k)]:
        raise ValueError(
            f"UNet2DModel with a {unknown[0]} cannot be read; only DownBlock2D, AttnDownBlock2D and the like"
        )
    attention = tuple(kind.startswith("Attn") for kind in down)
    if attention != tuple(kind.startswith("Attn") for kind in reversed(up)):
        raise ValueError("UNet2DModel with attention at other sizes on the way up than down cannot be read")
    if s["in_channels"] != s["out_channels"]:
        raise ValueError(f"UNet2DModel from {s['in_channels']} to {s['out_channels']} channels denoises no picture")
    return ResidualUNet(
        widths=tuple(s["block_out_channels"]), attention=attention, middle=bool(s["add_attention"]),
        blocks=s["layers_per_block"], groups=s["norm_num_groups"], head=s["attention_head_dim"], eps=s["norm_eps"],
        padding=s["downsample_padding"], cosines=bool(s["flip_sin_to_cos"]), shift=float(s["freq_shift"]),
    )  # fmt: skip


def scheduler_settings(model: Diffusion) -> dict[str, Any]:
    """``scheduler_config.json``; ValueError where no scheduler there has this preconditioning and clock."""
    config, clock = model.config, network_of(model).settings.clock
    named = getattr(config.preconditioning, "__name__", str(config.preconditioning))
    if config.preconditioning is pre.edm and clock is unchanged:
        return {
            "_class_name": "EDMEulerScheduler",
            "_diffusers_version": VERSION,
            "sigma_min": config.low,
            "sigma_max": config.high,
            "sigma_data": float(model.deviation),
            "sigma_schedule": "karras",
            "prediction_type": "epsilon",
            "rho": 7.0,
            "final_sigmas_type": "zero",
        }
    if isinstance(clock, NoiseChain) and config.preconditioning in PREDICTS and clock.betas in BETAS:
        return {
            "_class_name": "DDIMScheduler",
            "_diffusers_version": VERSION,
            "num_train_timesteps": clock.count,
            "beta_start": clock.first,
            "beta_end": clock.last,
            "beta_schedule": BETAS[clock.betas],
            "prediction_type": PREDICTS[config.preconditioning],
            "timestep_spacing": "trailing",
            "clip_sample": False,
            "set_alpha_to_one": True,
            "rescale_betas_zero_snr": False,
        }
    raise ValueError(
        f"diffusers has no scheduler for {named} preconditioning with this clock; expected edm with clock=unchanged, or"
        " epsilon, v or clean with clock=NoiseChain()"
    )


def config_of(backbone: ResidualUNet, scheduler: Mapping[str, Any]) -> tuple[DiffusionConfig, float]:
    """A diffusion model's settings, and its data's deviation, from a network's and a scheduler's.

    Raises ValueError for a scheduler of another process, and for one whose last level is infinite.
    """
    kind, predicts = scheduler.get("_class_name", "DDPMScheduler"), scheduler.get("prediction_type", "epsilon")
    if kind.startswith("EDM"):
        if predicts != "epsilon":
            raise ValueError(f"{kind} with prediction_type={predicts!r} cannot be read; only 'epsilon' can")
        deviation = float(scheduler.get("sigma_data", 0.5))
        low, high = scheduler.get("sigma_min", 0.002), scheduler.get("sigma_max", 80.0)
        return DiffusionConfig(backbone=backbone, low=low, high=high), deviation
    schedules = {name: betas for betas, name in BETAS.items()}
    betas = schedules.get(scheduler.get("beta_schedule", "linear"))
    targets = {name: function for function, name in PREDICTS.items()}
    if "FlowMatch" in kind or betas is None or scheduler.get("trained_betas") is not None or predicts not in targets:
        raise ValueError(f"the {kind} here describes a noise process that cannot be read;"
                         f" expected EDM, or betas {', '.join(schedules)} and one of {', '.join(targets)}")  # fmt: skip
    if scheduler.get("rescale_betas_zero_snr"):
        raise ValueError(f"{kind} with rescale_betas_zero_snr ends at infinite noise, where {predicts} says nothing"
                         " of the picture; expected a schedule with a finite last level")  # fmt: skip
    chain = NoiseChain(
        betas=betas, count=scheduler.get("num_train_timesteps", 1000),
        first=scheduler.get("beta_start", 1e-4), last=scheduler.get("beta_end", 0.02),
    )  # fmt: skip
    ends = chain.level(torch.tensor([0.0, chain.count - 1.0], dtype=torch.float64)).tolist()
    weighting = {pre.epsilon: pre.uniform_epsilon, pre.v: pre.uniform_edm, pre.clean: pre.min_snr}[targets[predicts]]
    config = DiffusionConfig(
        backbone=ResidualUNet(**{**vars(backbone), "clock": chain}), preconditioning=targets[predicts],
        weighting=weighting, levels=AlongChain(chain=chain), low=ends[0], high=ends[1],
    )  # fmt: skip
    return config, 0.5


def space_of(settings: Mapping[str, Any]) -> Space:
    """Pictures as the network takes them; its classes are known by their numbers."""
    s = {**DEFAULTS, **settings}
    if s["sample_size"] is None:
        raise ValueError("the network's config.json names no sample_size; write the side of its pictures there")
    sides = s["sample_size"] if isinstance(s["sample_size"], (list, tuple)) else [s["sample_size"]] * 2
    classes = None if s["num_class_embeds"] is None else Classes(names=tuple(map(str, range(s["num_class_embeds"]))))
    picture = Continuous(low=-1.0, high=1.0, levels=256, shape=(s["out_channels"], *sides))
    return Space(fields={"picture": picture}, y=classes, measure="8-bit pixels")


def model_of(
    config: DiffusionConfig, space: Space, kept: Mapping[str, Tensor], deviation: float, counts: Sequence[int] | None
) -> Diffusion:
    """The diffusion model with these public tensors; counts of its classes, None: none was counted."""
    model = Diffusion(config, space)
    inward(kept, network_of(model))
    model.deviation.fill_(deviation)
    if counts is not None:
        model.marginal.counts.copy_(torch.tensor(counts))
    return model.eval()


# -- numbers ----------------------------------------------------------------------------------------------------------


def renamed(name: str) -> str:
    """The name there of one of the network's tensors."""
    for pattern, there in NAMES:
        name = re.sub(pattern, there, name)
    return name


def outward(network: ResidualDenoiser) -> dict[str, Tensor]:
    """A network's tensors under their public names."""
    state = dict(network.state_dict())
    given = state.pop(GIVEN, None)
    found = public_layout.outward(state, renamed)
    if given is not None:
        rows = given.T * network.level.gain
        found["class_embedding.weight"] = torch.cat([rows, torch.zeros_like(rows[:1])])
    return found


def inward(tensors: Mapping[str, Tensor], network: ResidualDenoiser) -> None:
    """Public tensors into a network, in place; ValueError naming what is lacking, left over, or not finite."""
    kept, state = public_layout.Kept(tensors), dict[str, Tensor]()
    for name, tensor in network.state_dict().items():
        if name == GIVEN:
            classes = tensor.shape[1]
            shape = torch.Size((_rows(kept.tensors, classes), len(tensor)))
            state[name] = kept.take("class_embedding.weight", shape)[:classes].T / network.level.gain
        else:
            state[name] = kept.for_ours(name, tensor, renamed)
    kept.finish()
    network.load_state_dict(state)


def _rows(kept: Mapping[str, Tensor], classes: int) -> int:
    """Rows of the table of classes: one more where its last stands for none."""
    table = kept.get("class_embedding.weight")
    return classes if table is None or len(table) != classes + 1 or bool(table[-1].any()) else classes + 1
