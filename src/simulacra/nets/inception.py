"""Inception-v3 (Szegedy et al. 2016) in the variant that defines the Frechet inception distance (Heusel et al. 2017).

The graph of 2015-12-05 differs from the published network: 1,008 classes, averages that do not count the padding, and a
maximum instead of an average in the last block. Parameters are named as in the file pt_inception-2015-12-05, so that it
loads as it is. Takes pictures (b, 3, 299, 299) in 0 .. 255.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 299
FEATURES = 2048
CLASSES = 1008
# name, channels out, kernel (h, w), stride; a convolution of stride 1 is padded, one of stride 2 is not
Step = tuple[str, int, tuple[int, int], int]
Pool = Callable[[Tensor], Tensor]


def mean_within(x: Tensor) -> Tensor:
    """Mean over 3 x 3 of what lies within the picture."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def largest(x: Tensor) -> Tensor:
    """Maximum over 3 x 3."""
    return F.max_pool2d(x, 3, stride=1, padding=1)


def halve(x: Tensor) -> Tensor:
    """Maximum over 3 x 3, every other place."""
    return F.max_pool2d(x, 3, stride=2)


class Convolution(nn.Module):
    """Convolution, batch norm with epsilon 0.001, rectifier."""

    def __init__(self, into: int, out: int, kernel: tuple[int, int], stride: int = 1, padding: bool = True) -> None:
        super().__init__()
        around = (kernel[0] // 2, kernel[1] // 2) if padding and stride == 1 else (0, 0)
        self.conv = nn.Conv2d(into, out, kernel, stride=stride, padding=around, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Paths beside one another, their channels joined: convolutions in a row, the last of them a pair or one; a pool.

    pool     what the last path begins with; its convolution is ``branch_pool``, or none where ``pooled`` is 0.
    """

    def __init__(self, into: int, paths: Sequence[Sequence[Step | tuple[Step, Step]]], pool: Pool, pooled: int) -> None:
        super().__init__()
        self.paths: list[list[tuple[str, ...]]] = []
        self.pool, self.out = pool, pooled or into
        for path in paths:
            width, named = into, []
            for step in path:
                ends: Sequence[Step] = step if isinstance(step[0], tuple) else (step,)  # pyright: ignore
                for name, out, kernel, stride in ends:
                    self.add_module(name, Convolution(width, out, kernel, stride))
                width = sum(end[1] for end in ends)
                named.append(tuple(end[0] for end in ends))
            self.paths.append(named)
            self.out += width
        if pooled:
            self.branch_pool = Convolution(into, pooled, (1, 1))

    def forward(self, x: Tensor) -> Tensor:
        found: list[Tensor] = []
        for path in self.paths:
            h = x
            for names in path:
                h = torch.cat([self.get_submodule(name)(h) for name in names], 1)
            found.append(h)
        pooled = self.pool(x)
        found.append(self.branch_pool(pooled) if "branch_pool" in self._modules else pooled)
        return torch.cat(found, 1)


def block_a(into: int, pooled: int) -> Mixed:
    """35 x 35."""
    return Mixed(
        into,
        [
            [("branch1x1", 64, (1, 1), 1)],
            [("branch5x5_1", 48, (1, 1), 1), ("branch5x5_2", 64, (5, 5), 1)],
            [
                ("branch3x3dbl_1", 64, (1, 1), 1),
                ("branch3x3dbl_2", 96, (3, 3), 1),
                ("branch3x3dbl_3", 96, (3, 3), 1),
            ],
        ],
        mean_within,
        pooled,
    )


def block_b(into: int) -> Mixed:
    """35 x 35 to 17 x 17."""
    double: list[Step] = [
        ("branch3x3dbl_1", 64, (1, 1), 1),
        ("branch3x3dbl_2", 96, (3, 3), 1),
        ("branch3x3dbl_3", 96, (3, 3), 2),
    ]
    return Mixed(into, [[("branch3x3", 384, (3, 3), 2)], double], halve, 0)


def block_c(into: int, width: int) -> Mixed:
    """17 x 17, kernels of seven."""
    lying, standing = (1, 7), (7, 1)
    single: list[Step] = [
        ("branch7x7_1", width, (1, 1), 1),
        ("branch7x7_2", width, lying, 1),
        ("branch7x7_3", 192, standing, 1),
    ]
    double: list[Step] = [
        ("branch7x7dbl_1", width, (1, 1), 1),
        ("branch7x7dbl_2", width, standing, 1),
        ("branch7x7dbl_3", width, lying, 1),
        ("branch7x7dbl_4", width, standing, 1),
        ("branch7x7dbl_5", 192, lying, 1),
    ]
    return Mixed(into, [[("branch1x1", 192, (1, 1), 1)], single, double], mean_within, 192)


def block_d(into: int) -> Mixed:
    """17 x 17 to 8 x 8."""
    long: list[Step] = [
        ("branch7x7x3_1", 192, (1, 1), 1),
        ("branch7x7x3_2", 192, (1, 7), 1),
        ("branch7x7x3_3", 192, (7, 1), 1),
        ("branch7x7x3_4", 192, (3, 3), 2),
    ]
    return Mixed(into, [[("branch3x3_1", 192, (1, 1), 1), ("branch3x3_2", 320, (3, 3), 2)], long], halve, 0)


def block_e(into: int, pool: Pool) -> Mixed:
    """8 x 8, paths that part at their ends."""
    lying, standing = (1, 3), (3, 1)
    return Mixed(
        into,
        [
            [("branch1x1", 320, (1, 1), 1)],
            [
                ("branch3x3_1", 384, (1, 1), 1),
                (("branch3x3_2a", 384, lying, 1), ("branch3x3_2b", 384, standing, 1)),
            ],
            [
                ("branch3x3dbl_1", 448, (1, 1), 1),
                ("branch3x3dbl_2", 384, (3, 3), 1),
                (("branch3x3dbl_3a", 384, lying, 1), ("branch3x3dbl_3b", 384, standing, 1)),
            ],
        ],
        pool,
        192,
    )


class Inception(nn.Module):
    """Features (b, 2048) of pictures, and logits (b, 1008) without their bias, as the Inception score takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, (3, 3), 2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, (3, 3), padding=False)
        self.Conv2d_2b_3x3 = Convolution(32, 64, (3, 3))
        self.Conv2d_3b_1x1 = Convolution(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = Convolution(80, 192, (3, 3), padding=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = block_a(192, 32), block_a(256, 64), block_a(288, 64)
        self.Mixed_6a = block_b(288)
        self.Mixed_6b, self.Mixed_6c = block_c(768, 128), block_c(768, 160)
        self.Mixed_6d, self.Mixed_6e = block_c(768, 160), block_c(768, 192)
        self.Mixed_7a = block_d(768)
        self.Mixed_7b, self.Mixed_7c = block_e(1280, mean_within), block_e(2048, largest)
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - 128) / 128  # the graph's own scaling, not that of 0 .. 255 to -1 .. 1
        x = halve(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = halve(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
            x = self.get_submodule(f"Mixed_{name}")(x)
        return x.mean((2, 3))

    def logits(self, features: Tensor) -> Tensor:
        """(b, 2048) -> (b, 1008): Salimans et al. 2016 multiply by the weights and leave the bias out."""
        return features @ self.fc.weight.T
