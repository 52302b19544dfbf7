"""A grid shows every pixel of every picture where it belongs; samples come back as they were written."""

import io
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.modalities import grids, images, plots
from simulacra.modalities.samples import read_samples, write_samples
from simulacra.modalities.toys import Pinwheel, ring
from simulacra.modalities.worlds import points


def noise(n: int, h: int = 5, w: int = 4, c: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, h, w, c), dtype=np.uint8)


@pytest.mark.parametrize("c", [1, 3, 4])
@pytest.mark.parametrize("enlarge", [1, 3])
def test_pictures_lie_in_rows(c, enlarge):
    pictures = noise(7, c=c)
    shown = np.asarray(grids.grid(pictures, columns=3, enlarge=enlarge, gap=2)).reshape(
        3 * (5 * enlarge + 2) + 2, 3 * (4 * enlarge + 2) + 2, c
    )
    for i, picture in enumerate(pictures):
        top, left = 2 + i // 3 * (5 * enlarge + 2), 2 + i % 3 * (4 * enlarge + 2)
        assert np.array_equal(shown[top : top + 5 * enlarge : enlarge, left : left + 4 * enlarge : enlarge], picture)
    assert (shown[:2] == grids.ground(pictures)).all()


def test_gaps_take_the_colour_of_the_pictures_borders():
    pictures = np.full((3, 5, 4, 3), 255, np.uint8)
    pictures[:, [0, -1]] = pictures[:, :, [0, -1]] = (10, 20, 30)
    pictures[0, 0, 0] = 200  # one stray corner changes nothing
    assert grids.ground(pictures).tolist() == [10, 20, 30]


def test_small_pictures_are_enlarged_until_seen():
    assert grids.magnified(noise(1, 8, 8)).shape[1] == 56
    assert grids.magnified(noise(1, 28, 28)).shape[1] == 56
    assert grids.magnified(noise(1, 64, 64)).shape[1] == 64


def test_strips_and_pairs():
    rows = [noise(5, seed=i) for i in range(3)]
    assert grids.strips(rows) == grids.grid(np.concatenate(rows), columns=5)
    left, right = noise(4), noise(4, seed=1)
    shown = np.asarray(grids.pairs(left, right, columns=1, enlarge=1))
    assert np.array_equal(shown[6:11, 6:10], left[0])
    assert np.array_equal(shown[6:11, 12:16], right[0])
    two = grids.beside([grids.grid(left), grids.grid(noise(1, c=1))])
    assert two.mode == "RGB"


def test_png_bytes_are_the_picture():
    image = grids.grid(noise(9))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(grids.png(image)))), np.asarray(image))


def test_gif_plays_every_frame_and_rests(tmp_path):
    frames = [grids.grid(noise(4, seed=i)) for i in range(5)]
    grids.gif(frames, tmp_path / "a.gif", seconds=1.0, rest=2.0)
    with Image.open(tmp_path / "a.gif") as found:
        assert found.n_frames == 5
        assert found.info["loop"] == 0
        times = []
        for i in range(5):
            found.seek(i)
            times.append(found.info["duration"])
    assert times == [200, 200, 200, 200, 2200]


def test_scatter_counts_what_lies_outside():
    real = Pinwheel().sample(500, rng=0).x.numpy()
    inside = np.asarray(plots.scatter(real, real))
    assert inside.shape == (480, 480, 3)
    ink = lambda a: int((a[..., 2] > a[..., 0].astype(int) + 60).sum())  # noqa: E731
    assert ink(inside) > 300
    assert ink(np.asarray(plots.scatter(real + 100, real))) == 0


@pytest.mark.parametrize(
    "bad", [noise(2).astype(float), noise(2)[0], noise(0), noise(2, c=2), np.zeros((1, 0, 3, 1), np.uint8)]
)
def test_refused_pictures(bad):
    with pytest.raises(ValueError, match="expected pictures uint8"):
        grids.grid(bad)


def test_other_refusals(tmp_path):
    with pytest.raises(ValueError, match="rows of equal length; got \\[2, 3\\]"):
        grids.strips([noise(2), noise(3)])
    with pytest.raises(ValueError, match="of one shape"):
        grids.pairs(noise(2), noise(3))
    with pytest.raises(ValueError, match="frames of one size"):
        grids.gif([], tmp_path / "a.gif")
    with pytest.raises(ValueError, match="no finite point"):
        plots.scatter(np.full((3, 2), np.nan))
    with pytest.raises(ValueError, match=r"points \(n, d\)"):
        plots.scatter(np.zeros(3))


LEVELS = pytest.mark.parametrize("levels", [2, 17, 256])


@pytest.mark.parametrize("shape", [(3, 6, 5), (3, 3, 3), (1, 4, 4), (4, 3, 1)])
@LEVELS
@pytest.mark.parametrize("name", ["a.npy", "a.npz", "folder"])
def test_samples_come_back_as_they_were_written(tmp_path, levels, name, shape):
    space = images.space(*shape, levels=levels)
    x = space.only.value(torch.randint(levels, (40, *shape), generator=torch.Generator().manual_seed(levels)).float())
    said = write_samples(Batch(x=x), space, tmp_path / name)
    assert said.startswith(f"{tmp_path / name}: 40 ")
    back = read_samples(tmp_path / name, space)
    assert torch.allclose(back.batch(torch.arange(40), Rng(0)).x, x)


def test_labelled_samples_lie_in_folders(tmp_path):
    space = images.space(1, 4, 4, classes=["cat", "../dog", "T-shirt/top"])
    batch = Batch(x=torch.zeros(5, 1, 4, 4), y=torch.tensor([0, 1, 2, 2, 2]))
    write_samples(batch, space, tmp_path / "out")
    found = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.png")}
    assert {p.rsplit("/", 1)[0] for p in found} == {"out/cat", "out/-dog", "out/T-shirt-top"}
    assert len(found) == 5
    with pytest.raises(ValueError, match="exists and is not an empty folder"):
        write_samples(batch, space, tmp_path / "out")
    write_samples(batch, space, tmp_path / "a.npz")
    assert np.load(tmp_path / "a.npz")["y"].tolist() == [0, 1, 2, 2, 2]


def test_points_come_back_and_are_drawn(tmp_path):
    world = ring()
    x = world.sample(100, rng=0).x
    write_samples(Batch(x=x), world.space, tmp_path / "a.npy")
    assert torch.equal(read_samples(tmp_path / "a.npy", world.space).x, x)
    write_samples(Batch(x=x), world.space, tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").size == (480, 480)
    with pytest.raises(ValueError, match=r"expected points \(n, 3\)"):
        read_samples(tmp_path / "a.npy", points(3))


def test_an_archive_is_the_folder_it_holds_and_a_picture_is_one_sample(tmp_path):
    space = images.space(1, 4, 5)
    x = space.only.value(torch.randint(256, (3, 1, 4, 5), generator=torch.Generator().manual_seed(0)).float())
    write_samples(Batch(x=x), space, tmp_path / "folder")
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "folder")
    for name, wanted in (("packed.zip", x), ("folder/1.png", x[1:2])):
        found = read_samples(tmp_path / name, space)
        assert torch.allclose(found.batch(torch.arange(len(found)), Rng(0)).x, wanted)


def test_no_sample_is_resized_or_robbed_of_its_colours_in_silence(tmp_path):
    space = images.space(1, 16, 16)
    for folder, sizes in (("grey", [16, 16]), ("mixed", [16, 18]), ("colour", [16, 16])):
        (tmp_path / folder).mkdir()
        for i, side in enumerate(sizes):
            Image.fromarray(np.full((side, side, 3), 7 + i, np.uint8)).save(tmp_path / folder / f"{i}.png")
    Image.fromarray(noise(1, 16, 16)[0]).save(tmp_path / "colour" / "0.png")
    assert len(read_samples(tmp_path / "grey", space)) == 2  # grey, though stored in colour
    with pytest.raises(ValueError, match="several sizes"):
        read_samples(tmp_path / "mixed", space)
    with pytest.raises(ValueError, match="in colour; expected grey"):
        read_samples(tmp_path / "colour", space)


def test_wrong_samples_are_refused(tmp_path):
    space = images.space(1, 4, 4)
    np.save(tmp_path / "a.npy", noise(3, 8, 9, 1))
    with pytest.raises(ValueError, match=r"shape \(1, 8, 9\); expected \(1, 4, 4\)"):
        read_samples(tmp_path / "a.npy", space)
    write_samples(Batch(x=torch.zeros(3, 1, 5, 5)), images.space(1, 5, 5), tmp_path / "b")
    with pytest.raises(ValueError, match=r"expected \(1, 4, 4\)"):
        read_samples(tmp_path / "b", space)
    with pytest.raises(ValueError, match="no samples at"):
        read_samples(tmp_path / "none", space)
    with pytest.raises(ValueError, match="cannot be written as .xyz"):
        write_samples(Batch(x=torch.zeros(3, 1, 4, 4)), space, tmp_path / "a.xyz")
    with pytest.raises(ValueError, match="finite"):
        write_samples(Batch(x=torch.full((3, 1, 4, 4), torch.nan)), space, tmp_path / "a.png")
