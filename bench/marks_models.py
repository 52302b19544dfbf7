"""Marks that need a model: in the latent and in the choice of tokens; what is found, and what marking costs.

A glow and a diffusion model learn MNIST, and a transformer Shakespeare in 512 tokens, for a CPU-minute or two each
and by their recipes but for the steps; weights are kept in ``bench/out``.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats as stats_

from bench import marks_inputs as inputs
from bench.harness import Row, kept
from bench.responsibility_marks import FAR, GROUP, SHOWN, key

stats: Any = stats_
FOLDER = Path(__file__).resolve().parent / "out" / "responsibility_marks"
STEPS = {"glow": 80, "diffusion": 150, "transformer": 400}
FEW = 20  # samples of the diffusion model: each is inverted once for each of ten classes
WORDS = 200  # tokens of a text
COSTS = 2_000  # samples on either side of a Frechet distance
DISTANT = 0.05  # of the difference that is allowed
# single words that stand for others in Shakespeare: the paraphrase replaces every one that occurs, both ways
SYNONYMS = (
    "thou you", "thee you", "thy your", "hath has", "doth does", "art are", "shall will", "sir lord", "good kind",
    "great large", "death dying", "love affection", "king monarch", "man fellow", "speak talk", "say tell", "go leave",
    "come approach", "see behold", "look gaze", "hear listen", "night evening", "day morning", "true honest",
    "false lying", "fair lovely", "sweet dear", "noble worthy", "brother kinsman", "friend comrade", "fear dread",
    "hate loathe", "blood gore", "hand fist", "heart breast", "mind thought", "world earth", "heaven sky", "now soon",
    "never not", "ever always", "must should", "may might", "but yet", "and also", "for because", "with beside",
)  # fmt: skip


@lru_cache(maxsize=2)
def mnist() -> Any:
    """MNIST at 28x28."""
    from simulacra.modalities.sources import open_data

    return open_data("mnist")


@lru_cache(maxsize=1)
def plays() -> Any:
    """Shakespeare in blocks of 256 of 512 tokens."""
    import os

    from simulacra.modalities.sources import open_data

    path = Path(os.environ["SIMULACRA_DATA"]) / "text" / "tinyshakespeare.txt"
    return open_data(str(path), tokens="bpe:512", block=256)


@lru_cache(maxsize=4)
def model(family: str) -> Any:
    """A family's model, trained unless it has been."""
    import time

    from simulacra.recipes.families import FAMILIES
    from simulacra.training.loop import train

    data = plays() if family == "transformer" else mnist()
    config, training = FAMILIES[family].recipe(data.train.space, len(data.train))
    training = dataclasses.replace(training, steps=STEPS[family], minutes=None, examples=None)
    made = FAMILIES[family].build(config, data.train.space, rng=0)
    began = time.process_time()
    done = train(made, data.train, training, folder=FOLDER / family, resume=True)
    if done.ended != "budget":
        raise KeyboardInterrupt
    print(f"{family}: {time.process_time() - began:.0f} CPU-s", flush=True)
    return done.averaged.eval()


# -- in the latent ---------------------------------------------------------------------------------------------------


def latent_found(family: str) -> dict[str, Any]:
    """Shares found at 1e-6 after each attack on samples with and without a mark; agreement of the pilots."""
    import torch

    from simulacra.modalities.images import to_uint8
    from simulacra.responsibility.inversion import recovered
    from simulacra.responsibility.latent import LatentMark
    from simulacra.uses.redraw import redraw

    drawn, space, mark = model(family), mnist().train.space, LatentMark(key=key(0))
    n = SHOWN if family == "glow" else FEW
    with torch.no_grad():
        plain = {"marked": drawn.sample(n, rng=mark.rng(1)), "unmarked": drawn.sample(n, rng=1)}
    found: dict[str, Any] = {}

    def look(x: Any) -> tuple[int, float]:
        verdicts = mark.look(list(recovered(drawn, x)))
        return sum(v.found(FAR) for v in verdicts), float(np.mean([v.matches / v.trials for v in verdicts]))

    pictures = to_uint8(plain["marked"].x, space)
    for name, attack in inputs.ATTACKS.items():
        after = [inputs.resized(attack(p[..., 0]), 28) for p in pictures]
        found[name] = look(space.only.value(torch.from_numpy(np.stack(after))[:, None].float()))
    found["unmarked"] = look(plain["unmarked"].x)
    if hasattr(drawn, "denoise"):
        for strength in (0.3, 0.6):
            x = redraw(drawn, plain["marked"].x, strength, y=plain["marked"].y, rng=2)
            found[f"drawn anew, strength {strength}"] = look(x)
    return {"found": {k: v[0] for k, v in found.items()}, "agree": {k: v[1] for k, v in found.items()}, "n": n}


def latent_rows() -> list[Row]:
    """A row a family and attack."""
    rows: list[Row] = []
    for family in ("glow", "diffusion"):
        f = kept(GROUP, f"latent {family}", lambda family=family: latent_found(family))
        notes = {attack: f"{share:.2f} of the signs agree" for attack, share in f["agree"].items()}
        rows += shares(f"latent mark of {family}, MNIST 28x28, found at 1e-6", f, notes)
    return rows


def shares(what: str, f: dict[str, Any], notes: dict[str, str]) -> list[Row]:
    """A row an attack: the share that was found, with its interval."""
    rows = []
    for attack, hits in f["found"].items():
        low, high = (float(v) for v in stats.binomtest(hits, f["n"]).proportion_ci())
        met = {"clean": hits / f["n"] >= 0.99, "unmarked": hits == 0}.get(attack)
        rows.append(
            Row(
                what=f"{what}: {attack}", unit="share", ours=hits / f["n"],
                target={"clean": ">= 0.99", "unmarked": "0"}.get(attack, ""), met=met,
                note=f"[{low:.2f}, {high:.2f}] of {f['n']}; {notes[attack]}",
            )
        )  # fmt: skip
    return rows


# -- in tokens -------------------------------------------------------------------------------------------------------


def texts(name: str, n: int, first: int = 0) -> tuple[list[list[int]], list[float]]:
    """n texts of so many tokens, with a mark in their choice or none, and the nats a token that the model gives."""
    import torch

    from simulacra.core.prompts import Prompt
    from simulacra.core.randomness import Rng

    one = plays().held_out.batch(torch.arange(n), Rng(0)).x[:, :4]
    own: list[Any] = []  # the model's distribution, before the mark changes it
    nats = torch.zeros(n)

    def seen(log_probs: Any, tokens: Any) -> Any:
        own[:] = [log_probs]
        return log_probs

    def told(token: Any, there: Any) -> None:
        nats.sub_(own[0].gather(1, token[:, None])[:, 0])

    drawn = model("transformer").continue_from(
        Prompt(tokens=one), WORDS, rng=Rng(7)("texts").rows(first), changes=(seen, *marks(name)), told=told
    )
    return drawn.tokens.tolist(), (nats / WORDS).tolist()


def marks(name: str) -> tuple[Any, ...]:
    """The change of the distributions drawn from."""
    from simulacra.responsibility.tokens import Green, Tournament

    return {"tournament": (Tournament(key=key(0)),), "green": (Green(key=key(0)),), "none": ()}[name]


def paraphrased(text: str) -> str:
    """Every word that has a synonym in our list replaced by it."""
    pairs = [(line.split()[0], line.split()[1]) for line in SYNONYMS]
    other: dict[str, str] = dict(pairs) | {b: a for a, b in pairs if b not in {x for x, _ in pairs}}

    def change(found: re.Match[str]) -> str:
        word = found.group()
        new = other.get(word.lower(), word)
        return new.capitalize() if word[0].isupper() else new

    return re.sub(r"[A-Za-z]+", change, text)


def tokens_found(name: str) -> dict[str, Any]:
    """Shares found at 1e-6 as drawn, cut to half, among as much other text, and with synonyms."""
    (mark,), encoding = marks(name), plays().encoding
    field = model("transformer").space.only
    k = field.k + bool(field.varying)  # outputs, an end included where there is one
    marked, other = texts(name, SHOWN)[0], texts("none", SHOWN, first=1000)[0]
    redone = [encoding.encode(paraphrased(encoding.decode(t))).tolist() for t in marked]
    changed = np.mean([sum(a != b for a, b in zip(encoding.decode(t).split(), paraphrased(encoding.decode(t)).split(),
                                                  strict=False)) / len(encoding.decode(t).split())
                       for t in marked])  # fmt: skip
    kinds: dict[str, list[list[int]]] = {
        "clean": marked,
        "its second half alone": [t[len(t) // 2 :] for t in marked],
        "among as many unmarked tokens": [a[:100] + t + a[100:] for a, t in zip(other, marked, strict=True)],
        f"synonyms for {changed:.0%} of its words": redone,
        "unmarked": other,
    }
    return {"n": SHOWN, "found": {w: sum(mark.look(t, k).found(FAR) for t in ts) for w, ts in kinds.items()},
            "share": float(np.mean([(v := mark.look(t, k)).matches / v.trials for t in marked]))}  # fmt: skip


def token_rows() -> list[Row]:
    """A row a mark and attack."""
    rows: list[Row] = []
    for name in ("tournament", "green"):
        f = kept(GROUP, f"tokens {name}", lambda name=name: tokens_found(name))
        notes = dict.fromkeys(f["found"], f"{f['share']:.3f} of the bits agree as drawn")
        rows += shares(f"{name} mark found at 1e-6, {WORDS} tokens of 512", f, notes)
    return rows


# -- costs -----------------------------------------------------------------------------------------------------------


def perplexities(name: str) -> dict[str, Any]:
    """Nats a token of marked and unmarked texts under the model that drew them, each text's mean."""
    return {"marked": texts(name, 2 * SHOWN, first=2000)[1], "plain": texts("none", 2 * SHOWN, first=3000)[1]}


def latent_costs() -> dict[str, Any]:
    """Frechet distances to held-out pictures, of samples with the mark and of as many others without."""
    import torch

    from simulacra.core.randomness import Rng
    from simulacra.evaluation.classifier import ClassifierConfig, classifier
    from simulacra.evaluation.extractors import values
    from simulacra.responsibility.latent import LatentMark

    see = classifier(mnist().train, folder=FOLDER, config=ClassifierConfig(examples=20_000))
    drawn, mark = model("glow"), LatentMark(key=key(0))
    with torch.no_grad():
        sets = [drawn.sample(COSTS, rng=rng).x for rng in (mark.rng(3), 4)]
        features = [see(x) for x in (*sets, values(mnist().held_out, COSTS, Rng(0)))]
    return ratio_of_distances(*features)


def pixel_costs() -> dict[str, Any]:
    """The same of the mark in pixels, of digits enlarged to 56x56; the same samples with and without."""
    import torch

    from simulacra.core.randomness import Rng
    from simulacra.evaluation.classifier import ClassifierConfig, classifier
    from simulacra.evaluation.extractors import values
    from simulacra.modalities.images import to_uint8
    from simulacra.responsibility.pixels import PixelMark

    see = classifier(mnist().train, folder=FOLDER, config=ClassifierConfig(examples=20_000))
    space, drawn = mnist().train.space, []
    with torch.no_grad():
        x = model("glow").sample(COSTS, rng=4).x
    for picture in to_uint8(x, space)[..., 0]:
        large = inputs.resized(picture, 56)
        marked = PixelMark(key=key(0)).mark(large)
        drawn.append([inputs.resized(p, 28) for p in (marked, large)])
    both = space.only.value(torch.from_numpy(np.array(drawn)).float())
    with torch.no_grad():
        features = [see(p) for p in (both[:, 0, None], both[:, 1, None], values(mnist().held_out, COSTS, Rng(0)))]
    return ratio_of_distances(*features, paired=True)


def ratio_of_distances(marked: Any, plain: Any, real: Any, *, paired: bool = False) -> dict[str, Any]:
    """Frechet distances, and 200 bootstraps of their ratio, over samples (pairs where they are) and real pictures."""
    from simulacra.mathematics.frechet import frechet_distance

    rng, ratios = np.random.default_rng(0), []
    for _ in range(200):
        i, j, k = (rng.integers(0, len(x), len(x)) for x in (marked, plain, real))
        j = i if paired else j
        ratios.append(frechet_distance(marked[i], real[k]) / frechet_distance(plain[j], real[k]))
    found = [frechet_distance(x, real) for x in (marked, plain)]
    return {"marked": found[0], "plain": found[1], "ratios": [float(r) for r in ratios]}


def cost_rows() -> list[Row]:
    """Upper limits of what marking costs."""
    rows = []
    for name in ("tournament", "green"):
        f = kept(GROUP, f"perplexity {name}", lambda name=name: perplexities(name))
        a, b = np.array(f["marked"]), np.array(f["plain"])
        d, se = a.mean() - b.mean(), np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
        upper = float(np.expm1(d + 1.96 * se))
        rows.append(
            Row(what=f"perplexity with the {name} mark over that without", unit="upper 95 % limit of the difference",
                ours=upper, target=f"<= {DISTANT}", met=upper <= DISTANT,
                note=f"difference {np.expm1(d):+.3f}; perplexity {np.exp(b.mean()):.1f} without; {len(a)} texts of"
                f" {WORDS} tokens on either side, under the model that drew them")
        )  # fmt: skip
    for name, work in (("latent", latent_costs), ("pixel", pixel_costs)):
        f = kept(GROUP, f"cost {name}", work)
        upper = float(np.quantile(f["ratios"], 0.975)) - 1
        rows.append(
            Row(what=f"Frechet distance with the {name} mark over that without",
                unit="upper 95 % limit of the difference", ours=upper, target=f"<= {DISTANT}", met=upper <= DISTANT,
                note=f"{f['marked']:.3f} and {f['plain']:.3f}; {COSTS:,} samples of glow, a classifier's features"
                + (", digits enlarged to 56x56 to be marked and reduced again to be judged" if name == "pixel" else ""))
        )  # fmt: skip
    return rows


def rows() -> list[Row]:
    """All rows."""
    return [*latent_rows(), *token_rows(), *cost_rows()]


if __name__ == "__main__":
    works: dict[str, Callable[[], Any]] = {
        **{f"latent {f}": lambda f=f: latent_found(f) for f in ("glow", "diffusion")},
        **{f"tokens {m}": lambda m=m: tokens_found(m) for m in ("tournament", "green")},
        **{f"perplexity {m}": lambda m=m: perplexities(m) for m in ("tournament", "green")},
        "cost latent": latent_costs, "cost pixel": pixel_costs,
    }  # fmt: skip
    for part in sys.argv[1:] or works:
        kept(GROUP, part, works[part])
