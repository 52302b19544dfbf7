"""Directories of diffusers: there and back with equal outputs, with diffusers itself as a second opinion."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import simulacra
from simulacra.cli.main import main
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.autoencoder_kl import AutoencoderKL, AutoencoderKLConfig
from simulacra.families.diffusion import Diffusion, DiffusionConfig
from simulacra.families.vae import VAE, VAEConfig
from simulacra.mathematics import preconditioning as pre
from simulacra.mathematics.noise_chain import NoiseChain, squared_cosine
from simulacra.mathematics.solvers import euler, karras
from simulacra.nets import denoisers
from simulacra.nets.picture_coder import PictureCoder
from simulacra.nets.residual_unet import ResidualUNet
from simulacra.recipes import unet2d
from simulacra.runs.exchange import TENSORS, read_diffusers, write_diffusers
from simulacra.runs.transfer import write_imported

SPACE = Space(fields={"picture": Continuous(low=-1, high=1, levels=256, shape=(1, 8, 8))}, measure="8-bit pixels")
SMALL = ResidualUNet(widths=(8, 16), attention=(False, True), groups=4, head=4, blocks=1)
CHAIN = NoiseChain()
WAYS: dict[str, tuple[ResidualUNet, Any]] = {
    "edm": (SMALL, pre.edm),
    "noise": (dataclasses.replace(SMALL, clock=CHAIN), pre.epsilon),
    "v": (dataclasses.replace(SMALL, clock=CHAIN), pre.v),
    "clean": (dataclasses.replace(SMALL, clock=NoiseChain(betas=squared_cosine)), pre.clean),
    "as of 2020": (dataclasses.replace(SMALL, clock=CHAIN, padding=0, cosines=False, shift=1.0, head=None, eps=1e-6),
                   pre.epsilon),
    "no attention": (dataclasses.replace(SMALL, clock=CHAIN, middle=False, attention=(False, False)), pre.epsilon),
    "three sizes": (dataclasses.replace(SMALL, widths=(8, 12, 16), attention=(True, False, True), blocks=2), pre.edm),
}  # fmt: skip


def model(way: str = "edm", y: Classes | None = None, **changes: Any) -> Diffusion:
    """A model whose layers all say something; those that begin at zero as well."""
    backbone, preconditioning = WAYS[way]
    config = DiffusionConfig(backbone=backbone, preconditioning=preconditioning, **changes)
    made = Diffusion(config, dataclasses.replace(SPACE, y=y), rng=3)
    with torch.no_grad():
        for name, p in made.network.named_parameters():
            p.add_(0.1 * Rng(2)(name).normal((p.numel(),)).view_as(p))
        made.deviation.fill_(0.4)
        made.marginal.counts.copy_(torch.arange(made.marginal.classes))
    return made.eval()


def theirs(folder: Path) -> tuple[Any, Any]:
    diffusers = pytest.importorskip("diffusers")
    scheduler = getattr(diffusers, json.loads((folder / "scheduler/scheduler_config.json").read_text())["_class_name"])
    unet = diffusers.UNet2DModel.from_pretrained(folder, subfolder="unet", low_cpu_mem_usage=False)
    return unet.eval(), scheduler.from_pretrained(folder, subfolder="scheduler")


def noise_of(ours: Diffusion, t: Tensor) -> Tensor:
    """c_noise at which the network sees these times."""
    clock = ours.network.settings.clock
    return clock.level(t.double()).log().float() / 4 if isinstance(clock, NoiseChain) else t


def coder(**changes: Any) -> AutoencoderKL:
    """An autoencoder whose layers all say something."""
    network = PictureCoder(**{"widths": (8, 12, 16), "groups": 4, "channels": 3, "blocks": 2, **changes})
    space = dataclasses.replace(SPACE, fields={"picture": dataclasses.replace(SPACE.only, shape=(3, 8, 8))})
    made = AutoencoderKL(AutoencoderKLConfig(network=network), space, rng=3)
    with torch.no_grad():
        for name, p in made.coder.named_parameters():
            p.add_(0.1 * Rng(2)(name).normal((p.numel(),)).view_as(p))
    return made.eval()


# -- with diffusers ---------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("way", WAYS)
def test_diffusers_answers_the_same_to_the_same_noise(way, tmp_path):
    ours = model(way)
    write_diffusers(ours, tmp_path / "out")
    unet, _ = theirs(tmp_path / "out")
    chained = isinstance(ours.network.settings.clock, NoiseChain)
    t = torch.tensor([0, 1, 500, 998, 999]) if chained else torch.tensor([-1.5, -0.3, 0.0, 0.7, 1.09])
    x = Rng(1).normal((5, 1, 8, 8))
    answer = ours.network(x, noise_of(ours, t))
    assert (answer - unet(x, t).sample).abs().max() <= 1e-5
    assert answer.std() > 0.1


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, {"attention": False, "moments": False, "vectors": False}, {"blocks": 1}])
def test_its_autoencoder_has_the_same_codes_and_pictures(changes, tmp_path):
    diffusers = pytest.importorskip("diffusers")
    ours = coder(**changes)
    write_diffusers(ours, tmp_path / "out")
    vae = diffusers.AutoencoderKL.from_pretrained(tmp_path / "out", low_cpu_mem_usage=False).eval()
    x = 2 * Rng(1).uniform((4, 3, 8, 8)) - 1
    q, there = ours.posterior(x).base_dist, vae.encode(x).latent_dist
    assert (q.mean - there.mean).abs().max() <= 1e-5
    assert (q.stddev - there.std).abs().max() <= 1e-5
    assert q.mean.std() > 0.1
    z = Rng(2).normal((4, 3, 2, 2))
    decoded = vae.decode(z).sample
    assert (ours.decode(z) - decoded.clamp(-1, 1)).abs().max() <= 1e-5
    assert decoded.std() > 0.1


@torch.no_grad()
def test_its_own_autoencoder_is_read_for_pictures_of_any_size(tmp_path, capsys):
    diffusers = pytest.importorskip("diffusers")
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    vae = diffusers.AutoencoderKL(block_out_channels=(8, 16), norm_num_groups=4, sample_size=32, **kinds).eval()
    vae.save_pretrained(tmp_path / "vae")
    main(["import", f"{tmp_path}/vae", "--size", "12", "--out", f"{tmp_path}/run"])
    said = capsys.readouterr().out
    assert "pictures of 3 x 12 x 12" in said
    assert "fit diffusion DATA --codec" in said
    run = simulacra.load(tmp_path / "run")
    x = 2 * Rng(1).uniform((2, 3, 12, 12)) - 1
    assert (run.model.encode(x) - vae.encode(x).latent_dist.mean).abs().max() <= 1e-5
    assert run.model.latent.only.shape == (4, 6, 6)
    main(["import", f"{tmp_path}/vae", "--out", f"{tmp_path}/as-it-says"])
    assert simulacra.load(tmp_path / "as-it-says").model.space.only.shape == (3, 32, 32)
    with pytest.raises(SystemExit):
        main(["sample", f"{tmp_path}/run"])
    assert "AutoencoderKL" in capsys.readouterr().err


def test_an_autoencoder_comes_back_with_its_scale(tmp_path):
    ours = coder()
    write_diffusers(ours, tmp_path / "out")
    recipe, back, _ = read_diffusers(tmp_path / "out")
    assert (recipe.family, recipe.config) == ("autoencoder_kl", ours.config)
    assert back.space == ours.space
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(back.state_dict()[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"down_block_types": ["AttnDownEncoderBlock2D"] * 3}, "'AttnDownEncoderBlock2D' cannot be read"),
        ({"out_channels": 1}, "3 channels in, 1 out cannot be read"),
        ({"latent_channels": 4}, "its config.json asks for"),
        ({"layers_per_block": 3}, "the weights lack 'encoder.down_blocks.0.resnets.2"),
    ],
)
def test_autoencoders_that_cannot_be_read_are_refused_by_name(change, told, tmp_path):
    write_diffusers(coder(), tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**settings, **change}))
    with pytest.raises(ValueError, match=told):
        read_diffusers(tmp_path)


@torch.no_grad()
@pytest.mark.parametrize("way", ["noise", "v", "clean"])
def test_its_ddim_with_trailing_steps_draws_what_euler_draws(way, tmp_path):
    """DDIM is Euler's method in s (Song et al. 2021, "Denoising diffusion implicit models", section 4.3)."""
    ours = model(way)
    write_diffusers(ours, tmp_path / "out")
    unet, scheduler = theirs(tmp_path / "out")
    scheduler.set_timesteps(10)
    assert scheduler.timesteps[0] == 999
    chain = ours.network.settings.clock
    levels = torch.cat([chain.level(scheduler.timesteps.double()), torch.zeros(1)])
    start = Rng(1).normal((3, 1, 8, 8), dtype=torch.float64)
    drawn = euler(ours._denoiser(None), start * (1 + levels[0] ** 2).sqrt(), levels, Rng(0))
    x = start.float()
    for t in scheduler.timesteps:
        x = scheduler.step(unet(x, t).sample, t, x).prev_sample
    assert (drawn - x).abs().max() <= 1e-4 * drawn.abs().max()


@torch.no_grad()
def test_its_edm_scheduler_draws_what_euler_draws(tmp_path):
    ours = model("edm", low=0.01, high=20.0)
    write_diffusers(ours, tmp_path / "out")
    unet, scheduler = theirs(tmp_path / "out")
    scheduler.set_timesteps(12)
    levels = karras(12, 0.01, 20.0)
    torch.testing.assert_close(scheduler.sigmas.double(), levels, rtol=1e-6, atol=0)
    start = 20 * Rng(1).normal((3, 1, 8, 8), dtype=torch.float64)
    drawn = euler(ours._denoiser(None), start, levels, Rng(0))
    x = start.float()
    for t in scheduler.timesteps:
        x = scheduler.step(unet(scheduler.scale_model_input(x, t), t).sample, t, x).prev_sample
    assert (drawn - x).abs().max() <= 1e-4 * drawn.abs().max()


@torch.no_grad()
def test_classes_and_no_class_are_its_labels(tmp_path):
    ours = model("noise", y=Classes(names=("cat", "dog", "fox")))
    write_diffusers(ours, tmp_path / "out")
    unet, _ = theirs(tmp_path / "out")
    x, t = Rng(1).normal((4, 1, 8, 8)), torch.full((4,), 300)
    given = torch.cat([torch.eye(3), torch.zeros(1, 3)])
    answer = ours.network(x, noise_of(ours, t), None, given)
    assert (answer - unet(x, t, class_labels=torch.arange(4)).sample).abs().max() <= 1e-5


@torch.no_grad()
@pytest.mark.parametrize("add_attention", [True, False])
def test_what_diffusers_wrote_is_read_with_equal_outputs(tmp_path, add_attention):
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=2, out_channels=2, block_out_channels=(32, 64), layers_per_block=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        add_attention=add_attention, num_class_embeds=5,
    ).eval()  # fmt: skip
    diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction").save_pretrained(
        tmp_path / "scheduler"
    )
    unet.save_pretrained(tmp_path / "unet")
    run = simulacra.load(tmp_path)
    assert run.model.config.preconditioning is pre.v
    assert run.recipe.space.classes.names == ("0", "1", "2", "3", "4")
    x, t, y = Rng(1).normal((3, 2, 8, 8)), torch.tensor([0, 400, 999]), torch.tensor([0, 2, 4])
    answer = run.model.network(x, noise_of(run.model, t), None, torch.eye(5)[y])
    assert (answer - unet(x, t, class_labels=y).sample).abs().max() <= 1e-5


def test_its_pipeline_loads_what_is_written(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    write_diffusers(model("noise"), tmp_path / "out")
    pipeline = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "out", low_cpu_mem_usage=False)
    assert type(pipeline).__name__ == "DDIMPipeline"


# -- without it -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("y", [None, Classes(names=("cat", "dog"))])
@pytest.mark.parametrize("way", WAYS)
def test_there_and_back_is_the_same_model(way, y, tmp_path):
    ours = model(way, y, high=60.0) if way == "edm" else model(way, y)
    write_diffusers(ours, tmp_path / "out")
    recipe, back, notes = read_diffusers(tmp_path / "out")
    assert not notes
    assert recipe.space == ours.space
    assert recipe.config.backbone == ours.config.backbone
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(back.state_dict()[name], tensor, rtol=1e-6, atol=1e-7)
    if way == "edm":
        assert recipe.config == ours.config


def test_every_name_has_a_name_of_its_own():
    network = model("three sizes", Classes(names=("a",))).network
    names = unet2d.outward(network)
    sizes = sum(t.numel() for t in network.state_dict().values())
    none = 4 * 8  # the row of no class
    assert sum(t.numel() for t in names.values()) == sizes + none
    assert {name.split(".")[0] for name in names} == {
        "class_embedding", "conv_in", "conv_norm_out", "conv_out", "down_blocks", "mid_block", "time_embedding",
        "up_blocks",
    }  # fmt: skip


def test_a_directory_is_a_run_and_a_parent(tmp_path):
    ours = model("edm")
    write_diffusers(ours, tmp_path / "out")
    run = simulacra.load(tmp_path / "out")
    assert torch.equal(run.sample(2, steps=2).x, ours.sample(2, rng=Rng(0)("sample"), steps=2).x)
    with pytest.raises(ValueError, match="its data is unknown"):
        run.data()
    recipe, back, _ = read_diffusers(tmp_path / "out")
    again = simulacra.load(write_imported(recipe, back, tmp_path / "out", tmp_path / "run").path)
    assert torch.equal(again.sample(2, steps=2).x, run.sample(2, steps=2).x)
    assert again.recipe.lineage["imported"]["path"] == "../out"


@pytest.mark.slow
def test_it_can_be_tuned(tmp_path):
    write_diffusers(model("noise"), tmp_path / "out")
    main(["fit", "diffusion", "digits", "--labels", "none", "--from", f"{tmp_path}/out", "--steps", "2", "--batch", "8",
          "--no-report", "--adapter", "LoRA(rank=1)", "--out", f"{tmp_path}/tuned"])  # fmt: skip
    run = simulacra.load(tmp_path / "tuned")
    assert run.recipe.config.preconditioning is pre.epsilon
    assert not run.recipe.lineage["anew"]
    main(["merge", f"{tmp_path}/tuned", "--out", f"{tmp_path}/whole"])
    main(["export", "diffusers", f"{tmp_path}/whole", "--out", f"{tmp_path}/again"])
    main(["import", f"{tmp_path}/again", "--out", f"{tmp_path}/last"])
    assert torch.equal(simulacra.load(tmp_path / "last").sample(1, steps=2).x, run.sample(1, steps=2).x)


# -- what cannot be ---------------------------------------------------------------------------------------------------


def test_other_backbones_and_families_are_refused_by_name(tmp_path):
    unet = DiffusionConfig(backbone=denoisers.Convolutional(width=8, blocks=1))
    velocity = DiffusionConfig(backbone=SMALL, preconditioning=pre.velocity)
    for made, told in (
        (Diffusion(unet, SPACE), "no layout for a GridDenoiser; fit with --backbone ResidualUNet"),
        (VAE(VAEConfig(latent=2), SPACE), "this is a VAE"),
        (Diffusion(velocity, SPACE), "no scheduler for velocity"),
    ):
        with pytest.raises(ValueError, match=told):
            write_diffusers(made, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("field", "told"),
    [
        (Continuous(low=-1, high=1, levels=256, shape=(1, 9, 8)), "halves 1 times; 9 cannot be halved"),
        (
            Continuous(low=0, high=16, levels=17, shape=(1, 8, 8), centre=5, scale=6),
            "with centre 5 and scale 6",
        ),
    ],
)
def test_pictures_that_it_cannot_take_are_refused(field, told, tmp_path):
    space = dataclasses.replace(SPACE, fields={"picture": field})
    with pytest.raises(ValueError, match=told):
        write_diffusers(Diffusion(DiffusionConfig(backbone=SMALL), space), tmp_path / "out")


def test_half_precision_that_overflows_is_refused(tmp_path):
    ours = model("edm")
    write_diffusers(ours, tmp_path / "half", dtype=torch.float16)
    assert load_file(tmp_path / "half/unet" / TENSORS)["conv_in.weight"].dtype == torch.float16
    with torch.no_grad():
        ours.network.first.weight[0, 0, 0, 0] = 1e5
    with pytest.raises(ValueError, match=r"'conv_in.weight' reaches 1e\+05, beyond the 6.55e\+04 of float16"):
        write_diffusers(ours, tmp_path / "out", dtype=torch.float16)
    write_diffusers(ours, tmp_path / "wide", dtype=torch.bfloat16)
    tensors = load_file(tmp_path / "half/unet" / TENSORS)
    tensors["conv_in.weight"][0] = torch.inf
    save_file(tensors, tmp_path / "half/unet" / TENSORS)
    with pytest.raises(ValueError, match=r"'conv_in.weight' holds values that are not finite"):
        simulacra.load(tmp_path / "half")


def edited(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("file", "changes", "told"),
    [
        (
            "unet",
            {"_class_name": "UNet2DConditionModel"},
            "only UNet2DModel .* this is a UNet2DConditionModel",
        ),
        ("unet", {"down_block_types": ["SkipDownBlock2D", "AttnDownBlock2D"]}, "a SkipDownBlock2D cannot be read"),
        ("unet", {"time_embedding_type": "fourier"}, "time_embedding_type='fourier' cannot be read"),
        ("unet", {"resnet_time_scale_shift": "scale_shift"}, "scale_shift' cannot be read; only 'default' can"),
        ("unet", {"up_block_types": ["UpBlock2D", "UpBlock2D"]}, "other sizes on the way up"),
        ("unet", {"in_channels": 2}, "from 2 to 1 channels"),
        ("unet", {"block_out_channels": [8, 12]}, "its config.json asks for"),
        ("unet", {"layers_per_block": 2}, "the weights lack"),
        ("unet", {"add_attention": False}, "hold 'mid_block.attentions.0.group_norm.bias', for which"),
        ("scheduler", {"rescale_betas_zero_snr": True}, "ends at infinite noise, where epsilon says nothing"),
        ("scheduler", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "a noise process that cannot be read"),
        ("scheduler", {"beta_schedule": "sigmoid"}, "betas linear, scaled_linear, squaredcos_cap_v2"),
    ],
)
def test_what_has_no_counterpart_here_is_named_in_one_line(file, changes, told, tmp_path):
    write_diffusers(model("noise"), tmp_path / "out")
    path = tmp_path / "out" / file / ("config.json" if file == "unet" else "scheduler_config.json")
    edited(path, **changes)
    with pytest.raises(ValueError, match=told) as caught:
        simulacra.load(tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_missing_and_pickled_files_are_told(tmp_path):
    write_diffusers(model("noise"), tmp_path / "out")
    unet = tmp_path / "out/unet"
    alone, _, notes = read_diffusers(unet)
    assert notes == [f"{unet} holds no scheduler: taken to be DDPM's, of 1000 linear betas"]
    assert alone.config.backbone.clock == CHAIN
    (unet / TENSORS).rename(unet / "diffusion_pytorch_model.bin")
    with pytest.raises(ValueError, match="pickled weights, which could run anything"):
        simulacra.load(tmp_path / "out")
    (unet / "diffusion_pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match="has no diffusion_pytorch_model.safetensors"):
        simulacra.load(tmp_path / "out")
    (unet / "config.json").unlink()
    with pytest.raises(ValueError, match=r"has no config.json|is not a run"):
        simulacra.load(tmp_path / "out")


def test_a_directory_in_use_is_refused(tmp_path):
    write_diffusers(model("noise"), tmp_path / "out")
    with pytest.raises(ValueError, match="is not empty"):
        write_diffusers(model("noise"), tmp_path / "out")


def test_an_imported_model_learns_by_the_loss_it_was_trained_with():
    backbone, _ = WAYS["noise"]
    config, _ = unet2d.config_of(SMALL, {"_class_name": "DDPMScheduler"})
    assert config.backbone == backbone
    assert (config.weighting, config.low) == (pre.uniform_epsilon, pytest.approx(0.01, rel=1e-4))
