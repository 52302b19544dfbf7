"""What is true of unpaired translation alone."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from simulacra.cli.main import main
from simulacra.core.batch import Batch, Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.cyclegan import CycleGAN, CycleGANConfig, _by_class
from simulacra.mathematics.adversarial import Relativistic
from simulacra.training.loop import train
from simulacra.training.settings import Training

FIELD = Continuous(low=-1.0, high=1.0, levels=256, shape=(1, 8, 8))
SPACE = Space(fields={"picture": FIELD}, y=Classes(names=("dark", "light")), measure="8-bit pixels")
SMALL = CycleGANConfig(width=4, blocks=1, halvings=2, past=5)


def batch(y: list[int]) -> Batch:
    return Batch(x=Rng(5).uniform((len(y), 1, 8, 8)) * 2 - 1, y=torch.tensor(y))


def test_every_row_goes_through_the_network_of_its_class():
    model = CycleGAN(SMALL, SPACE, rng=1)
    x, which = batch([1, 0, 0, 1]).x, torch.tensor([1, 0, 0, 1])
    apart = torch.cat([model.onto[int(c)](x[i : i + 1]) for i, c in enumerate(which)])
    torch.testing.assert_close(_by_class(model.onto, x, which), apart)
    torch.testing.assert_close(_by_class(model.onto, x[:1], which[:1]), apart[:1])


def test_the_generators_loss_is_the_games_the_cycle_and_the_identity():
    model, b = CycleGAN(replace(SMALL, cycle=7.0, identity=3.0), SPACE, rng=1), batch([0, 0, 0])
    loss = model.generator_loss(b, Rng(0))
    light, dark = (lambda t: model.onto[1](t).tanh()), (lambda t: model.onto[0](t).tanh())
    fake = light(b.x)
    truth = 0.5 * (model.critics[1](fake) - 1).square().mean((1, 2))
    truth = truth + 7 * (dark(fake) - b.x).abs().mean((1, 2, 3)) + 3 * (dark(b.x) - b.x).abs().mean((1, 2, 3))
    assert math.isclose(loss.total.item(), truth.sum().item(), rel_tol=1e-5)


def step(model: CycleGAN, b: Batch, number: int) -> Tensor:
    """One step of the game without an optimiser; the fakes that were shown."""
    model.generator_loss(b, Rng(number)("g"))
    fake = model.shown[b.x].clone()
    model.critic_loss(b, Rng(number)("c"))
    after = model.turns()[1].after
    assert after is not None
    after({})
    return fake


def test_the_past_fills_and_then_new_pictures_replace_some_of_it():
    model = CycleGAN(SMALL, SPACE, rng=1)
    fakes = [step(model, batch([0, 1, 0]), 0)]
    # what a dark picture became is light, and is remembered as that
    assert model.filled.tolist() == [1, 2]
    assert torch.equal(model.pool[1, :2], fakes[0][[0, 2]])
    assert torch.equal(model.pool[0, :1], fakes[0][[1]])
    for i in range(1, 5):
        b = batch([0, 1, 0])
        fakes.append(step(model, replace(b, x=b.x * (1 - 0.1 * i)), i))
    assert model.filled.tolist() == [5, 5]
    there = model.pool[1].clone()
    seen = torch.cat([f[[0, 2]] for f in fakes])
    assert all(any(torch.equal(p, f) for f in seen) for p in there)
    replaced = 0
    for i in range(10):
        b = batch([0, 1, 0])
        step(model, replace(b, x=b.x * 0.05 * i), 10 + i)
        replaced += int((model.pool[1] != there).flatten(1).any(1).sum())
        there = model.pool[1].clone()
    # 20 pictures, each kept with probability 1/2, two of one step may take one place
    assert 3 <= replaced <= 17


def test_a_past_picture_stands_in_for_half_of_the_new_ones():
    model = CycleGAN(SMALL, SPACE, rng=1)
    model.pool.fill_(0.5)
    b = batch([0] * 400)
    model.generator_loss(b, Rng(1))
    model.critic_loss(b, Rng(2))
    assert not model.fresh[0][3].any(), "an empty past has nothing to show"
    model.filled.fill_(5)
    model.fresh.clear()
    model.critic_loss(b, Rng(2))
    share = model.fresh[0][3].float().mean().item()
    assert abs(share - 0.5) < 4 * math.sqrt(0.25 / 400)


def test_the_past_is_saved():
    model = CycleGAN(SMALL, SPACE, rng=1)
    step(model, batch([0, 1, 0]), 0)
    other = CycleGAN(SMALL, SPACE, rng=2)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.pool, model.pool)
    assert torch.equal(other.filled, model.filled)


def test_what_it_cannot_learn_is_refused_in_a_line():
    for y, told in ((None, "no classes"), (Classes(names=("a", "b", "c")), "3 classes")):
        with pytest.raises(ValueError, match=f"a folder with a subfolder for each; got data of {told}"):
            CycleGAN(SMALL, replace(SPACE, y=y))
    with pytest.raises(ValueError, match="no pairs to compare"):
        CycleGANConfig(game=Relativistic())


@pytest.mark.slow
def test_it_learns_to_tell_dark_from_light():
    """Sets of flat pictures, dark and light: what is translated lies on the other side, without a pair seen."""
    y = torch.arange(128) % 2
    shade = (0.2 + 0.6 * Rng(1).uniform((128, 1, 1, 1))) * (2 * y - 1)[:, None, None, None]
    data = Stored(space=SPACE, x=FIELD.value(FIELD.index(shade.expand(-1, 1, 8, 8))), y=y)
    model = CycleGAN(replace(SMALL, width=8, identity=0.0, cycle=2.0), SPACE, rng=1)
    train(model, data, Training(steps=300, batch=8))
    there = model.translate(data.x, y=1 - y)
    assert isinstance(there, Tensor)
    assert ((there.mean((1, 2, 3)) > 0) == (y == 0)).float().mean() > 0.9


def test_a_run_translates_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name, shade in (("dark", 40), ("light", 200)):
        (tmp_path / "sets" / name).mkdir(parents=True)
        for i in range(24):
            Image.fromarray(np.full((8, 8), shade + i, np.uint8)).save(tmp_path / "sets" / name / f"{i}.png")
    run, out = str(tmp_path / "run"), str(tmp_path / "t.png")
    small = ["--width", "4", "--blocks", "1", "--halvings", "2", "--steps", "2", "--batch", "4"]
    main(["fit", "cyclegan", str(tmp_path / "sets"), *small, "--out", run])
    capsys.readouterr()
    one = str(tmp_path / "sets" / "dark" / "3.png")
    main(["translate", run, one, "--to", "light", "--out", out])
    assert "1 pairs, the picture and what it became" in capsys.readouterr().out
    main(["translate", run, "held-out", "--out", str(tmp_path / "there.npy")])
    assert np.load(tmp_path / "there.npy").shape[1:] == (8, 8, 1)
    with pytest.raises(SystemExit):
        main(["translate", run, one, "--out", out])
    assert "give --to CLASS, one of dark, light" in capsys.readouterr().err
