"""Marks: false alarms over fresh keys, what is found after attacks (beside invisible-watermark), what marking costs.

Every part is kept in ``bench/.state``, so a bench that was stopped goes on. ``python -m bench.responsibility_marks
PART ...`` measures some parts and keeps them; ``python -m bench responsibility_marks`` the rest, and writes the table.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any
from unittest import mock

import numpy as np
from scipy import stats as stats_

from bench import marks_inputs as inputs
from bench.harness import Row, kept

stats: Any = stats_
GROUP = "responsibility_marks"
N = 20_000  # unmarked samples a cell
PICTURES = 2_000  # of which they are made: each is looked at with ten keys
RATES = (1e-2, 1e-3)
ALPHA = 0.05  # of all cells together
TOKENS = 100  # of a text of the null
NUMBERS = 1 << 12  # of the latent mark in the null; the formula of its p is the same for the million that is usual
FAR = 1e-6
SHOWN = 50  # pictures, and texts, whose marks are looked for after attacks


def run() -> list[Row]:
    """All rows."""
    from bench import marks_models as models

    return [*null_rows(), threshold_row(), *picture_rows(), *models.rows()]


# -- false alarms ----------------------------------------------------------------------------------------------------


def cells() -> dict[str, Callable[[], dict[str, Any]]]:
    """Each marker's null on real and on generated samples, by name."""
    found: dict[str, Callable[[], dict[str, Any]]] = {}
    for kind in ("real", "generated"):
        for size in (64, 256):
            found[f"pixels {size} {kind}"] = lambda kind=kind, size=size: alarms(pixel_p(size, kind))
            found[f"one look {size} {kind}"] = lambda kind=kind, size=size: alarms(one_look_p(size, kind))
        for name in ("tournament", "green"):
            found[f"{name} {kind}"] = lambda kind=kind, name=name: alarms(token_p(name, kind))
        found[f"latent {kind}"] = lambda kind=kind: alarms(latent_p(kind))
    return found


def alarms(tried: Iterator[tuple[float, dict[float, float]]]) -> dict[str, Any]:
    """Hits at each rate among p-values, and the mean level that their discrete tests can attain."""
    hits, level, n = dict.fromkeys(RATES, 0), dict.fromkeys(RATES, 0.0), 0
    for p, attainable in tried:
        n += 1
        for rate in RATES:
            hits[rate] += p <= rate
            level[rate] += attainable[rate]
    return {"n": n, "hits": [hits[r] for r in RATES], "level": [level[r] / n for r in RATES]}


@lru_cache(maxsize=1 << 14)
def attainable(trials: int, looks: int = 1) -> tuple[float, ...]:
    """The largest level not above each rate that a binomial test of so many trials has, the best of so many looks."""
    from simulacra.mathematics.significance import binomial_p
    from simulacra.responsibility.verdicts import threshold

    found = []
    for rate in RATES:
        one = -np.expm1(np.log1p(-rate) / looks)  # what one look may have
        least = threshold(trials, float(one))
        tail = binomial_p(least, trials) if least <= trials else 0.0
        found.append(float(-np.expm1(looks * np.log1p(-tail))))
    return tuple(found)


def of(trials: int, looks: int = 1) -> dict[float, float]:
    """The attainable level by rate."""
    return dict(zip(RATES, attainable(trials, looks), strict=True))


def key(number: int) -> Any:
    """A fresh key: that of a number."""
    from simulacra.responsibility.keys import Key

    return Key(secret=(1_000_003 + number).to_bytes(32, "big"))


def pixel_p(size: int, kind: str) -> Iterator[tuple[float, dict[float, float]]]:
    """The p of pictures as ``verify`` has them: a bound, so that no level but the nominal one is promised."""
    from simulacra.responsibility.pixels import PixelMark, see

    make = inputs.real if kind == "real" else inputs.generated
    for i in range(PICTURES):
        seen = see(make(size, i))
        for j in range(i, N, PICTURES):
            yield PixelMark(key=key(j)).look_at(seen).p, {r: r for r in RATES}


def one_look_p(size: int, kind: str) -> Iterator[tuple[float, dict[float, float]]]:
    """The p of one look at lattices, at the picture as it is: exact."""
    from simulacra.responsibility import pixels

    make = inputs.real if kind == "real" else inputs.generated
    step = min(pixels.STEPS, key=lambda s: abs(s - 40 * 64 / size))
    with mock.patch.multiple(pixels, GAINS=(1.0,), BLURS=(0.0,)):
        for i in range(PICTURES):
            seen = pixels.Seen(coefficients=pixels.see(make(size, i)).coefficients, folded=None)
            for j in range(i, N, PICTURES):
                mark = pixels.PixelMark(key=key(j), steps=(step,))
                yield mark.look_at(seen).p, of(pixels.PILOTS)


def token_p(name: str, kind: str) -> Iterator[tuple[float, dict[float, float]]]:
    """The p of texts of 100 characters: of Shakespeare, or drawn from pairs of his characters."""
    from simulacra.responsibility.tokens import Green, Tournament

    text = np.frombuffer(shakespeare()[:1_000_000].encode("ascii", "replace"), np.uint8)
    letters, tokens = np.unique(text, return_inverse=True)
    k = len(letters)
    if kind == "generated":
        tokens = drawn_by_pairs(tokens, k, N * TOKENS // 10)
    many = len(tokens) // TOKENS
    for i in range(N):
        at = i % many * TOKENS
        mark: Any = Green(key=key(i)) if name == "green" else Tournament(key=key(i))
        v = mark.look(tokens[at : at + TOKENS].tolist(), k + 1)
        yield v.p, of(v.trials)


def shakespeare() -> str:
    """The text."""
    import os
    from pathlib import Path

    return (Path(os.environ["SIMULACRA_DATA"]) / "text" / "tinyshakespeare.txt").read_text(encoding="utf-8")


def drawn_by_pairs(tokens: np.ndarray, k: int, n: int) -> np.ndarray:
    """n tokens drawn each given the one before it, as often as they follow one another."""
    counts = np.zeros((k, k))
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1.0)
    ends = np.cumsum(counts / np.maximum(counts.sum(1, keepdims=True), 1), 1)
    u, out = np.random.default_rng(0).random(n), np.zeros(n, np.int64)
    for i in range(1, n):
        out[i] = min(int(np.searchsorted(ends[out[i - 1]], u[i])), k - 1)
    return out


def latent_p(kind: str) -> Iterator[tuple[float, dict[float, float]]]:
    """The p of codes of 64 numbers: pictures' principal components in units of their spread, a Gaussian's inverse."""
    import torch

    from simulacra.responsibility.latent import LatentMark

    mean, parts = inputs._gaussian()
    make = inputs.real if kind == "real" else inputs.generated
    for i in range(PICTURES):
        x = make(32, i).reshape(-1) - mean
        z = torch.from_numpy(x @ parts.T / np.square(parts).sum(1))[None]
        for j in range(i, N, PICTURES):
            (v,) = LatentMark(key=key(j), nonces=NUMBERS).look([z])
            yield v.p, of(v.trials, v.looks)


def null_rows() -> list[Row]:
    """A row a cell, Holm's correction over all: none above its level, those whose test is exact not below it either."""
    from simulacra.mathematics.significance import holm

    found = {name: kept(GROUP, f"null {name}", work) for name, work in cells().items()}
    tests = []
    for name, f in found.items():
        for i, rate in enumerate(RATES):
            side = "greater" if name.startswith("pixels") else "two-sided"
            tests.append((name, rate, f, i, stats.binomtest(f["hits"][i], f["n"], f["level"][i], alternative=side)))
    adjusted = holm([t.pvalue for *_, t in tests])
    rows = []
    for (name, rate, f, i, test), p in zip(tests, adjusted, strict=True):
        low, high = test.proportion_ci(method="exact") if test.alternative == "two-sided" else (0.0, 1.0)
        exact = f"level {f['level'][i]:.3g}, interval [{low:.2g}, {high:.2g}]"
        rows.append(
            Row(
                what=f"false alarms at {rate:g}: {name}", unit="rate", ours=f["hits"][i] / f["n"],
                target=f"<= {rate:g}" if name.startswith("pixels") else f"= {f['level'][i]:.3g}",
                met=bool(p > ALPHA),
                note=f"{f['hits'][i]} of {f['n']:,}, fresh keys; p {test.pvalue:.2g}, Holm over {len(tests)} cells"
                f" {p:.2g}; " + ("a bound over all its looks" if name.startswith("pixels") else exact),
            )
        )  # fmt: skip
    return rows


def threshold_row() -> Row:
    """The exact threshold of 256 trials at 1e-6."""
    from simulacra.responsibility.verdicts import threshold

    least = threshold(256, FAR)
    return Row(what="threshold at 1e-6", unit="of 256", ours=float(least), target="167", met=least == 167)


# -- detection in pictures -------------------------------------------------------------------------------------------

BITS = 64  # that the peer carries: its threshold at 1e-6 is exact too
THEIRS = ("dwtDct", "dwtDctSvd")


def picture(size: int, seed: int) -> np.ndarray:
    """Half parts of photographs, half emoji."""
    return inputs.photograph(size, seed) if seed % 4 else inputs.emoji(size, seed)


def pixels_found(size: int) -> dict[str, Any]:
    """Shares found at 1e-6 after each attack, and what the mark costs in signal to noise."""
    from simulacra.responsibility.pixels import PixelMark

    found = dict.fromkeys(inputs.ATTACKS, 0)
    refused, ratios = 0, []
    for i in range(SHOWN):
        x, mark = picture(size, i), PixelMark(key=key(i))
        try:
            marked = mark.mark(x)
        except ValueError:
            refused += 1
            continue
        ratios.append(10 * np.log10(255**2 / np.square(marked.astype(float) - x).mean()))
        for name, attack in inputs.ATTACKS.items():
            found[name] += mark.look(attack(marked)).found(FAR)
    return {"found": found, "n": SHOWN - refused, "refused": refused, "psnr": float(np.mean(ratios))}


def theirs(method: str) -> dict[str, Any]:
    """The same of invisible-watermark at 256x256; what an attack made smaller is enlarged again, as it asks for."""
    import tempfile
    from pathlib import Path

    from bench.harness import Side, environment, measure
    from simulacra.responsibility.verdicts import threshold

    needs = ["numpy", "opencv-python-headless", "PyWavelets", "Pillow", "torch", "onnx", "onnxruntime"]
    python = environment("invisible-watermark", needs, bare=["invisible-watermark==0.2.0"])
    plain = [picture(256, i) for i in range(SHOWN)]
    with tempfile.TemporaryDirectory() as folder:
        given, marked = Path(folder) / "plain", Path(folder) / "marked"
        inputs.keep(given, {"plain": plain})
        settings = {"pictures": str(given), "marked": str(marked), "method": method, "bits": BITS}
        here = Path(inputs.__file__)
        measure(Side(file=here, function="their_marks", settings=settings, python=python), rounds=1, warm_up=0)
        after = inputs.kept(marked)["marked"]
        attacked = {}
        for name, attack in inputs.ATTACKS.items():
            changed = [attack(x) for x in after]
            attacked[name] = [x if len(x) >= 256 else inputs.resized(x, 256) for x in changed]
        inputs.keep(given, attacked)
        settings = {"pictures": str(given), "method": method, "bits": BITS}
        side = Side(file=here, function="their_looks", settings=settings, python=python)
        (done,) = measure(side, rounds=1, warm_up=0)
    least = threshold(BITS, FAR)
    ratios = [10 * np.log10(255**2 / max(np.square(a.astype(float) - x).mean(), 1e-9))
              for a, x in zip(after, plain, strict=True)]  # fmt: skip
    shares: Any = done.value
    return {"found": {a: sum(m >= least for m in kept_) for a, kept_ in shares.items()}, "n": SHOWN,
            "psnr": float(np.mean(ratios))}  # fmt: skip


def picture_rows() -> list[Row]:
    """Found at 1e-6 after each attack, at 64x64, and at 256x256 beside the better of the peer's two methods."""
    rows = []
    for size in (64, 256):
        ours = kept(GROUP, f"found {size}", lambda size=size: pixels_found(size))
        peers = {m: kept(GROUP, f"theirs {m}", lambda m=m: theirs(m)) for m in THEIRS} if size == 256 else {}
        for attack in inputs.ATTACKS:
            share = ours["found"][attack] / ours["n"]
            low, high = (float(v) for v in stats.binomtest(ours["found"][attack], ours["n"]).proportion_ci())
            other = max((p["found"][attack] / p["n"] for p in peers.values()), default=None)
            clean = attack == "clean"
            rows.append(
                Row(
                    what=f"pixel mark found at 1e-6, {size}x{size}: {attack}", unit="share", ours=share, peer=other,
                    target=">= 0.99" if clean else "" if other is None else "ahead of the peer",
                    met=share >= 0.99 if clean else None if other is None else share > other or share == 1.0,
                    note=f"[{low:.2f}, {high:.2f}] of {ours['n']} pictures ({ours['refused']} refused), PSNR"
                    f" {ours['psnr']:.1f} dB" + "".join(f"; {m} {p['found'][attack] / p['n']:.2f}, {p['psnr']:.1f} dB"
                                                        for m, p in peers.items()),
                )
            )  # fmt: skip
    return rows


if __name__ == "__main__":
    works = {f"null {name}": work for name, work in cells().items()}
    works |= {f"found {size}": lambda size=size: pixels_found(size) for size in (64, 256)}
    works |= {f"theirs {m}": lambda m=m: theirs(m) for m in THEIRS}
    for part in sys.argv[1:] or works:
        kept(GROUP, part, works[part])
