"""Every kind of picture arrives as the picture a person sees."""

import io

import numpy as np
import pytest
from PIL import Image
from small_pictures import picture, png

from simulacra.modalities import raster


def encoded(image: Image.Image, kind: str = "PNG", **how) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_lossless_modes_arrive_unchanged(mode):
    image = picture(1, 9, 7, mode)
    array = np.asarray(image).reshape(9, 7, -1).transpose(2, 0, 1)
    assert np.array_equal(raster.decode(encoded(image), size=(9, 7), channels=len(array)), array)


def test_palette_and_black_and_white():
    image = picture(2, mode="L").quantize(16)
    shown = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(raster.decode(encoded(image), size=(12, 12), channels=3), shown)
    bits = picture(3, mode="L").point(lambda v: 255 * (v > 127)).convert("1")
    assert set(np.unique(raster.decode(encoded(bits), size=(12, 12), channels=1))) == {0, 255}


def test_sixteen_bits_keep_their_top_byte():
    deep = np.arange(144, dtype=np.uint16).reshape(12, 12) * 455
    array = raster.decode(encoded(Image.fromarray(deep)), size=(12, 12), channels=1)
    assert np.abs(array[0] - deep / 257).max() <= 0.5


def test_transparent_lies_over_white_unless_asked_for():
    image = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    image.paste((0, 0, 200, 255), (0, 0, 2, 4))
    image.putpixel((3, 3), (0, 0, 0, 128))
    array = raster.decode(encoded(image), size=(4, 4), channels=3)
    assert array[:, 0, 0].tolist() == [0, 0, 200]
    assert array[:, 0, 2].tolist() == [255, 255, 255]
    assert abs(int(array[0, 3, 3]) - 127) <= 1
    assert raster.decode(encoded(image), size=(4, 4), channels=4)[3, 0].tolist() == [255, 255, 0, 0]


def test_transparent_colour_does_not_bleed_when_resized():
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))  # invisible red around visible blue
    image.paste((0, 0, 255, 255), (0, 0, 4, 8))
    array = raster.decode(encoded(image), size=(3, 3), channels=4)
    assert array[0][array[3] > 0].max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation):
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = 255  # a white block, top left
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition whose inverse each orientation asks for
    image = Image.fromarray(upright)
    if orientation > 1:
        image = image.transpose(Image.Transpose(back[orientation]))
    exif = Image.Exif()
    exif[raster.ORIENTATION] = orientation
    for kind, how in (("JPEG", {"quality": 100}), ("PNG", {})):
        data = encoded(image, kind, exif=exif, **how)
        seen = raster.look(data)
        assert (seen.h, seen.w) == (16, 24)
        array = raster.decode(data, size=(16, 24), channels=3)
        assert np.abs(array.transpose(1, 2, 0).astype(int) - upright).max() < 30


def test_resizing_is_antialiased():
    """Stripes one pixel wide, reduced five-fold, are even grey: point sampling would keep stripes."""
    stripes = np.tile(np.array([0, 255], np.uint8), 50)[None].repeat(100, 0)
    array = raster.decode(encoded(Image.fromarray(stripes)), size=(20, 20), channels=1)
    assert np.abs(array[0, 2:-2, 2:-2].astype(int) - 127).max() <= 3


def test_crop_is_of_the_centre():
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 255
    assert raster.decode(encoded(Image.fromarray(wide)), size=(10, 10), channels=1).min() == 255
    assert raster.decode(encoded(Image.fromarray(wide.T)), size=(10, 10), channels=1).min() == 255


def test_a_large_jpeg_shrinks_to_the_same_picture():
    ramp = np.linspace(0, 255, 1200).astype(np.uint8)[None].repeat(1200, 0)
    array = raster.decode(encoded(Image.fromarray(ramp), "JPEG", quality=95), size=(32, 32), channels=1)
    expected = np.asarray(Image.fromarray(ramp).resize((32, 32), Image.Resampling.BICUBIC))
    assert np.abs(array[0].astype(int) - expected).max() <= 3


def test_arrays_are_resized_alike():
    pictures = np.stack([np.asarray(picture(i)).transpose(2, 0, 1) for i in range(3)])
    expected = np.stack([raster.decode(png(i), size=(6, 6), channels=3) for i in range(3)])
    assert np.array_equal(raster.resized(pictures, (6, 6)), expected)
    assert raster.resized(pictures, None) is pictures
    assert raster.resized(pictures, None, 1).shape == (3, 1, 12, 12)
