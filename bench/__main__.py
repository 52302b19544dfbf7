"""``python -m bench [GROUP ...]``: run groups of measurements, print their tables, write ``bench/results``.

``python -m bench tables`` runs all groups whose names begin with ``tables_``.
"""

from __future__ import annotations

import argparse
import importlib

from bench.harness import save, show

# group -> what it measures; its module bench/GROUP.py has run() -> list of rows
GROUPS = {
    "evaluation": "Frechet distance, precision / recall / density / coverage; planted faults",
    "coverage": "how often each interval holds the truth; minutes",
    "coverage_further": "the same for the further figures",
    "likelihood": "exact likelihoods: what drawing pixel by pixel costs",
    "vae": "training a VAE, and the likelihood it reaches",
    "disentanglement": "beta-VAE, beta-TCVAE and FactorVAE on sprites, five seeds; hours, and it goes on where it was",
    "gan": "training a DCGAN, and the modes a GAN covers",
    "adversarial": "a step of DCGAN and StyleGAN2 beside a plain torch loop, and what drawing costs; minutes",
    "gan_remedies": "ring and grid, every remedy against mode collapse; a quarter of an hour, goes on where it was",
    "stacked_mnist": "a thousand modes: DCGAN, packed, at R3GAN's game; a quarter of an hour, goes on where it was",
    "collapse": "mode collapse planted and noticed, healthy runs left in peace; minutes, goes on where it was",
    "small_data": "500 emoji: StyleGAN2 from scratch, with ADA, DiffAugment, from another run; goes on where it was",
    "diffusion": "diffusion: training against diffusers and denoising-diffusion-pytorch, orders of the solvers",
    "flows": "flows of vectors: speed, nats after equal time, inversion in float32",
    "sequences": "a small transformer against nanoGPT's recipe, and what generating costs",
    "translation": "Multi30k, German to English, learnt on one core: sacreBLEU; an hour, goes on where it was",
    "sequences_samples": "molecules, chorales and folk tunes that are drawn, against published figures; an hour",
    "tables_adult": "Adult: train on drawn rows, test on real ones, against ctgan at equal CPU-time; hours",
    "tables_speed": "tables: training steps and rows drawn against ctgan, memory of a column of 20,000 categories",
    "training": "one process against two, and a stop against none",
    "study": "human evaluation: coverage of its intervals, exposures in a browser",
    "compression": "files of MNIST and CIFAR-10 against the model's own bound, PNG and WebP; a quarter of an hour",
    "tables_imputation": "breast cancer, half of it hidden, against Gaussian EM, trees and ridge; minutes",
    "tables_rare": "tables: rows of a rare group a CPU-second, drawn given it and by rejection",
    "versus": "generative against discriminative classifiers, in full; a quarter of an hour, goes on where it was",
    "responsibility_audits": "audits against planted faults: copying, membership, groups; minutes",
    "responsibility_private": "epsilon against the exact one and Opacus; what a private VAE's samples teach; minutes",
    "responsibility_detectors": "detectors of pictures on families left out, beside frequencies alone; minutes",
    "responsibility_marks": "marks: false alarms, what attacks leave, costs; half an hour, goes on where it was",
    "house": "what a user waits for: the first answers, the quickstart",
}


def meant(name: str) -> list[str]:
    """The groups that a name means: the one called so, else all that begin with it; none where there are none."""
    return [name] if name in GROUPS else [group for group in GROUPS if group.startswith(f"{name}_")]


def main() -> None:
    """Run the groups named, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("group", nargs="*", help="; ".join(f"{name}: {text}" for name, text in GROUPS.items()))
    named = parser.parse_args().group
    if unknown := [name for name in named if not meant(name)]:
        parser.error(f"no group {unknown[0]!r}; expected some of {', '.join(GROUPS)}")
    for group in [group for name in named for group in meant(name)] or GROUPS:
        rows = importlib.import_module(f"bench.{group}").run()
        show(group, rows)
        print(f"written to {save(group, rows)}\n")


if __name__ == "__main__":
    main()
