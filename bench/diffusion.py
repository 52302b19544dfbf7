"""Diffusion: a training step and a whole loop against diffusers 0.42 and denoising-diffusion-pytorch; solvers.

``python -m bench diffusion`` runs ``speed`` and ``solvers``; ``python -m bench.diffusion speed | solvers`` one of them.
``python -m bench.diffusion quality RUN`` judges a run at 2 to 64 steps of every solver and draws one figure.
``python -m bench.diffusion equal mnist | fashion-mnist`` trains both sides for 30 minutes each: an hour and more.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
DIFFUSERS = "diffusers==0.42.0"
LUCIDRAINS = "denoising-diffusion-pytorch==2.3.4"
REQUIREMENTS = ["torch", "numpy", "pillow", "accelerate", DIFFUSERS]
# torchvision, and what asks for it, stay out: it has no build for this torch
REQUIREMENTS2 = ["torch", "numpy", "pillow", "scipy", "tqdm", "einops", "accelerate", "ema-pytorch"]
WIDTHS, SIDE, BATCH = (32, 64, 64), 32, 64
STEPS, ROUNDS = 3, 3  # of the speed measurement: some four CPU-minutes
FEW = (2, 4, 8, 16, 32, 64)
PARTS = ("speed", "solvers")


def run(parts: tuple[str, ...] = PARTS) -> list[Any]:
    """The rows of the parts asked for."""
    from bench.solver_orders import solvers

    rows: list[Any] = []
    for part in parts:
        rows += {"speed": speed, "solvers": solvers}[part]()
    return rows


# -- steps a second ---------------------------------------------------------------------------------------------------


def speed() -> list[Any]:
    """The same blocks on both sides; CPU-seconds of one thread, in turns."""
    from bench.harness import Side, compare, environment, faster

    net = f"U-Net {'-'.join(map(str, WIDTHS))}, attention at two of three sizes, {BATCH} pictures 1x{SIDE}x{SIDE}"
    plain = Side(file=HERE, function="our_steps", settings={"whole": False})
    whole = Side(file=HERE, function="our_steps", settings={"whole": True})
    peer = environment("diffusers", REQUIREMENTS)
    both = compare(plain, Side(file=HERE, function="their_steps", python=peer), rounds=ROUNDS)
    rows = [faster(f"{net}: a training step against diffusers 0.42, eager", both, at_least=1.0)]
    both = compare(whole, Side(file=HERE, function="their_loop", python=peer), rounds=ROUNDS)
    what = "a step of the whole loop, clipped and averaged, against the way of diffusers' training script"
    rows.append(faster(f"{net}: {what}", both, at_least=1.2))
    other = environment("lucidrains", REQUIREMENTS2, bare=["pytorch-fid", LUCIDRAINS])
    both = compare(whole, Side(file=HERE, function="lucidrains_steps", python=other), rounds=ROUNDS)
    what = "a step of the whole loop against denoising-diffusion-pytorch 2.3.4, its own U-Net of width 32"
    rows.append(faster(f"{net}: {what}", both, at_least=2.0))
    return [*rows, imports(peer)]


def _data(n: int) -> Any:
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (n, 1, SIDE, SIDE), dtype=np.uint8)


def ours(side: int = SIDE, y: Any = None) -> Any:
    """A model with the blocks of their network, which predicts the noise along the same chain."""
    from simulacra.core.optimisers import AdamW
    from simulacra.core.space import Continuous, Space
    from simulacra.families.diffusion import Diffusion, DiffusionConfig
    from simulacra.mathematics.noise_chain import AlongChain, NoiseChain
    from simulacra.mathematics.preconditioning import epsilon, uniform_epsilon
    from simulacra.nets.residual_unet import ResidualUNet

    picture = Continuous(low=-1.0, high=1.0, levels=256, shape=(1, side, side))
    space = Space(fields={"picture": picture}, y=y, measure="8-bit pixels")
    config = DiffusionConfig(
        backbone=ResidualUNet(widths=WIDTHS, clock=NoiseChain()), preconditioning=epsilon, weighting=uniform_epsilon,
        levels=AlongChain(), low=0.01, high=157.0, optimiser=AdamW(lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6),
    )  # fmt: skip
    return Diffusion(config, space)


def theirs(classes: int | None = None) -> Any:
    """Their network."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=SIDE, in_channels=1, out_channels=1, layers_per_block=2, block_out_channels=WIDTHS,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"), num_class_embeds=classes,
    )  # fmt: skip


def our_steps(whole: bool):
    """A round of ours: noise drawn, forward, backward, AdamW; whole: clipped and averaged, too."""
    import torch

    from simulacra.core.batch import Stored
    from simulacra.training.loop import train
    from simulacra.training.settings import Training

    model = ours()
    data = Stored(space=model.space, x=torch.from_numpy(_data(1024)))
    settings = Training(
        steps=STEPS, batch=BATCH, clip=1.0 if whole else None, average_half_life=10_000.0 if whole else 0.0
    )

    def one_round() -> dict[str, Any]:
        done = train(model, data, settings)
        return {"work": done.steps, "value": done.log[-1]["denoiser"]}

    return one_round


def their_steps():
    """A round of theirs, by hand: noise drawn, forward, backward, AdamW."""
    import torch
    from diffusers import DDPMScheduler

    torch.manual_seed(0)
    model, scheduler = theirs().train(), DDPMScheduler(num_train_timesteps=1000)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6)
    pictures = torch.from_numpy(_data(1024))

    def one_round() -> dict[str, Any]:
        for _ in range(STEPS):
            clean = pictures[torch.randint(len(pictures), (BATCH,))].float() / 127.5 - 1
            noise, t = torch.randn_like(clean), torch.randint(1000, (BATCH,))
            loss = torch.nn.functional.mse_loss(model(scheduler.add_noise(clean, noise, t), t).sample, noise)
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
        return {"work": STEPS, "value": float(loss)}

    return one_round


def their_loop():
    """A round the way of diffusers' ``train_unconditional.py`` with its averaging on, on one thread of a CPU.

    What its script does besides is left out, to its advantage: pictures need no resizing, nothing is logged or saved.
    """
    one_round, _ = _their_training(_data(1024), lr=1e-4)
    return lambda: {"work": STEPS, "value": one_round(STEPS, math.inf)[1]}


def _their_training(pictures: Any, *, lr: float, labels: Any = None):
    """(train(steps, seconds) -> (steps taken, last loss), averaged model): their loader, accelerator and average."""
    import torch
    from accelerate import Accelerator
    from diffusers import DDPMScheduler
    from diffusers.optimization import get_scheduler
    from diffusers.training_utils import EMAModel
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    torch.manual_seed(0)

    class Pictures(Dataset):
        """Each picture decoded, made a tensor and normalised as it is fetched, as their transforms do."""

        def __init__(self) -> None:
            self.images = [Image.fromarray(picture[0]) for picture in pictures]

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, index: int) -> Any:
            import numpy as np

            x = (torch.from_numpy(np.array(self.images[index], copy=True))[None].float() / 255 - 0.5) / 0.5
            return {"input": x, "label": 0 if labels is None else int(labels[index])}

    accelerator = Accelerator(mixed_precision="no", cpu=True)
    model, scheduler = theirs(), DDPMScheduler(num_train_timesteps=1000)
    average = EMAModel(model.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
    loader = DataLoader(Pictures(), batch_size=BATCH, shuffle=True)
    rate = get_scheduler("cosine", optimizer=optimiser, num_warmup_steps=500, num_training_steps=100 * len(loader))
    model, optimiser, loader, rate = accelerator.prepare(model, optimiser, loader, rate)
    model.train()

    def batches():
        while True:
            yield from loader

    stream = batches()

    def train(steps: float, seconds: float) -> tuple[int, float]:
        began, taken, loss = time.perf_counter(), 0, torch.zeros(())
        while taken < steps and time.perf_counter() - began < seconds:
            clean = next(stream)["input"]
            noise = torch.randn(clean.shape, dtype=clean.dtype)
            t = torch.randint(0, scheduler.config.num_train_timesteps, (len(clean),)).long()
            noisy = scheduler.add_noise(clean, noise, t)
            with accelerator.accumulate(model):
                loss = torch.nn.functional.mse_loss(model(noisy, t).sample.float(), noise.float())
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                rate.step()
                optimiser.zero_grad()
            if accelerator.sync_gradients:
                average.step(model.parameters())
            taken += 1
        return taken, float(loss)

    def averaged() -> Any:
        average.copy_to(model.parameters())
        return accelerator.unwrap_model(model)

    return train, averaged


def lucidrains_steps():
    """A round of its trainer's steps, without its files and pictures; its U-Net is its own, as wide as the others'."""
    import types

    import torch

    # its trainer imports torchvision, for files and the pictures it saves
    vision = types.ModuleType("torchvision")
    vision.transforms, vision.utils = types.ModuleType("transforms"), types.ModuleType("utils")  # type: ignore[attr-defined]
    vision.__spec__ = None  # type: ignore[assignment]
    before = set(sys.modules)
    sys.modules["torchvision"] = vision
    import importlib

    package = importlib.import_module("denoising_diffusion_pytorch.denoising_diffusion_pytorch")
    from ema_pytorch import EMA

    assert "torchvision" not in before
    torch.manual_seed(0)
    net = package.Unet(dim=WIDTHS[0], dim_mults=tuple(w // WIDTHS[0] for w in WIDTHS), channels=1)
    model = package.GaussianDiffusion(net, image_size=SIDE, timesteps=1000).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.99))
    average = EMA(model, beta=0.995, update_every=10)
    pictures = torch.from_numpy(_data(1024))

    def one_round() -> dict[str, Any]:
        for _ in range(STEPS):
            loss = model(pictures[torch.randint(len(pictures), (BATCH,))].float() / 255)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            average.update()
        return {"work": STEPS, "value": float(loss)}

    return one_round


def imports(peer: Path) -> Any:
    """CPU-seconds of an import beyond torch's own, in fresh processes."""
    from bench.harness import Row

    ours = _beyond_torch(
        sys.executable, "from simulacra.runs import fit, load; from simulacra.families import diffusion"
    )
    other = _beyond_torch(str(peer), "from diffusers import UNet2DModel, DDPMScheduler, DDIMPipeline")
    return Row(
        what="import of what fits and loads a diffusion model, beyond that of torch",
        unit="CPU-s",
        ours=statistics.median(ours),
        peer=statistics.median(other),
        target="<= 0.3",
        met=statistics.median(ours) <= 0.3,
        note="`import simulacra` itself imports no torch; diffusers: UNet2DModel, DDPMScheduler and DDIMPipeline",
        rounds={"ours": ours, "peer": other},
    )


def _beyond_torch(python: str, code: str, rounds: int = 5) -> list[float]:
    used = "import resource as r\nu = lambda: sum(r.getrusage(r.RUSAGE_SELF)[:2])\n"
    timed = used + "import torch\nbefore = u()\n{}\nprint(u() - before)"
    path = {"PYTHONPATH": f"{HERE.parents[1] / 'src'}"}
    spent = []
    for _ in range(rounds + 1):
        done = subprocess.run([python, "-c", timed.format(code)], capture_output=True, text=True, check=True, env=path)
        spent.append(float(done.stdout.split()[-1]))
    return spent[1:]  # the first may have compiled


# -- quality ----------------------------------------------------------------------------------------------------------


def quality(path: str, *, n: int = 2_000, out: Path | None = None) -> list[Any]:
    """The Frechet distance of a run's samples at 2 to 64 steps of each solver, and a figure of it."""
    import torch

    from bench.harness import Row
    from simulacra.evaluation.extractors import values
    from simulacra.mathematics import solvers as s
    from simulacra.mathematics.frechet import frechet_distance
    from simulacra.runs import load
    from simulacra.runs.extractors import extractors_for

    run = load(path)
    loaded = run.data()
    features = extractors_for(loaded)[0]
    real = features(values(loaded.held_out, min(n, len(loaded.held_out)), 0)).double()
    curves: dict[str, list[float]] = {}
    for name in ORDERS:
        for steps in FEW:
            x = run.sample(n, seed=1, steps=steps, solver=getattr(s, name)).x
            assert isinstance(x, torch.Tensor)
            curves.setdefault(name, []).append(frechet_distance(features(x).double(), real))
            print(f"{name}, {steps} steps: {curves[name][-1]:.4f}", file=sys.stderr, flush=True)
    _drawn(curves, features.name, out or HERE.parent / "out" / f"quality-{run.path.name}.png")
    eight, best = curves["dpm_solver_2m"][FEW.index(8)], curves["heun"][-1]
    return [
        Row(
            what=f"{run.path.name}: Frechet distance ({features.name}, {n} samples) of 8 steps of dpm_solver_2m",
            unit="",
            ours=eight,
            peer=best,
            target="<= 1.1 x 64 steps of heun",
            met=eight <= 1.1 * best,
            note="; ".join(f"{k}: " + ", ".join(f"{v:.3g}" for v in c) for k, c in curves.items()) + f" at {FEW} steps",
            rounds={"steps": FEW, "curves": curves},
        )
    ]


def _drawn(curves: dict[str, list[float]], features: str, path: Path) -> None:
    from matplotlib.figure import Figure as Page

    page = Page(figsize=(6, 4), layout="constrained")
    axes = page.subplots()
    for name, values in curves.items():
        axes.plot(FEW, values, marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="steps", ylabel=f"Frechet distance, {features} features")
    axes.set_xticks(FEW, [str(k) for k in FEW])
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    page.savefig(path, dpi=150)


def equal(name: str, *, minutes: float = 30.0, n: int = 10_000) -> list[Any]:
    """Frechet distances after as many minutes of training on two threads, ours by its recipe, theirs by its script."""
    from bench.harness import Row, Side, environment, measure
    from simulacra.evaluation.extractors import values
    from simulacra.mathematics.frechet import frechet_distance
    from simulacra.modalities.sources import open_data
    from simulacra.runs.extractors import extractors_for

    import numpy as np  # isort: skip
    import torch  # isort: skip

    peer = environment("diffusers", REQUIREMENTS)
    loaded = open_data(name, size=(SIDE, SIDE), labels="none")
    features = extractors_for(open_data(name, size=(SIDE, SIDE)))[0]
    real = features(values(loaded.held_out, n, 0)).double()
    distances, notes = [], []
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/train.npy", loaded.train.x.numpy())  # type: ignore[attr-defined]
        for function, python in (("our_training", None), ("their_training", peer)):
            settings = {"name": name, "minutes": minutes, "n": n, "folder": folder}
            side = Side(file=HERE, function=function, python=python, threads=2, settings=settings)
            (done,) = measure(side, rounds=1, warm_up=0, timeout=4 * 3600)
            drawn = torch.from_numpy(np.load(f"{folder}/{function}.npy"))
            distances.append(frechet_distance(features(drawn).double(), real))
            notes.append(f"{done.value['steps']} steps, {done.cpu_s / 60:.0f} CPU-minutes with drawing")
    return [
        Row(
            what=f"{name} at {SIDE}x{SIDE}, {minutes:g} minutes each: Frechet distance ({features.name}, {n} samples)",
            unit="",
            ours=distances[0],
            peer=distances[1],
            target="<= 0.7x",
            met=distances[0] <= 0.7 * distances[1],
            note=f"ours {notes[0]}; theirs {notes[1]}",
        )
    ]


def our_training(name: str, minutes: float, n: int, folder: str):
    """Our recipe for the data, and n pictures of it."""
    import numpy as np

    from simulacra.modalities.sources import open_data
    from simulacra.recipes.families import FAMILIES
    from simulacra.training.loop import train
    from simulacra.training.settings import Training

    loaded = open_data(name, size=(SIDE, SIDE), labels="none")
    family = FAMILIES["diffusion"]
    config, _ = family.recipe(loaded.train.space, len(loaded.train))

    def one_round() -> dict[str, Any]:
        training = Training(minutes=minutes, batch=BATCH, average_half_life=50_000.0, save_seconds=None)
        done = train(family.build(config, loaded.train.space), loaded.train, training)
        np.save(f"{folder}/our_training.npy", done.averaged.sample(n, rng=1).x.numpy())
        return {"value": {"steps": done.steps}}

    return one_round


def their_training(name: str, minutes: float, n: int, folder: str):
    """Their script's way on the same pictures, and n pictures by 50 trailing steps of DDIM."""
    import numpy as np
    import torch
    from diffusers import DDIMScheduler

    pictures = np.load(f"{folder}/train.npy")
    train, averaged = _their_training(pictures, lr=1e-4)

    def one_round() -> dict[str, Any]:
        steps, _ = train(math.inf, 60 * minutes)
        model, scheduler = averaged().eval(), DDIMScheduler(num_train_timesteps=1000, timestep_spacing="trailing")
        scheduler.set_timesteps(50)
        parts = []
        with torch.no_grad():
            for first in range(0, n, 250):
                x = torch.randn(min(250, n - first), 1, SIDE, SIDE)
                for t in scheduler.timesteps:
                    x = scheduler.step(model(x, t).sample, t, x).prev_sample
                parts.append(((x.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1)
        np.save(f"{folder}/their_training.npy", torch.cat(parts).numpy())
        return {"value": {"steps": steps}}

    return one_round


def main(arguments: list[str]) -> None:
    """Part after part, each into its own file."""
    from bench.harness import save, show

    if arguments and arguments[0] in ("quality", "equal"):
        part, subject = arguments[0], arguments[1]
        rows = {"quality": quality, "equal": equal}[part](subject)
        show(f"diffusion {part} {subject}", rows)
        print(
            save(f"diffusion-{part}-{Path(subject).name}", rows, command=f"python -m bench.diffusion {part} {subject}")
        )
        return
    for part in arguments or list(PARTS):
        rows = run((part,))
        show(f"diffusion {part}", rows)
        print(save(f"diffusion-{part}", rows, command=f"python -m bench.diffusion {part}"))


if __name__ == "__main__":
    main(sys.argv[1:])
