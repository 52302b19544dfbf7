"""What is true of style-based generators alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from simulacra.core.batch import Batch, Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.stylegan import PathLength, StyleGAN, StyleGANConfig
from simulacra.mathematics.adversarial import path_lengths
from simulacra.nets.equalised import Deviation
from simulacra.nets.modulated import drawn, fixed
from simulacra.nets.styles import Adaptive, Demodulated

SMALL = StyleGANConfig(latent=4, style=6, mapping=2, base=32, widest=6)


def space(c: int = 1, h: int = 8, w: int = 8, classes: int = 0) -> Space:
    field = Continuous(low=-1.0, high=1.0, levels=256, shape=(c, h, w))
    names = Classes(names=tuple(f"kind {i}" for i in range(classes))) if classes else None
    return Space(fields={"picture": field}, y=names, measure="8-bit pixels")


def batch(of: Space, n: int = 8) -> Batch:
    y = Rng(5)("y").integers(len(of.y), (n,)) if isinstance(of.y, Classes) else None
    return Batch(x=Rng(5).uniform((n, *of.only.shape)) * 2 - 1, y=y)


def values(b: Batch) -> Tensor:
    assert isinstance(b.x, Tensor)
    return b.x


def learnt(of: Space, config: StyleGANConfig = SMALL) -> StyleGAN:
    """A model whose noise is heard, as that of a trained one would be."""
    model = StyleGAN(config, of, rng=1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("strength"):
                p.fill_(0.3)
    return model


@pytest.mark.parametrize("synthesis", [Demodulated(), Adaptive()])
@pytest.mark.parametrize("classes", [0, 3])
def test_truncation_of_1_changes_nothing_and_of_0_leaves_one_style_a_class(
    synthesis: Demodulated | Adaptive, classes: int
):
    model = StyleGAN(replace(SMALL, synthesis=synthesis), space(classes=classes), rng=1)
    y = torch.tensor([0, 1, 2, 0, 1, 2]) if classes else None
    full, whole, none, half = (values(model.sample(6, y=y, truncation=t, rng=3)) for t in (1.0, 0.9999999, 0.0, 0.5))
    step = 2 / 255 + 1e-6
    assert torch.equal(full, values(model.sample(6, y=y, rng=3)))
    assert (full - whole).abs().max() <= step
    # noise is silent in a new model: at 0 nothing is left to tell pictures of a class apart
    assert (none[:3] - none[3:]).abs().max() <= step
    if not classes:
        assert (none - none[:1]).abs().max() <= step
    with torch.no_grad():
        w, mean = (
            model.generator.mapping(z := Rng(3)("z").normal((6, 4)), None if y is None else torch.eye(3)[y]),
            (model.mean_styles()),
        )
        mean = mean.expand(6, -1) if y is None else mean[y]
        mixed = (mean + 0.5 * (w - mean))[:, None].expand(-1, model.generator.synthesis.layers, -1)
        truth = model.eval().generator.synthesis(mixed, fixed).tanh()
    assert z.shape == (6, 4)
    assert (half - truth).abs().max() <= 1.01 / 255 + 1e-5
    with pytest.raises(ValueError, match=r"truncation lies in 0 .. 1; got 1.5"):
        model.sample(1, truncation=1.5)


def test_the_mean_style_is_the_mean_of_styles():
    model = StyleGAN(SMALL, space(classes=3), rng=1)
    with torch.no_grad():
        y = torch.eye(3)[[1]].expand(20_000, -1)
        w = model.generator.mapping(Rng(9).normal((20_000, 4)), y)
    spread = w.std(0) * (1 / 20_000 + 1 / 4096) ** 0.5
    assert ((w.mean(0) - model.mean_styles()[1]).abs() < 4.5 * spread).all()


def test_truncated_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch):
    model = learnt(space(classes=3))
    whole = values(model.sample(10, truncation=0.6, rng=2))
    monkeypatch.setattr("simulacra.nets.adversarial.ROWS", 4)
    assert (values(model.sample(10, truncation=0.6, rng=2)) - whole).abs().max() <= 2 / 255 + 1e-5


def test_mixed_styles_change_at_one_layer_and_as_often_as_told():
    model = learnt(space(h=16, w=16))
    z = Rng(1).normal((400, 4))
    generator = model.generator.train()
    with torch.no_grad():
        plain, mixed = generator.mapping(z), generator.styles(z, None, Rng(2))
    own = (mixed == plain[:, None]).all(2)
    assert own[:, 0].all(), "the coarsest layer hears the first latent"
    # once another style begins it goes on to the finest layer
    assert (own[:, 1:] <= own[:, :-1]).all()
    share = (~own[:, -1]).float().mean().item()
    assert abs(share - 0.9) < 4 * math.sqrt(0.9 * 0.1 / 400)
    cuts = own.sum(1)[~own[:, -1]]
    assert set(cuts.tolist()) == set(range(1, generator.synthesis.layers))
    generator.eval()
    assert torch.equal(generator.styles(z, None, Rng(2)), plain[:, None].expand_as(mixed))


def test_path_length_is_penalised_lazily_and_its_mean_remembered():
    of = space()
    model = learnt(of, replace(SMALL, mixing=0.0, path_length=PathLength(weight=3.0, decay=0.9, every=5)))
    turn = next(t for t in model.turns() if t.name == "path_length")
    assert (turn.every, turn.player, turn.second_order) == (5, "generator", True)
    model.mean_length.fill_(0.25)
    loss = turn.loss(batch(of), Rng(4))
    z = Rng(4)("z").normal((8, 4))
    w = model.generator.styles(z, None, Rng(4)).detach().requires_grad_()
    picture = model.generator.synthesis(w, drawn(Rng(4))).tanh()
    length = path_lengths(picture, w, Rng(4)("y").normal(picture.shape))
    assert math.isclose(loss.total.item(), 15 * (length - 0.25).square().sum().item(), rel_tol=1e-4)
    assert turn.after is not None
    turn.after({"path_length": torch.tensor(1.25)})
    assert math.isclose(model.state_dict()["mean_length"].item(), 0.35, rel_tol=1e-6)
    assert not any(t.name == "path_length" for t in StyleGAN(replace(SMALL, path_length=None), of).turns())
    with pytest.raises(ValueError, match="decay in"):
        PathLength(decay=1.0)


def test_players_with_lazy_turns_learn_slower_by_c():
    players = StyleGAN(SMALL, space()).players()
    assert math.isclose(players["critic"].optimiser.lr, 2e-3 * 16 / 17)  # type: ignore[attr-defined]
    assert math.isclose(players["generator"].optimiser.lr, 2e-3 * 4 / 5)  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [(8, 8), (9, 15), (28, 28), (30, 45), (16, 80), (64, 64)])
@pytest.mark.parametrize("c", [1, 4])
def test_every_size_and_number_of_channels(size: tuple[int, int], c: int):
    of = space(c, *size)
    for synthesis in (Demodulated(), Adaptive()):
        model = StyleGAN(replace(SMALL, synthesis=synthesis), of)
        x = values(model.sample(2, rng=0))
        assert x.shape == (2, c, *size)
        assert model.criticise(x).shape == (2,)


def test_sizes_out_of_range_are_refused_in_a_line():
    with pytest.raises(ValueError, match="8 to 1024 a side; got 7x8, resize them"):
        StyleGAN(SMALL, space(1, 7, 8))
    with pytest.raises(ValueError, match="a share of the examples"):
        replace(SMALL, mixing=1.5)


def test_the_published_widths_at_1024():
    # Karras et al. 2020's configuration: 512 channels up to 32, halved from 64 on
    found = [(1024 >> i, 1024 >> i) for i in range(9)]
    assert StyleGANConfig(base=32_768).widths(found) == [32, 64, 128, 256, 512, 512, 512, 512, 512]


@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_ten_pictures_and_batches_smaller_than_a_group(n: int):
    of = space(classes=1)
    model = StyleGAN(SMALL, of)
    data = Stored(space=of, x=torch.zeros((10, 1, 8, 8), dtype=torch.uint8), y=torch.zeros(10, dtype=torch.int64))
    model.fit(data)
    assert torch.equal(model.label_log_prob(), torch.zeros(1))
    for turn in model.turns():
        assert torch.isfinite(turn.loss(batch(of, n), Rng(0)).total)


def test_what_groups_deviate_by_is_saved():
    of = space()
    model = StyleGAN(SMALL, of)
    for turn in model.turns():
        turn.loss(batch(of), Rng(0))
    typical = next(m for m in model.modules() if isinstance(m, Deviation)).typical
    assert typical != 1
    assert any(name.endswith("typical") for name in model.state_dict())
