"""Language models of the layout gpt2, from a directory on disk: the same logits, and a run like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import simulacra
from simulacra.cli.main import main
from simulacra.core.randomness import Rng
from simulacra.modalities.tokens import BPE, Bytes, byte_level, fitted
from simulacra.runs.hub import read_language_model

REFERENCE = Path(__file__).parent.parent / "references" / "gpt2_logits.json"
LAYERS, WIDTH, PLACES = 2, 12, 20
SETTINGS: dict[str, Any] = {
    "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 260, "n_layer": LAYERS, "n_embd": WIDTH,
    "n_head": 3, "n_positions": PLACES, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
TEXT = "to be or not to be, that is the question " * 40


def tensors() -> dict[str, Tensor]:
    """Weights of that size, each a function of its public name, all of them told apart by what comes out."""
    shapes = {"wte.weight": (260, WIDTH), "wpe.weight": (PLACES, WIDTH), "ln_f.weight": (WIDTH,), "ln_f.bias": (WIDTH,)}
    for i in range(LAYERS):
        for name, shape in {
            "ln_1.weight": (WIDTH,), "ln_1.bias": (WIDTH,), "ln_2.weight": (WIDTH,), "ln_2.bias": (WIDTH,),
            "attn.c_attn.weight": (WIDTH, 3 * WIDTH), "attn.c_attn.bias": (3 * WIDTH,),
            "attn.c_proj.weight": (WIDTH, WIDTH), "attn.c_proj.bias": (WIDTH,),
            "mlp.c_fc.weight": (WIDTH, 4 * WIDTH), "mlp.c_fc.bias": (4 * WIDTH,),
            "mlp.c_proj.weight": (4 * WIDTH, WIDTH), "mlp.c_proj.bias": (WIDTH,),
        }.items():  # fmt: skip
            shapes[f"h.{i}.{name}"] = shape
    found = {name: 0.5 * Rng(0)(name).normal((1, *shape))[0] for name, shape in shapes.items()}
    return {f"transformer.{name}": t.contiguous() for name, t in found.items()}


def _bpe() -> dict[str, Any]:
    """A byte-level BPE of 260 tokens, the first of which begins a text."""
    made = fitted("bpe:259", [TEXT])
    assert isinstance(made, BPE)
    value = json.loads(made.model)
    vocabulary = {"<|endoftext|>": 0} | {token: i + 1 for token, i in value["model"]["vocab"].items()}
    value["model"]["vocab"] = vocabulary
    special = {"id": 0, "content": "<|endoftext|>", "single_word": False, "lstrip": False, "rstrip": False,
               "normalized": False, "special": True}  # fmt: skip
    return {**value, "added_tokens": [special], "decoder": value["pre_tokenizer"]}


@pytest.fixture
def folder(tmp_path) -> Path:
    return written(tmp_path / "gpt2")


def written(folder: Path, **settings: Any) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**SETTINGS, **settings}))
    save_file(tensors(), folder / "model.safetensors", {"format": "pt"})
    (folder / "tokenizer.json").write_text(json.dumps(_bpe()))
    return folder


def test_logits_are_those_of_transformers(folder):
    reference = json.loads(REFERENCE.read_text())
    model = read_language_model(folder)[1]
    tokens = torch.tensor(reference["tokens"])
    assert tokens[:, 0].eq(0).all()
    with torch.no_grad():
        logits = model.network(tokens[:, 1:], None)
    want = torch.tensor(reference["logits"])
    assert float(want.std()) > 0.5
    torch.testing.assert_close(logits[..., reference["columns"]], want, rtol=0, atol=1e-4)
    torch.testing.assert_close(logits.logsumexp(-1), torch.tensor(reference["logsumexp"]), rtol=0, atol=1e-4)


def test_with_or_without_the_prefix_and_the_head_it_is_the_same_network(folder, tmp_path):
    plain = {name.removeprefix("transformer."): t for name, t in tensors().items()}
    masks = {f"h.{i}.attn.bias": torch.ones(1, 1, PLACES, PLACES) for i in range(LAYERS)}
    other = written(tmp_path / "other")
    save_file({**plain, **masks, "lm_head.weight": plain["wte.weight"].clone()}, other / "model.safetensors")
    ours = [dict(read_language_model(path)[1].named_parameters()) for path in (folder, other)]
    assert ours[0].keys() == ours[1].keys()
    assert all(ours[0][name].equal(ours[1][name]) for name in ours[0])


@pytest.mark.slow
def test_it_becomes_a_run_that_is_drawn_from_scored_and_tuned(folder, tmp_path, capsys):
    run, text = tmp_path / "run", tmp_path / "hamlet.txt"
    text.write_text(TEXT)
    main(["import", str(folder), "--out", str(run)])
    assert "'<|endoftext|>'" in capsys.readouterr().out
    main(["sample", str(run), "--prompt", "to be", "--tokens", "5"])
    assert capsys.readouterr().out.startswith("to be")
    main(["evaluate", str(run), "--real", str(text), "-n", "4", "--json"])
    found = {f["name"]: f["value"] for f in json.loads(capsys.readouterr().out)}
    assert found["bits per byte"] > 0
    tuned = tmp_path / "tuned"
    main(["fit", "transformer", str(text), "--from", str(run), "--adapter", "LoRA(rank=2)", "--steps", "2",
          "--batch", "4", "--no-report", "--out", str(tuned)])  # fmt: skip
    said = capsys.readouterr().out
    assert "begun anew" not in said
    assert "numbers learn beside them" in said
    assert simulacra.load(tuned).encoding == simulacra.load(run).encoding
    assert simulacra.load(tuned).data().encoding == simulacra.load(run).encoding


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model_type": "llama"}, "architecture 'llama' cannot be read"),
        ({"activation_function": "swish2"}, "activation_function='swish2'"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings=False"),
        ({"vocab_size": 261}, "knows 260 tokens and the network 261"),
        ({"n_head": 5}, "must divide n_embd, 12; got 5"),
        ({"n_positions": 30}, r"'wpe.weight' has shape \(20, 12\)"),
        ({"n_layer": 1}, "'h.1.ln_1.bias'|'h.1.attn.c_attn.bias'"),
        ({"bos_token_id": 260}, "one of the 260 tokens; got 260"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, settings, said):
    with pytest.raises(ValueError, match=said):
        read_language_model(written(tmp_path / "gpt2", **settings))


def test_an_output_of_its_own_is_refused(folder):
    save_file({**tensors(), "lm_head.weight": torch.zeros(260, WIDTH)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match="only outputs tied to the input"):
        read_language_model(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors"])
def test_a_file_that_lacks_is_named_with_what_writes_it(folder, name):
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"no {name}; .*save_pretrained"):
        read_language_model(folder)


def test_loading_it_says_how_it_becomes_a_run(folder):
    with pytest.raises(ValueError, match=f"make it a run: simulacra import {folder}"):
        simulacra.load(folder)


def test_tokenizers_of_other_kinds_are_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"type": "Unigram"}}))
    with pytest.raises(ValueError, match="kind 'Unigram' cannot be read; expected byte-level BPE"):
        byte_level(path)
    value = _bpe()
    value["model"]["vocab"]["gap"] = 999
    path.write_text(json.dumps(value))
    with pytest.raises(ValueError, match="not numbered one by one"):
        byte_level(path)


def test_tokens_come_from_a_file_where_one_is_given(tmp_path):
    path = tmp_path / "encoding.json"
    for encoding in (Bytes(), fitted("characters", ["abc"])):
        path.write_text(json.dumps(encoding.to_json()))
        assert fitted(str(path), ["xyz"]) == encoding
    path.write_text("[]")
    with pytest.raises(ValueError, match="this JSON holds no encoding"):
        fitted(str(path), [])
