"""Training a VAE against pythae 0.1.2, and the likelihood it reaches on dynamically binarised MNIST.

``python -m bench vae`` runs all three parts; ``python -m bench.vae speed | equal | long`` one of them. ``equal`` and
``long`` need MNIST; ``long`` takes most of an hour of one core with bfloat16 matrix units.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
REQUIREMENTS = ["torch", "numpy", "scipy", "scikit-learn", "pydantic", "tqdm", "typing_extensions", "cloudpickle",
                "imageio"]  # fmt: skip
PEER = "pythae==0.1.2"  # without its dependencies: it asks for a backport of dataclasses
LATENT, HIDDEN, BATCH = 32, 512, 100  # pythae's own default network for this data: 784-512-32 and back, ReLU
MIXED = 0.13  # share of white pixels in binarised MNIST, for the pictures that speed is measured on
SCORED = 1000  # test pictures, a fixed random choice, that likelihoods rest on
DRAWS = 1000
CPU_SECONDS = 120.0  # of training for each side of the equal comparison
LONG_STEPS = 16_000


def run(parts: tuple[str, ...] = ("speed", "equal", "long")) -> list[Any]:
    """The rows of the parts asked for."""
    rows: list[Any] = []
    for part in parts:
        rows += {"speed": speed, "equal": equal, "long": long}[part]()
    return rows


# -- steps a second ---------------------------------------------------------------------------------------------------


def speed() -> list[Any]:
    """Training steps, same network, batch, optimiser and data; pythae keeps no moving average of the weights."""
    from bench.harness import Side, compare, environment, faster

    peer = environment("pythae", REQUIREMENTS, bare=[PEER])
    rows: list[Any] = []
    for what, half_life, at_least in (("", 0.0, 1.5), (", and our moving average", 10_000.0, None)):
        ours = Side(file=HERE, function="our_steps", settings={"half_life": half_life})
        both = compare(ours, Side(file=HERE, function="their_steps", python=peer), rounds=7)
        name = f"VAE 784-{HIDDEN}-{LATENT}, batch {BATCH}, Adam: training step against pythae 0.1.2{what}"
        rows.append(faster(name, both, at_least=at_least))
    return rows


def our_steps(half_life: float, examples: int = 40_000):
    """An epoch of ours a round."""
    import torch

    from simulacra.core.batch import Stored
    from simulacra.training.loop import train
    from simulacra.training.settings import Training

    data = Stored(space=_space(), x=torch.from_numpy(_noise(examples)))
    model = _small(lr=1e-3, centre=0.0, scale=1.0)

    def one_round() -> dict[str, Any]:
        training = Training(steps=examples // BATCH, batch=BATCH, average_half_life=half_life)
        done = train(model, data, training)
        return {"work": done.steps, "value": done.log[-1]["vae"]}

    return one_round


def their_steps(examples: int = 40_000):
    """An epoch of pythae's BaseTrainer a round."""
    import torch
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    torch.manual_seed(0)
    model = VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, reconstruction_loss="bce"))
    data = BaseDataset(torch.from_numpy(_noise(examples)).float(), torch.zeros(examples))
    folder = tempfile.mkdtemp()

    def one_round() -> dict[str, Any]:
        settings = BaseTrainerConfig(
            output_dir=folder, num_epochs=1, per_device_train_batch_size=BATCH, learning_rate=1e-3, no_cuda=True
        )
        BaseTrainer(model, data, None, settings).train()
        return {"work": examples // BATCH}

    return one_round


def _noise(examples: int) -> Any:
    """Pictures of independent pixels: what they show makes no difference to a step's time."""
    import numpy as np

    return (np.random.default_rng(0).random((examples, 1, 28, 28)) < MIXED).astype(np.uint8)


# -- nats after equal time --------------------------------------------------------------------------------------------


def equal(seconds: float = CPU_SECONDS) -> list[Any]:
    """Same network, same CPU-seconds of training, scored by the same code on the same test pictures."""
    import torch

    from bench.harness import Row, Side, environment, measure

    peer = environment("pythae", REQUIREMENTS, bare=[PEER])
    _, test = _mnist()
    scores, taken = [], []
    for function, python in (("our_training", None), ("their_training", peer)):
        with tempfile.TemporaryDirectory() as folder:
            settings = {"seconds": seconds, "folder": folder}
            if python is not None:  # the peer reads the grey levels from a file: it has no simulacra to read them with
                train_data, _ = _mnist()
                torch.save(train_data.x, Path(folder) / "train.pt")
            (done,) = measure(Side(file=HERE, function=function, python=python, settings=settings), rounds=1, warm_up=0)
            model = _small(lr=1e-3)
            state = torch.load(Path(folder) / "weights.pt", weights_only=True)
            model.load_state_dict({**model.state_dict(), **(state if python is None else _as_ours(state))})
        taken.append(done)
        scores.append(_score(model, test))
    ours, theirs = (-s.mean() for s in scores)
    gain = scores[0] - scores[1]
    error = float(gain.std() / math.sqrt(len(gain)))
    row = Row(
        what=f"VAE 784-{HIDDEN}-{LATENT} on dynamically binarised MNIST, {seconds:g} CPU-s of training each: -log p,"
        f" IWAE-{DRAWS}",
        unit="nats",
        ours=float(ours),
        peer=float(theirs),
        target="below the peer's",
        met=float(gain.mean()) > 2 * error,
        note=f"{len(gain)} test pictures; difference {float(gain.mean()):.2f}, standard error {error:.2f};"
        f" steps {taken[0].value['steps']} and {taken[1].value['steps']},"
        f" training CPU-s {taken[0].value['cpu_s']:.0f} and {taken[1].value['cpu_s']:.0f}",
        rounds={"nats": [s.tolist() for s in scores], "training": [t.value for t in taken]},
    )
    return [row]


def our_training(seconds: float, folder: str):
    """Trains for about that many CPU-seconds: their number of steps is found on the first hundred."""
    import torch

    from simulacra.training.loop import train
    from simulacra.training.settings import Training

    data, _ = _mnist()

    def one_round() -> dict[str, Any]:
        start = time.process_time()
        train(_small(lr=2e-3), data, Training(steps=100, batch=BATCH))
        step = (time.process_time() - start) / 100
        steps = int((seconds - 100 * step) / step)
        done = train(_small(lr=2e-3), data, Training(steps=steps, batch=BATCH))
        used = time.process_time() - start  # the trial is part of the bill
        torch.save(done.averaged.state_dict(), Path(folder) / "weights.pt")
        return {"work": done.steps, "value": {"steps": done.steps, "cpu_s": used}}

    return one_round


def their_training(seconds: float, folder: str):
    """pythae's BaseTrainer, stopped after that many CPU-seconds; pictures are drawn as they are fetched."""
    import torch
    from pythae.data.datasets import DatasetOutput
    from pythae.models import VAE, VAEConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback
    from torch.utils.data import Dataset

    grey = torch.load(Path(folder) / "train.pt", weights_only=True).float() / 255

    class Drawn(Dataset):
        def __len__(self) -> int:
            return len(grey)

        def __getitem__(self, index: int) -> Any:
            return DatasetOutput(data=torch.bernoulli(grey[index]))

    class Enough(Exception):
        pass

    class Stop(TrainingCallback):
        def __init__(self) -> None:
            self.start, self.steps = time.process_time(), 0

        def on_train_step_end(self, training_config: Any, **_: Any) -> None:
            self.steps += 1
            if time.process_time() - self.start > seconds:
                raise Enough

    def one_round() -> dict[str, Any]:
        torch.manual_seed(0)
        model = VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, reconstruction_loss="bce"))
        settings = BaseTrainerConfig(
            output_dir=folder, num_epochs=10_000, per_device_train_batch_size=BATCH, learning_rate=1e-3, no_cuda=True
        )
        stop = Stop()
        with contextlib.suppress(Enough):
            BaseTrainer(model, Drawn(), None, settings, [stop]).train()
        used = time.process_time() - stop.start
        torch.save(model.state_dict(), Path(folder) / "weights.pt")
        return {"work": stop.steps, "value": {"steps": stop.steps, "cpu_s": used}}

    return one_round


def _as_ours(state: dict[str, Any]) -> dict[str, Any]:
    """pythae's weights under our names: its encoder has two last layers, the second for log sigma^2."""
    import torch

    ours: dict[str, Any] = {}
    for kind in ("weight", "bias"):
        ours[f"encoder.layers.0.{kind}"] = state[f"encoder.layers.0.0.{kind}"]
        halves = [state[f"encoder.embedding.{kind}"], state[f"encoder.log_var.{kind}"] / 2]
        ours[f"encoder.layers.2.{kind}"] = torch.cat(halves)
        ours[f"decoder.layers.0.{kind}"] = state[f"decoder.layers.0.0.{kind}"]
        ours[f"decoder.layers.2.{kind}"] = state[f"decoder.layers.1.0.{kind}"]
    return ours


# -- the long recipe --------------------------------------------------------------------------------------------------


def long(steps: int = LONG_STEPS) -> list[Any]:
    """A convolutional VAE trained for long; published for one layer of 50 latents: 86.8 (VAE), 84.8 (IWAE-50)."""
    from bench.harness import Side, measure

    side = Side(file=HERE, function="our_long", settings={"steps": steps})
    (done,) = measure(side, rounds=1, warm_up=0, timeout=4 * 3600)
    return [_long_row(steps, done.value)]


def _long_row(steps: int, value: Any) -> Any:
    from bench.harness import Row

    return Row(
        what=f"convolutional VAE, 50 latents, on dynamically binarised MNIST, {steps} steps: -log p, IWAE-{DRAWS}",
        unit="nats",
        ours=value["nats"],
        target="<= 87.0",
        met=value["nats"] <= 87.0,
        note=f"{value['n']} test pictures, standard error {value['error']:.2f}; {value['cpu_s'] / 60:.0f} CPU-min,"
        f" {value['minutes']:.0f} min; published: VAE 86.8, IWAE-50 84.8 (Burda et al. 2016, one layer)",
        rounds=value,
    )


def our_long(steps: int):
    """Trains in bfloat16 autocast, scores the averaged weights in float32."""
    from simulacra.training.loop import train
    from simulacra.training.settings import Training

    data, test = _mnist()

    def one_round() -> dict[str, Any]:
        start, wall = time.process_time(), time.perf_counter()
        training = Training(steps=steps, batch=128, precision="bfloat16", average_half_life=50_000.0, log_every=500)
        done = train(_large(), data, training, hooks=[Told()])
        used = time.process_time() - start
        minutes = (time.perf_counter() - wall) / 60
        keep = HERE.parent / "out" / "vae-long.safetensors"
        _keep(done.averaged, keep)
        nats = _score(done.averaged, test)
        error = float(nats.std() / math.sqrt(len(nats)))
        return {
            "work": done.steps,
            "value": {"nats": -float(nats.mean()), "error": error, "n": len(nats), "cpu_s": used, "minutes": minutes,
                      "last": done.log[-1]},
        }  # fmt: skip

    return one_round


class Told:
    """Says now and then, on stderr, how far a long training is."""

    every = 500

    def __call__(self, moment: Any) -> None:
        print(moment.step, {k: round(v, 2) for k, v in moment.log.items()}, file=sys.stderr, flush=True)


def _large() -> Any:
    from simulacra.core.optimisers import AdamW, Warmup
    from simulacra.families.vae import VAE, VAEConfig
    from simulacra.nets.backbones import Convolutional

    optimiser = AdamW(lr=2e-3, schedule=Warmup(steps=300, decay=0.8, final=0.005))
    return VAE(VAEConfig(latent=50, networks=Convolutional(width=32), optimiser=optimiser), _space())


def _keep(model: Any, path: Path) -> None:
    """The weights, for pictures and further scoring; not part of the repository."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: t.contiguous() for name, t in model.state_dict().items()}, path)


# -- common -----------------------------------------------------------------------------------------------------------


def _space(centre: float = 0.0, scale: float = 1.0) -> Any:
    from simulacra.core.space import Continuous, Space

    picture = Continuous(low=-1.0, high=1.0, levels=2, shape=(1, 28, 28), centre=centre, scale=scale)
    return Space(fields={"picture": picture}, measure="binary pixels")


def _small(*, lr: float, centre: float = -1.0, scale: float = 2.0) -> Any:
    """pythae's default network for 28x28 pictures, as ours; black is 0 and white 1 to it, as there."""
    from simulacra.core.optimisers import AdamW, Warmup
    from simulacra.families.vae import VAE, VAEConfig
    from simulacra.nets.activations import relu
    from simulacra.nets.backbones import Dense

    optimiser = AdamW(lr=lr, schedule=Warmup(decay=0.7, final=0.01))
    networks = Dense(hidden=(HIDDEN,), activation=relu)
    return VAE(VAEConfig(latent=LATENT, networks=networks, optimiser=optimiser), _space(centre, scale))


def _mnist() -> tuple[Any, Any]:
    """Training pictures drawn afresh in every batch; test pictures drawn once."""
    from simulacra.modalities.sources import open_data

    loaded = open_data("mnist-binary")
    return loaded.train, loaded.held_out


def _score(model: Any, test: Any, *, n: int = SCORED, draws: int = DRAWS) -> Any:
    """log p of n test pictures by IWAE with that many draws, nats float64 (n,); a part of the pictures at a time."""
    import torch

    from simulacra.core.randomness import Rng

    chosen = Rng(0)("scored").permutation(len(test))[:n]
    parts = [
        model.log_likelihood(test.batch(index, Rng(0)).x, rng=Rng(1).rows(50 * i), k=draws).nats
        for i, index in enumerate(chosen.split(50))
    ]
    return torch.cat(parts).double()


if __name__ == "__main__":
    from bench.harness import RESULTS, save, show

    asked = tuple(sys.argv[1:]) or ("speed", "equal", "long")
    result = run(asked)
    show("vae", result)
    print(json.dumps([{"what": r.what, "ours": r.ours, "peer": r.peer, "note": r.note} for r in result], indent=1))
    save("vae-" + "-".join(asked), result, folder=RESULTS, command=f"python -m bench.vae {' '.join(asked)}")
