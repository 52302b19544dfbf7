"""A small convolutional reader: pictures halved until little is left, then read by a dense layer."""

from __future__ import annotations

from torch import nn


def halving(shape: tuple[int, ...], channels: int, features: int) -> nn.Sequential:
    """Pictures (b, c, h, w) of a shape (c, h, w) to (b, features).

    channels  of the first convolution; doubled at each halving of the picture, up to four times.
    """
    into, height, width = shape
    layers: list[nn.Module] = []
    out = channels
    # halved until 4 x 4 or less is left: what remains is read by a dense layer that knows where things are
    while True:
        stride = 2 if max(height, width) > 4 else 1
        layers += [nn.Conv2d(into, out, 3, stride=stride, padding=1), nn.GroupNorm(4, out), nn.SiLU()]
        height, width = (height + stride - 1) // stride, (width + stride - 1) // stride
        into, out = out, min(2 * out, 4 * channels)
        if stride == 1:
            break
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(into * height * width, features))
