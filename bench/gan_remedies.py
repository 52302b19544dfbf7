"""Ring and grid: every remedy against mode collapse on its own, beside the plain game and beside the best of them.

``python -m bench gan_remedies`` runs all of it; ``python -m bench.gan_remedies grid --only plain packing --seeds 1`` a
part. What was run before is not run again (``bench/.state``). Networks have the depths of Lin et al. 2018 ("PacGAN",
section 4.1: four hidden layers and three) and are 128 wide, without batch norm; all but ``best`` play the same short
game, and ``best`` the one of ``bench.gan`` with a faster critic.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

WORLDS = ("ring", "grid")
SEEDS, SAMPLES = 2, 2_500
STEPS, BATCH = 1_200, 256
BEST_STEPS, BEST_BATCH = 6_000, 512
GAMMA = (0.2, 1e-3)  # of R1 and R2, at first and at last: see bench.gan.cure
NOISE = 0.1


def plain() -> Any:
    """The non-saturating game, with nothing against collapse."""
    from bench import gan
    from simulacra.core.optimisers import AdamW

    adam = AdamW(lr=1e-3, betas=(0.5, 0.999))
    return replace(gan.plain(), generator_optimiser=adam, critic_optimiser=adam)


def packing() -> Any:
    """Judged two at a time."""
    from simulacra.nets.remedies import Pack, Remedies

    return replace(plain(), remedies=Remedies(pack=Pack(size=2)))


def statistics_of_batch() -> Any:
    """The critic is told the deviation within groups of four."""
    from simulacra.nets.remedies import Deviated, Remedies

    return replace(plain(), remedies=Remedies(deviation=Deviated(group=4)))


def unrolling() -> Any:
    """Against the critic five steps ahead."""
    from simulacra.nets.remedies import Remedies, Unrolled

    return replace(plain(), remedies=Remedies(unroll=Unrolled(steps=5, rate=1e-2)))


def smoothness() -> Any:
    """R1 and R2, no pairs."""
    return replace(plain(), regularisers=penalties(STEPS))


def pairing() -> Any:
    """Pairs, with the R1 and R2 that they need."""
    from simulacra.mathematics.adversarial import Relativistic

    return replace(plain(), game=Relativistic(), regularisers=penalties(STEPS))


def top() -> Any:
    """The generator learns from the better half in the second half of the run."""
    from simulacra.nets.remedies import Remedies, TopK

    return replace(plain(), remedies=Remedies(top=TopK(final=0.5, decay=0.99, every=max(1, STEPS // 140))))


def noise() -> Any:
    """Noise of the generator's own, learned."""
    return replace(plain(), noise=NOISE)


def best() -> Any:
    """Pairs, R1 and R2 that fall, waves, steep activations, even latents, and a critic three times as fast.

    Modes come out narrow where the critic lags behind the generator: see bench/notes.md.
    """
    from bench import gan
    from simulacra.core.optimisers import AdamW, Warmup

    cure = gan.cure()
    rules = tuple(replace(r, steps=BEST_STEPS) for r in cure.regularisers)
    fast = AdamW(lr=3e-3, betas=(0.0, 0.99), schedule=Warmup(decay=0.9, final=0.3))
    return replace(cure, regularisers=rules, critic_optimiser=fast)


def penalties(steps: int) -> Any:
    """R1 and R2, every eighth step."""
    from simulacra.mathematics.adversarial import r1, r2
    from simulacra.nets.adversarial import Regulariser

    first, final = GAMMA
    return tuple(Regulariser(penalty=p, weight=first, final=final, steps=steps, every=8) for p in (r1, r2))


SETTINGS: dict[str, tuple[str, Callable[[], Any]]] = {
    "plain": ("plain", plain),
    "packing": ("packs of two", packing),
    "statistics": ("deviation of the batch", statistics_of_batch),
    "unrolling": ("unrolled, five steps", unrolling),
    "smoothness": ("R1 and R2", smoothness),
    "pairing": ("relativistic pairs, R1 and R2", pairing),
    "top": ("top-k, to a half", top),
    "rejection": ("rejection of the plain game's samples", plain),
    "noise": ("noise of its own", noise),
    "best": ("pairs, R1 and R2, waves, steep activations, even latents, a fast critic", best),
}


def run(worlds: tuple[str, ...] = WORLDS, only: tuple[str, ...] = tuple(SETTINGS), seeds: int = SEEDS) -> list[Any]:
    """A row for each world and remedy; plain is measured first."""
    from bench.harness import Row, kept

    rows: list[Any] = []
    for world in worlds:
        before: list[dict[str, Any]] | None = None
        for name in only:
            found = [
                kept("gan_remedies", f"{world} {name} {s}", lambda w=world, n=name, s=s: one(w, n, s))
                for s in range(seeds)
            ]
            before = found if name == "plain" else before
            rows.append(row(world, name, found, before, Row))
    return rows


def row(world: str, name: str, found: list[dict[str, Any]], before: list[dict[str, Any]] | None, make: Any) -> Any:
    """Modes, quality, reverse KL and width, as means over seeds."""
    from bench.gan import WORLDS as COUNTS

    mean = lambda key, of: statistics.mean(float(f[key]) for f in of)  # noqa: E731
    k, kl = COUNTS[world], mean("reverse_kl", found)
    target, met = "", None
    if name == "best":
        target = f"{k} modes, >= 97.5 %, <= 0.012, width >= 0.85"
        met = (
            mean("modes", found) == k
            and mean("high_quality", found) >= 0.975
            and kl <= 0.012
            and mean("deviation", found) >= 0.85
        )
    elif name != "plain" and before is not None:
        target, met = "reverse KL below plain's", kl < mean("reverse_kl", before)
    spread = lambda key, scale=1.0, digits=2: ", ".join(f"{float(f[key]) * scale:.{digits}f}" for f in found)  # noqa: E731
    return make(
        what=f"{k}-{world}: {SETTINGS[name][0]}",
        unit="reverse KL, nats",
        ours=kl if math.isfinite(kl) else "infinite",
        peer=None if before is None or name == "plain" else mean("reverse_kl", before),
        target=target,
        met=met,
        note=f"modes {spread('modes', 1, 0)}; within 3 sigma {spread('high_quality', 100, 1)} %;"
        f" reverse KL {spread('reverse_kl', 1, 3)}; width {spread('deviation')};"
        f" CPU-s {max(f['cpu_s'] for f in found):.0f}",
        rounds=found,
    )


def one(world: str, name: str, seed: int) -> dict[str, Any]:
    """One run, and the statistics of its samples."""
    from simulacra.families.gan import GAN
    from simulacra.modalities import toys
    from simulacra.modalities.modes import mode_statistics
    from simulacra.training.loop import train
    from simulacra.training.settings import Training
    from simulacra.uses.reject import reject

    mixture = {"ring": toys.ring, "grid": toys.grid}[world]()
    steps, batch = (BEST_STEPS, BEST_BATCH) if name == "best" else (STEPS, BATCH)
    model = GAN(SETTINGS[name][1](), mixture.space, rng=seed)
    training = Training(steps=steps, batch=batch, seed=seed, average_half_life=0.03 * steps * batch)
    trained = train(model, mixture, training).averaged
    draw = {"rejection": reject}.get(name, lambda model, n, rng: model.sample(n, rng=rng))
    return asdict(mode_statistics(draw(trained, SAMPLES, rng=1_000 + seed).x, mixture))  # type: ignore[arg-type]


def main() -> None:
    """The part of it that was asked for."""
    from bench.harness import save, show

    parser = argparse.ArgumentParser(prog="python -m bench.gan_remedies", description=__doc__)
    parser.add_argument("worlds", nargs="*", default=list(WORLDS), help=f"of {', '.join(WORLDS)}")
    parser.add_argument("--only", nargs="+", default=list(SETTINGS), help=f"of {', '.join(SETTINGS)}")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    named = parser.parse_args()
    rows = run(tuple(named.worlds), tuple(named.only), named.seeds)
    show("gan_remedies", rows)
    if tuple(named.worlds) == WORLDS and tuple(named.only) == tuple(SETTINGS):
        print(f"written to {save('gan_remedies', rows)}")


if __name__ == "__main__":
    main()
