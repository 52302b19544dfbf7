"""Sequences: a small transformer on tinyshakespeare at nanoGPT's CPU setting, and what generating costs.

nanoGPT's readme (github.com/karpathy/nanoGPT, "i only have a macbook"): 4 layers, 4 heads, 128 wide, block 64, batch
12, no dropout, learning rate 1e-3 falling to 1e-4 by a cosine after 100 steps, AdamW(0.9, 0.99) with weight decay 0.1,
gradients clipped at 1; validation loss 1.88 after 2,000 steps. Its network and loop are rewritten here from those facts
and from the GPT-2 paper. Both sides use the same fused AdamW where the time of
a step is compared, and the same number of CPU-seconds where losses are.

``python -m bench sequences`` runs all parts; ``python -m bench.sequences step | loss | generation`` some of them.
"""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
LAYERS, HEADS, WIDTH, BLOCK, BATCH, KINDS = 4, 4, 128, 64, 12, 65
SECONDS = 100.0  # of CPU time that either side trains for
LOSS, TOKENS = 1.70, 256
RATE = 1e-3  # nanoGPT's learning rate, its own
TRANSFORMERS = ["torch", "numpy", "transformers>=5"]


def run(parts: tuple[str, ...] = ()) -> list[Any]:
    """The rows of the parts asked for, of all of them for none."""
    rows: list[Any] = []
    for part in parts or tuple(PARTS):
        rows += PARTS[part]()
    return rows


def text() -> tuple[Any, Any]:
    """Tinyshakespeare as token numbers: what is learned from, and the last tenth. Needs no simulacra."""
    import torch

    path = Path(os.environ["SIMULACRA_DATA"]) / "text" / "tinyshakespeare.txt"
    whole = path.read_text(encoding="utf-8")
    number = {c: i for i, c in enumerate(sorted(set(whole)))}
    tokens = torch.tensor([number[c] for c in whole])
    edge = int(0.9 * len(tokens))
    return tokens[:edge], tokens[edge:]


# -- what a step takes ------------------------------------------------------------------------------------------------


def step() -> list[Any]:
    """A training step of the engine against one of a plain loop of nanoGPT's network, the same AdamW."""
    from bench.harness import Side, compare, faster

    both = compare(Side(file=HERE, function="our_steps"), Side(file=HERE, function="their_steps"), rounds=7)
    what = f"transformer {LAYERS}x{WIDTH}, block {BLOCK}, batch {BATCH}: a training step, same AdamW, against nanoGPT's"
    return [faster(what, both, at_least=1.0)]


def our_steps(count: int = 60):
    """Steps of the engine, data and moving average included."""
    from simulacra.core.optimisers import AdamW
    from simulacra.families.transformer import TransformerConfig, build
    from simulacra.modalities.sources import open_data
    from simulacra.training.loop import train
    from simulacra.training.settings import Training

    data = open_data("tinyshakespeare", block=BLOCK).train
    optimiser = AdamW(lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
    model = build(TransformerConfig(optimiser=optimiser), data.space, rng=0)

    def one_round() -> dict[str, Any]:
        train(model, data, Training(steps=count, batch=BATCH, clip=1.0))
        return {"work": count}

    return one_round


def their_steps(count: int = 60):
    """Steps of the plain loop."""
    import torch

    torch.set_num_threads(1)
    train, _ = text()
    network = _gpt()
    optimiser = _their_adamw(network, 1e-3)

    def one_round() -> dict[str, Any]:
        for number in range(count):
            _their_step(network, optimiser, train, number)
        return {"work": count}

    return one_round


# -- what is learned in equal time ------------------------------------------------------------------------------------


def loss() -> list[Any]:
    """Nats a character over independent blocks of 64 after equal CPU time."""
    from bench.harness import Row, Side, measure

    (ours,) = measure(Side(file=HERE, function="our_learning"), rounds=1, warm_up=0)
    (theirs,) = measure(Side(file=HERE, function="their_learning"), rounds=1, warm_up=0)
    mine, other = ours.value, theirs.value
    what = f"tinyshakespeare, {LAYERS}x{WIDTH}, block {BLOCK}, batch {BATCH}: validation loss after {SECONDS:g} CPU-s"
    note = (
        f"{mine['steps']:,} steps in {mine['cpu_s']:.0f} CPU-s against {other['steps']:,} in {other['cpu_s']:.0f};"
        " ours of whole blocks, the first character given nothing, theirs of the 64 characters after the first of 65;"
        f" over those, ours {mine['after_one']:.4f}; nanoGPT's readme: 1.88 after 2,000 steps"
    )
    return [
        Row(
            what=what,
            unit="nats a character",
            ours=mine["loss"],
            peer=other["loss"],
            target=f"<= {LOSS:g}",
            met=mine["loss"] <= LOSS,
            note=note,
            rounds={"ours": mine, "theirs": other},
        )
    ]


def our_learning(seconds: float = SECONDS, **changes: Any):
    """A run of the recipe's setting that takes so many CPU-seconds, judged on the last tenth."""
    from dataclasses import replace

    import torch

    from simulacra.families.transformer import build
    from simulacra.modalities.sources import open_data
    from simulacra.recipes.published import PUBLISHED
    from simulacra.training.loop import train

    torch.set_num_threads(1)
    loaded = open_data("tinyshakespeare", block=BLOCK)
    known = PUBLISHED["transformer-tinyshakespeare"]

    def one_round() -> dict[str, Any]:
        settings = replace(known.training, minutes=None, steps=40, save_seconds=None)
        # a step's cost, from a few of them, tells how many fit
        trial = build(known.config, loaded.train.space, rng=0)
        train(trial, loaded.train, replace(settings, steps=5))
        before = time.process_time()
        train(trial, loaded.train, settings)
        steps = int(seconds / (time.process_time() - before) * 40)
        model = build(known.config, loaded.train.space, rng=0)
        before = time.process_time()
        trained = train(model, loaded.train, replace(settings, steps=steps))
        spent = time.process_time() - before
        tokens = loaded.held_out.x
        model = trained.averaged
        nats = -model.log_likelihood(tokens).nats.sum() / tokens.numel()
        sample = model.sample(8, rng=1).x
        # the protocol of the other side: each of 64 characters given those before it and one more
        longer = torch.cat([tokens[:-1], tokens[1:, :1]], 1)
        first = model.log_likelihood(longer[:, :BLOCK]).nats
        alone = torch.stack([model.steps(1).log_probs()[0, t] for t in longer[:, 0]])
        after = -(first - alone).sum() / (len(longer) * (BLOCK - 1))
        shown = ["".join(loaded.encoding.decode(row.tolist())) for row in sample]  # type: ignore[union-attr]
        return {
            "value": {
                "loss": float(nats), "after_one": float(after), "steps": steps, "cpu_s": spent, "samples": shown,
            }
        }  # fmt: skip

    return one_round


def their_learning(seconds: float = SECONDS, rate: float = RATE):
    """nanoGPT's recipe for so many CPU-seconds, its cosine stretched over them."""
    import torch

    torch.set_num_threads(1)
    train, held = text()
    network = _gpt()
    optimiser = _their_adamw(network, rate)

    def one_round() -> dict[str, Any]:
        start, number = time.process_time(), 0
        while (spent := time.process_time() - start) < seconds:
            cosine = 0.1 + 0.45 * (1 + math.cos(math.pi * spent / seconds))
            for group in optimiser.param_groups:
                group["lr"] = rate * min(1.0, (number + 1) / 100) * cosine
            _their_step(network, optimiser, train, number)
            number += 1
        n = (len(held) - 1) // BLOCK
        with torch.no_grad():
            x, y = held[: n * BLOCK].view(n, BLOCK), held[1 : n * BLOCK + 1].view(n, BLOCK)
            nats = sum(float(network.loss(a, b)) * len(a) for a, b in zip(x.split(64), y.split(64), strict=True)) / n
        return {"value": {"loss": nats, "steps": number, "cpu_s": spent, "rate": rate}}

    return one_round


def _gpt() -> Any:
    """GPT-2's network (Radford et al. 2019) without biases and dropout, its input tied to its output."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    torch.manual_seed(0)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
            self.asked, self.found = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
            self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

        def forward(self, h: Any) -> Any:
            b, t, _ = h.shape
            q, k, v = (x.view(b, t, HEADS, -1).transpose(1, 2) for x in self.asked(self.one(h)).split(WIDTH, dim=2))
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            h = h + self.found(out.transpose(1, 2).reshape(b, t, WIDTH))
            return h + self.down(F.gelu(self.up(self.two(h))))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(KINDS, WIDTH), nn.Embedding(BLOCK, WIDTH)
            self.blocks, self.norm = nn.ModuleList(Block() for _ in range(LAYERS)), nn.LayerNorm(WIDTH, bias=False)
            for name, p in self.named_parameters():
                if p.ndim == 2:
                    small = math.sqrt(2 * LAYERS) if name.endswith(("found.weight", "down.weight")) else 1.0
                    nn.init.normal_(p, std=0.02 / small)

        def forward(self, x: Any) -> Any:
            h = self.tokens(x) + self.places(torch.arange(x.shape[1]))
            for block in self.blocks:
                h = block(h)
            return self.norm(h) @ self.tokens.weight.T

        def loss(self, x: Any, y: Any) -> Any:
            return F.cross_entropy(self(x).flatten(0, 1), y.flatten())

    return GPT()


def _their_adamw(network: Any, rate: float) -> Any:
    import torch

    groups = [
        {"params": [p for p in network.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in network.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), fused=True)


def _their_step(network: Any, optimiser: Any, tokens: Any, number: int) -> None:
    import torch

    starts = torch.randint(len(tokens) - BLOCK, (BATCH,))
    x = torch.stack([tokens[i : i + BLOCK] for i in starts])
    y = torch.stack([tokens[i + 1 : i + 1 + BLOCK] for i in starts])
    network.loss(x, y).backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


# -- generating -------------------------------------------------------------------------------------------------------


def generation() -> list[Any]:
    """Tokens a CPU-second, cached, against the same network uncached and against transformers' cached generate."""
    from dataclasses import replace

    from bench.harness import Side, compare, environment, faster

    rows: list[Any] = []
    peer = environment("transformers", TRANSFORMERS)
    for n in (1, 16):
        ours = Side(file=HERE, function="our_generation", settings={"n": n})
        naive = compare(ours, Side(file=HERE, function="uncached_generation", settings={"n": n}), rounds=3)
        theirs = Side(file=HERE, function="their_generation", settings={"n": n}, python=peer)
        library = compare(ours, theirs, rounds=5)
        what = f"transformer {LAYERS}x{WIDTH}, batch {n}: a token drawn, cached, against"
        rows.append(replace(
            faster(f"{what} the same network uncached", naive, at_least=5.0, unit="CPU-s a token"),
            note=f"{TOKENS} tokens; the uncached loop reads the last {BLOCK - 1} for every one",
        ))  # fmt: skip
        rows.append(replace(
            faster(f"{what} transformers' cached generate", library, at_least=1.3, unit="CPU-s a token"),
            note="GPT-2 of the same size, room for all tokens, sampling at temperature 1",
        ))  # fmt: skip
    return rows


def _model() -> Any:
    import torch

    from simulacra.core.space import Categorical, Space
    from simulacra.families.transformer import TransformerConfig, build

    torch.set_num_threads(1)
    space = Space(fields={"text": Categorical(k=KINDS, shape=(BLOCK,))}, measure="bytes")
    return build(TransformerConfig(), space, rng=0)


def our_generation(n: int):
    """Tokens drawn with keys and values kept."""
    import torch

    from simulacra.core.prompts import Prompt

    model = _model()

    def one_round() -> dict[str, Any]:
        model.continue_from(Prompt(tokens=torch.zeros(n, 1, dtype=torch.int64)), TOKENS, rng=1)
        return {"work": n * TOKENS}

    return one_round


def uncached_generation(n: int):
    """A whole pass of the network, all rows together, over the last tokens for every one."""
    import torch

    model = _model()

    @torch.no_grad()
    def one_round() -> dict[str, Any]:
        tokens = torch.zeros(n, 1, dtype=torch.int64)
        for _ in range(TOKENS):
            logits = model.network(tokens[:, -(BLOCK - 1) :], None)[:, -1]
            tokens = torch.cat([tokens, torch.multinomial(logits.softmax(-1), 1)], 1)
        return {"work": n * TOKENS}

    return one_round


def their_generation(n: int):
    """``generate`` of transformers, its cache on."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.set_num_threads(1)
    config = GPT2Config(
        vocab_size=KINDS, n_positions=TOKENS + 8, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, bos_token_id=0,
        eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    start = torch.zeros(n, 1, dtype=torch.int64)

    @torch.no_grad()
    def one_round() -> dict[str, Any]:
        out = model.generate(
            start, attention_mask=torch.ones_like(start), max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=True,
            top_k=0, use_cache=True,
        )  # fmt: skip
        return {"work": n * (out.shape[1] - 1)}

    return one_round


PARTS = {"step": step, "loss": loss, "generation": generation}

if __name__ == "__main__":
    from bench.harness import save, show

    asked = tuple(sys.argv[1:]) or tuple(PARTS)
    result = run(asked)
    show("sequences", result)
    if asked == tuple(PARTS):
        save("sequences", result)
