"""Pictures, texts and attacks that marks are measured on."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

PHOTOGRAPHS = 2  # scikit-learn's, 427 x 640: a temple and a flower
LANCZOS = Image.Resampling.LANCZOS


@lru_cache(maxsize=1)
def photographs() -> list[np.ndarray]:
    """The photographs, uint8 (h, w, 3)."""
    from sklearn.datasets import load_sample_images

    bunch: Any = load_sample_images()
    return list(bunch.images)


def photograph(size: int, seed: int) -> np.ndarray:
    """A random part of one of the photographs, 60 to 100 % of its height where that is enough, uint8 (s, s, 3)."""
    rng = np.random.default_rng(seed)
    whole = photographs()[seed % PHOTOGRAPHS]
    side = round(rng.uniform(0.6, 1.0) * whole.shape[0])
    top, left = (int(rng.integers(0, n - side + 1)) for n in whole.shape[:2])
    return resized(whole[top : top + side, left : left + side], size)


def resized(x: np.ndarray, size: int) -> np.ndarray:
    """At another size, (size, size, c)."""
    return np.array(Image.fromarray(x).resize((size, size), LANCZOS))


def emoji(size: int, seed: int) -> np.ndarray:
    """An emoji on white, uint8 (s, s, 3)."""
    files = sorted((Path(os.environ["SIMULACRA_DATA"]) / "emoji").glob("*.png"))
    with Image.open(files[seed * 37 % len(files)]) as image:
        drawn = image.convert("RGBA")
    white = Image.new("RGBA", drawn.size, "white")
    white.alpha_composite(drawn)
    return np.array(white.convert("RGB").resize((size, size), LANCZOS))


@lru_cache(maxsize=1)
def _cifar() -> np.ndarray:
    """CIFAR-10's training pictures, uint8 (n, 32, 32, 3), the first 10,000."""
    from simulacra.modalities.sources import open_data

    x: Any = open_data("cifar10").train
    return x.x[:10_000].permute(0, 2, 3, 1).numpy()


def real(size: int, seed: int) -> np.ndarray:
    """Half of them CIFAR-10's, enlarged, a quarter parts of photographs, a quarter emoji."""
    if seed % 4 < 2:
        return resized(_cifar()[seed], size)
    return photograph(size, seed) if seed % 4 == 2 else emoji(size, seed)


@lru_cache(maxsize=1)
def _gaussian() -> tuple[np.ndarray, np.ndarray]:
    """Mean (3072,) and scaled components (64, 3072) of a Gaussian fitted to 2,000 CIFAR pictures."""
    x = _cifar()[:2_000].reshape(2_000, -1).astype(np.float64)
    mean = x.mean(0)
    values, vectors = np.linalg.eigh((x - mean) @ (x - mean).T)
    top = vectors[:, -64:].T @ (x - mean) / np.sqrt(values[-64:, None])
    return mean, top * np.sqrt(values[-64:, None] / len(x))


def generated(size: int, seed: int) -> np.ndarray:
    """A draw from a Gaussian of 64 dimensions fitted to CIFAR-10, enlarged, uint8 (s, s, 3)."""
    mean, parts = _gaussian()
    x = mean + np.random.default_rng(seed).normal(size=len(parts)) @ parts
    return resized(np.clip(np.rint(x), 0, 255).astype(np.uint8).reshape(32, 32, 3), size)


def jpeg(x: np.ndarray, quality: int) -> np.ndarray:
    """As a JPEG of this quality gives it back."""
    file = io.BytesIO()
    Image.fromarray(x).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def cropped(x: np.ndarray) -> np.ndarray:
    """Without its outermost 10 % at the top and left and 5 % at the bottom and right."""
    n = len(x)
    return np.ascontiguousarray(x[n // 10 : n - n // 20, n // 10 : n - n // 20])


def noisy(x: np.ndarray) -> np.ndarray:
    """With Gaussian noise of 10 levels."""
    added = np.random.default_rng(0).normal(size=x.shape) * 10
    return np.clip(np.rint(x + added), 0, 255).astype(np.uint8)


ATTACKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "clean": lambda x: x,
    "JPEG 90": lambda x: jpeg(x, 90),
    "JPEG 50": lambda x: jpeg(x, 50),
    "crop of 15 %": cropped,
    "half the size": lambda x: resized(x, len(x) // 2),
    "noise of 10 levels": noisy,
    "blur of 1 pixel": lambda x: np.array(Image.fromarray(x).filter(ImageFilter.GaussianBlur(1.0))),
}


def keep(path: Path, pictures: dict[str, list[np.ndarray]]) -> None:
    """Lists of pictures by name, to be had again with ``kept``."""
    with path.open("wb") as file:
        np.savez(file, **{f"{name}/{i:05d}": x for name, many in pictures.items() for i, x in enumerate(many)})


def kept(path: Path) -> dict[str, list[np.ndarray]]:
    """What ``keep`` kept, in its order."""
    found: dict[str, list[np.ndarray]] = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            found.setdefault(key.rpartition("/")[0], []).append(arrays[key])
    return found


# -- the peer, in an environment of its own, which holds no simulacra ------------------------------------------------


def their_marks(pictures: str, marked: str, method: str, bits: int) -> Callable[[], dict[str, Any]]:
    """Worker: invisible-watermark's mark of random bits in each of the plain pictures, kept in another file."""
    import cv2  # type: ignore[import-not-found]
    from imwatermark import WatermarkEncoder  # type: ignore[import-not-found]

    def one_round() -> dict[str, Any]:
        out = []
        for i, x in enumerate(kept(Path(pictures))["plain"]):
            encoder = WatermarkEncoder()
            encoder.set_watermark("bits", payload(i, bits).astype(int).tolist())
            found = encoder.encode(cv2.cvtColor(x, cv2.COLOR_RGB2BGR), method)
            out.append(cv2.cvtColor(found, cv2.COLOR_BGR2RGB))
        keep(Path(marked), {"marked": out})
        return {"work": len(out)}

    return one_round


def their_looks(pictures: str, method: str, bits: int) -> Callable[[], dict[str, Any]]:
    """Worker: of each attacked picture how many of its bits are read rightly; -1 where the picture is refused."""
    import cv2  # type: ignore[import-not-found]
    from imwatermark import WatermarkDecoder  # type: ignore[import-not-found]

    def one_round() -> dict[str, Any]:
        found = {}
        for attack, changed in kept(Path(pictures)).items():
            found[attack] = []
            for i, x in enumerate(changed):
                try:
                    read = WatermarkDecoder("bits", bits).decode(cv2.cvtColor(x, cv2.COLOR_RGB2BGR), method)
                except RuntimeError:  # "image too small, should be larger than 256x256"
                    found[attack].append(-1)
                    continue
                found[attack].append(int((np.array(read).astype(bool)[:bits] == payload(i, bits)).sum()))
        return {"work": sum(map(len, found.values())), "value": found}

    return one_round


def payload(i: int, bits: int) -> np.ndarray:
    """The bits that picture i carries, bool."""
    return np.random.default_rng(1000 + i).integers(0, 2, bits).astype(bool)
