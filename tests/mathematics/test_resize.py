"""Resizing: TensorFlow's old rule by hand, and what antialiasing keeps."""

from __future__ import annotations

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics.resize import cropped, smoothly, tensorflow_bilinear


def test_tensorflow_s_rule_by_hand():
    """Output i looks at i x old / new: twice as long, 0 1 becomes 0 1/2 1 1; half as long, every other is taken."""
    x = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    assert tensorflow_bilinear(x, (1, 4)).flatten().tolist() == [0, 0.5, 1, 1]
    row = torch.arange(6.0).reshape(1, 1, 6, 1)
    assert tensorflow_bilinear(row, (3, 1)).flatten().tolist() == [0, 2, 4]
    third = tensorflow_bilinear(row, (4, 1)).flatten()
    assert third.tolist() == pytest.approx([0, 1.5, 3, 4.5])


def test_a_plane_is_sampled_where_the_rule_says():
    """Of a plane, exactly: 3 (i x 8 / 12) + 2 (j x 5 / 7), but past the last row and column, where it stays level."""
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(5.0), indexing="ij")
    found = tensorflow_bilinear((3 * y + 2 * x)[None, None], (12, 7))[0, 0]
    i = (torch.arange(12.0) * 8 / 12).clamp(max=7)[:, None]
    j = (torch.arange(7.0) * 5 / 7).clamp(max=4)[None]
    torch.testing.assert_close(found, 3 * i + 2 * j)


def test_pixels_that_alternate_become_grey_when_smoothed_and_stay_black_when_not():
    board = (torch.arange(32)[:, None] + torch.arange(32)).remainder(2).float()[None, None]
    smooth, plain = smoothly(board, (8, 8)), tensorflow_bilinear(board, (8, 8))
    torch.testing.assert_close(smooth[..., 2:-2, 2:-2], torch.full((1, 1, 4, 4), 0.5), rtol=0, atol=0.02)
    assert torch.equal(plain, torch.zeros(1, 1, 8, 8))
    x = Rng(0)("x").uniform((1, 3, 30, 40))
    assert float(smoothly(x, (10, 10)).mean()) == pytest.approx(float(x.mean()), abs=0.01)


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (32, 32)])
def test_the_middle_is_kept(shape):
    x = torch.zeros(1, 1, *shape)
    x[..., shape[0] // 2 - 4 : shape[0] // 2 + 4, shape[1] // 2 - 4 : shape[1] // 2 + 4] = 1
    found = cropped(x, 28, 32)
    assert found.shape == (1, 1, 28, 28)
    assert float(found[..., 12:16, 12:16].mean()) > 0.9
    torch.testing.assert_close(found, found.flip(2, 3), rtol=0, atol=0.05)


def test_a_picture_of_the_right_size_is_only_cropped():
    x = Rng(0)("x").uniform((2, 3, 32, 32))
    assert torch.equal(cropped(x, 28, 32), x[:, :, 2:-2, 2:-2])
    torch.testing.assert_close(smoothly(x, (32, 32)), x, rtol=0, atol=1e-5)
