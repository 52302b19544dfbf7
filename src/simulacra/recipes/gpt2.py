"""A decoder in the public layout ``gpt2`` as one of ours: names, settings, and the start of a text.

There a text begins with the token ``bos_token_id``, which takes the first place; here what stands before the first
token is a vector of its own, and becomes that token's. Matrices are stored there as (in, out).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from simulacra.core.optimisers import AdamW, Warmup
from simulacra.core.space import Categorical, Space
from simulacra.families.transformer import Transformer, TransformerConfig
from simulacra.nets.activations import gelu, gelu_tanh, relu, silu
from simulacra.nets.decoder import Decoder
from simulacra.nets.learned_places import LearnedPlaces
from simulacra.recipes.public_layout import Kept

KIND = "gpt2"
DEFAULTS: dict[str, Any] = {
    "n_layer": 12, "n_head": 12, "n_embd": 768, "n_positions": 1024, "n_inner": None, "vocab_size": 50_257,
    "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "bos_token_id": 50_256,
}  # fmt: skip
# what may be asked for beside, and the only value under which outputs are those of this network
ONLY: dict[str, Any] = {
    "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False,
    "tie_word_embeddings": True,
}  # fmt: skip
ACTIVATIONS = {"gelu_new": gelu_tanh, "gelu_pytorch_tanh": gelu_tanh, "gelu": gelu, "relu": relu, "silu": silu}
# ours -> theirs
NAMES = (
    (r"^tokens\.", "wte."),
    (r"^places\.", "wpe."),
    (r"^norm\.", "ln_f."),
    (r"^blocks\.", "h."),
    (r"\.first\.", ".ln_1."),
    (r"\.second\.", ".ln_2."),
    (r"\.attention\.inward\.", ".attn.c_attn."),
    (r"\.attention\.outward\.", ".attn.c_proj."),
    (r"\.dense\.inward\.", ".mlp.c_fc."),
    (r"\.dense\.outward\.", ".mlp.c_proj."),
)
MASKS = re.compile(r"\.attn\.(bias|masked_bias)$")  # buffers, in files of older versions
# fine-tuning moves weights that have learnt: slowly. Radford et al. 2018, section 4.1, fine-tuned at 6.25e-5
TUNING = AdamW(lr=6.25e-5, betas=(0.9, 0.95), weight_decay=0.01, schedule=Warmup(steps=20, decay=0.9, final=0.1))


def renamed(name: str) -> str:
    """The name there of one of the network's tensors."""
    for pattern, there in NAMES:
        name = re.sub(pattern, there, name)
    return name


def config_of(settings: Mapping[str, Any]) -> TransformerConfig:
    """The network's sizes from ``config.json``; ValueError naming what has no counterpart here."""
    kind = settings.get("model_type")
    if kind != KIND:
        raise ValueError(
            f"a model of the architecture {kind!r} cannot be read; of language models only {KIND!r} can, of pictures"
            " UNet2DModel and AutoencoderKL"
        )
    for name, only in ONLY.items():
        if settings.get(name, only) != only:
            raise ValueError(f"{KIND} with {name}={settings[name]!r} cannot be read; expected {only!r}")
    s = {**DEFAULTS, **{name: value for name, value in settings.items() if value is not None}}
    if s["activation_function"] not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"{KIND} with activation_function={s['activation_function']!r}; expected one of {known}")
    if s["n_embd"] % s["n_head"]:
        raise ValueError(f"n_head must divide n_embd, {s['n_embd']}; got {s['n_head']}")
    layers = LearnedPlaces(
        places=s["n_positions"],
        hidden=s["n_inner"] or 4 * s["n_embd"],
        activation=ACTIVATIONS[s["activation_function"]],
        eps=s["layer_norm_epsilon"],
    )
    depth = s["n_layer"]
    return TransformerConfig(
        network=Decoder(depth=depth, aspect=s["n_embd"] / depth, head=s["n_embd"] // s["n_head"], layers=layers),
        optimiser=TUNING,
    )


def start_of(settings: Mapping[str, Any]) -> int:
    """The token that a text begins with."""
    found = settings.get("bos_token_id")
    return DEFAULTS["bos_token_id"] if found is None else found


def space_of(settings: Mapping[str, Any], sizes: Sequence[int]) -> Space:
    """Running text, in blocks of as many tokens as there are places; sizes: bytes that each token stands for."""
    s = {**DEFAULTS, **settings}
    if len(sizes) != s["vocab_size"]:
        raise ValueError(
            f"the tokenizer knows {len(sizes):,} tokens and the network {s['vocab_size']:,}; expected as many of both"
        )
    text = Categorical(k=len(sizes), shape=(s["n_positions"],), sizes=tuple(sizes))
    return Space(fields={"text": text}, measure="bytes")


def model_of(config: TransformerConfig, space: Space, tensors: Mapping[str, Tensor], start: int) -> Transformer:
    """The model of that space with the layout's tensors; ValueError naming what is lacking, left over or misshapen."""
    plain = {name.removeprefix("transformer."): t for name, t in tensors.items() if not MASKS.search(name)}
    head = plain.pop("lm_head.weight", None)
    if head is not None and "wte.weight" in plain and not head.equal(plain["wte.weight"]):
        raise ValueError("'lm_head.weight' is not the input's 'wte.weight'; only outputs tied to the input can be read")
    kept, made = Kept(plain), Transformer(config, space)
    there = kept.take("wte.weight", made.network.get_parameter("tokens.weight").shape)
    if not 0 <= start < len(there):
        raise ValueError(f"bos_token_id must be one of the {len(there):,} tokens; got {start}")
    with torch.no_grad():
        for name, ours in made.network.named_parameters():
            if name == "start.weight":
                ours.copy_(there[start][:, None])
            elif ours.ndim == 2 and name.startswith("blocks."):
                ours.copy_(kept.take(renamed(name), ours.shape[::-1]).T)
            else:
                ours.copy_(kept.take(renamed(name), ours.shape))
    kept.finish()
    return made.eval()
