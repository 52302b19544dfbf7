"""The run directory: what fit writes, load reads; whatever is damaged is told in one line and loses nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import simulacra
from simulacra.core.checkpoint import load_tensors
from simulacra.core.optimisers import AdamW
from simulacra.families.vae import VAE, VAEConfig
from simulacra.modalities.sources import open_data
from simulacra.nets.backbones import Dense
from simulacra.runs.recipe import FORMAT, read
from simulacra.runs.run import WEIGHTS
from simulacra.training.settings import PostHoc, Training

# a constant learning rate: one that decays with the budget would make a longer run another run from the start
SMALL = VAEConfig(latent=2, networks=Dense(hidden=(16,)), optimiser=AdamW(lr=1e-3))
BRIEF = Training(steps=6, batch=16, log_every=2)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> Path:
    """A run of a small VAE on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "vae"
    simulacra.fit("vae", "digits", out=folder, config=SMALL, training=BRIEF)
    return folder


@pytest.fixture
def copy(fitted, tmp_path) -> Path:
    """A copy of that run to be damaged."""
    return Path(shutil.copytree(fitted, tmp_path / "run"))


def test_what_fit_returns_is_what_load_reads(fitted):
    run = simulacra.load(fitted)
    again = simulacra.load(fitted)
    torch.testing.assert_close(run.sample(5, seed=3).x, again.sample(5, seed=3).x, rtol=0, atol=0)
    assert run.recipe.config == SMALL
    assert run.recipe.training == BRIEF
    assert run.recipe.cost["steps"] == 6
    assert run.recipe.ended == "budget"


def test_a_larger_sample_begins_with_the_smaller_one(fitted):
    run = simulacra.load(fitted)
    torch.testing.assert_close(run.sample(12, seed=3).x[:5], run.sample(5, seed=3).x, rtol=0, atol=0)


def test_a_class_by_name_or_number(fitted):
    run = simulacra.load(fitted)
    assert run.sample(4, y="7").y.tolist() == [7] * 4
    with pytest.raises(ValueError, match="no class 'seven'; expected one of 0, 1, 2"):
        run.sample(4, y="seven")
    with pytest.raises(ValueError, match="at least 1; got 0"):
        run.sample(0)


def test_a_strangers_model_is_filled(fitted):
    space = simulacra.load(fitted).recipe.space
    mine = VAE(SMALL, space, rng=99)
    run = simulacra.load(fitted, model=mine)
    torch.testing.assert_close(run.sample(3).x, simulacra.load(fitted).sample(3).x, rtol=0, atol=0)


def test_weights_of_another_model_are_refused(fitted):
    space = simulacra.load(fitted).recipe.space
    with pytest.raises(ValueError, match="weights of another model"):
        simulacra.load(fitted, model=VAE(VAEConfig(latent=3, networks=Dense(hidden=(16,))), space))


def test_a_directory_that_holds_a_run_is_not_overwritten(fitted):
    before = {path: path.read_bytes() for path in fitted.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="holds a run already; give another folder with --out, or go on with --resume"):
        simulacra.fit("vae", "digits", out=fitted, config=SMALL, training=BRIEF)
    assert before == {path: path.read_bytes() for path in fitted.rglob("*") if path.is_file()}


def test_a_directory_with_something_else_is_not_used(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="is not empty"):
        simulacra.fit("vae", "digits", out=tmp_path, config=SMALL, training=BRIEF)


def test_resume_without_a_run_and_with_other_data_is_refused(tmp_path, copy):
    with pytest.raises(ValueError, match="holds no run to resume"):
        simulacra.fit("vae", "digits", out=tmp_path / "none", resume=True)
    with pytest.raises(ValueError, match="fitted on other data"):
        simulacra.fit("vae", open_data("digits", held_out=0.2), out=copy, resume=True)


def test_going_further_equals_having_gone_all_the_way(copy, tmp_path):
    longer = Training(steps=10, batch=16, log_every=2)
    (notes,) = (copy / "resume").rglob("notes.json")
    kept = json.loads(notes.read_text())
    assert kept["cpu_seconds"] > 0
    notes.write_text(json.dumps({**kept, "cpu_seconds": 1e6}))
    further = simulacra.fit("vae", "digits", out=copy, resume=True, steps=10)
    assert further.recipe.cost["cpu_seconds"] > 1e6
    straight = simulacra.fit("vae", "digits", out=tmp_path / "straight", config=SMALL, training=longer)
    resumed = simulacra.load(copy)
    for name, tensor in straight.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], tensor, rtol=0, atol=0)
    assert (copy / "log.jsonl").read_text().count("\n") == 5


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: text[: len(text) // 2], "recipe.json is damaged"),
        (lambda text: "", "recipe.json is damaged"),
        (lambda text: "[1, 2]", "recipe.json is damaged"),
        (lambda text: text.replace('"latent": 2', '"latent": "two"'), "recipe.json is damaged"),
        (lambda text: text.replace("families.vae:VAEConfig", "os:system"), "no setting is called 'os:system'"),
        (lambda text: text.replace(f'"format": {FORMAT}', f'"format": {FORMAT + 1}'), "upgrade with `pip install -U"),
        (lambda text: text.replace('"kind": "continuous"', '"kind": "wavy"'), "no kind of field 'wavy'"),
    ],
)
def test_a_damaged_recipe_is_told_in_one_line(copy, damage, told):
    path = copy / "recipe.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(ValueError, match=told) as caught:
        simulacra.load(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("where", [0, 100, -1])
def test_one_flipped_bit_in_the_weights_is_noticed(copy, where):
    path = copy / WEIGHTS
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"SHA-256 begins .* was expected"):
        simulacra.load(copy)


def test_truncated_and_missing_weights_are_told(copy):
    path = copy / WEIGHTS
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="SHA-256"):
        simulacra.load(copy)
    path.unlink()
    with pytest.raises(ValueError, match="no finished weights; finish it with"):
        simulacra.load(copy)


def test_a_folder_that_is_no_run_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"is not a run: it has no recipe\.json"):
        simulacra.load(tmp_path)
    with pytest.raises(ValueError, match="is not a run"):
        simulacra.load(tmp_path / "nowhere")


def test_changed_data_is_noticed(copy):
    path = copy / "recipe.json"
    value = json.loads(path.read_text())
    value["data"]["fingerprints"]["train"] = "0" * 64
    path.write_text(json.dumps(value))
    with pytest.raises(ValueError, match="the data of this run has changed"):
        simulacra.load(copy).data()


def test_an_unknown_family_and_unknown_data_are_told():
    with pytest.raises(ValueError, match="no family 'bae'; expected one of vae"):
        simulacra.fit("bae", "digits")
    with pytest.raises(ValueError, match="did you mean digits"):
        simulacra.fit("vae", "digit")


@pytest.mark.parametrize("folder", sorted((Path(__file__).parent / "formats").glob("*")), ids=lambda p: p.name)
def test_runs_of_every_past_format_load(folder):
    """A small run of each format is kept; they draw what they drew when they were made."""
    run = simulacra.load(folder)
    assert read(folder).family
    drawn = torch.tensor(json.loads((folder / "drawn.json").read_text()))
    torch.testing.assert_close(run.sample(len(drawn), seed=0).x, drawn, rtol=1e-4, atol=1e-5)


def test_averages_of_any_width_are_made_of_those_that_were_stored(tmp_path):
    training = Training(steps=8, batch=16, posthoc=PostHoc(snapshots=4))
    run = simulacra.fit("vae", "digits", out=tmp_path / "run", config=SMALL, training=training)
    files = sorted(path.name for path in (tmp_path / "run" / "averages").iterdir())
    assert files == [f"step-00000000{n}.safetensors" for n in (2, 4, 6, 8)]
    again = simulacra.load(tmp_path / "run")
    assert again.recipe.training == training
    stored = load_tensors(tmp_path / "run" / "averages" / files[-1])
    own = again.averaged(0.1)
    for name, tensor in own.model.named_parameters():
        torch.testing.assert_close(tensor.detach(), stored[f"0.1/{name}"], rtol=0, atol=1e-6)
    assert not torch.equal(own.sample(4).x, run.averaged(0.07).sample(4).x)
    assert torch.equal(run.sample(4).x, again.sample(4).x), "the run itself is as it was"
    with pytest.raises(ValueError, match=r"make none of width 0.002 .* fit with more snapshots"):
        run.averaged(0.002)
    with pytest.raises(ValueError, match="has stored no averages"):
        simulacra.fit("vae", "digits", out=tmp_path / "plain", config=SMALL, training=BRIEF).averaged(0.1)
    path = tmp_path / "run" / "averages" / files[1]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="SHA-256"):
        simulacra.load(tmp_path / "run").averaged(0.1)


def test_what_is_learnt_without_steps_is_counted(tmp_path):
    run = simulacra.fit("naive_bayes", "digits", out=tmp_path / "bayes")
    counted = run.recipe.cost["parameters"]
    assert counted == sum(t.numel() for t in run.model.buffers())
    assert counted > 0
