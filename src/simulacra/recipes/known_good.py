"""A known-good setting of each family for the data at hand: (space, number of examples) -> (config, training)."""

from __future__ import annotations

import math
from dataclasses import replace

from simulacra.core import optimisers
from simulacra.core.space import Classes, Space
from simulacra.families import (
    any_order,
    autoencoder_kl,
    bayesian_network,
    biggan,
    consistency,
    copula,
    cyclegan,
    dcgan,
    diffusion,
    discrete_diffusion,
    factor_vae,
    flow,
    flow_matching,
    frames,
    gan,
    gaussian_mixture,
    glow,
    hidden_markov,
    hvae,
    kernel_density,
    mixed_diffusion,
    naive_bayes,
    pix2pix,
    pixelcnn,
    r3gan,
    seq2seq,
    sequence_vae,
    smote,
    stylegan,
    table_gan,
    tarflow,
    transformer,
    vae,
    vqvae,
)
from simulacra.mathematics import (
    bounds,
    couplings,
    covariances,
    ladder,
    structures,
    trajectories,
)
from simulacra.nets import (
    causal_network,
    code_prior,
    codebooks,
    codegrids,
    denoisers,
    picture_coder,
    tokens,
)
from simulacra.training.settings import Training


def vae_recipe(space: Space, examples: int) -> tuple[vae.VAEConfig, Training]:
    """The evidence bound with 16 codes for pictures up to 16 a side and short rows, 32 beyond."""
    steps = passes(examples, 128, epochs=60, low=1_500, high=20_000)
    return vae.VAEConfig(latent=16 if small(space) else 32), Training(steps=steps, batch=128)


def factor_vae_recipe(space: Space, examples: int) -> tuple[factor_vae.FactorVAEConfig, Training]:
    """Ten codes, as in the papers on disentangling; gamma as large as small data bears."""
    steps = passes(examples, 128, epochs=60, low=1_500, high=20_000)
    return factor_vae.FactorVAEConfig(latent=10), Training(steps=steps, batch=128)


def hvae_recipe(space: Space, examples: int) -> tuple[hvae.HVAEConfig, Training]:
    """Three resolutions of latent groups, the KL warmed up over the first tenth."""
    steps = passes(examples, 128, epochs=60, low=1_000, high=20_000)
    config = hvae.HVAEConfig(groups=(2, 3, 2), objective=ladder.LadderWarmup(steps=max(1, steps // 10)))
    if small(space):
        config = replace(config, groups=(1, 1, 1), latent=4, width=24)
    return config, Training(steps=steps, batch=128)


def autoencoder_kl_recipe(space: Space, examples: int) -> tuple[autoencoder_kl.AutoencoderKLConfig, Training]:
    """Codes of four channels, of 4 to 8 places a side."""
    steps = passes(examples, 64, epochs=30, low=1_000, high=20_000)
    longest = max(space.only.shape[1:]) if space.layout == "grid" else 1
    halvings = max(1, math.ceil(math.log2(longest / 8)))
    network = picture_coder.PictureCoder(widths=(32, *[64] * halvings))
    return autoencoder_kl.AutoencoderKLConfig(network=network), Training(steps=steps, batch=64)


def vqvae_recipe(space: Space, examples: int) -> tuple[vqvae.VQVAEConfig, Training]:
    """A code for every four pixels of pictures up to 16 a side, for every sixteen beyond; rows get eight."""
    steps = passes(examples, 128, epochs=60, low=1_000, high=20_000)
    prior = optimisers.AdamW(lr=2e-3, schedule=optimisers.Warmup(steps=100, decay=0.7))
    config = vqvae.VQVAEConfig(prior_optimiser=prior)
    if small(space):
        config = replace(
            config,
            codebook=codebooks.VQ(k=64, channels=8),
            networks=codegrids.CodesByLayout(grid=codegrids.Grid(width=32, halvings=1, blocks=1)),
            prior=code_prior.CausalPrior(width=64, depth=2),
        )
    return config, Training(steps=steps, batch=128)


def gan_recipe(space: Space, examples: int) -> tuple[gan.GANConfig, Training]:
    """Relativistic pairing with R1 and R2, dense networks."""
    steps = passes(examples, 128, epochs=100, low=3_000, high=20_000)
    return gan.GANConfig(), Training(steps=steps, batch=128)


def itself(space: Space) -> None:
    """No other family is to be taken instead."""


def convolutional_gan(space: Space) -> str | None:
    """R3GAN where a GAN of dense networks is asked for pictures: the same game, with the networks that suit them."""
    return "r3gan" if space.layout == "grid" and min(space.only.shape[1:]) >= 8 else None


def any_order_recipe(space: Space, examples: int) -> tuple[any_order.AnyOrderConfig, Training]:
    """Three blocks, 96 wide, Muon for their matrices; half of the rows in the order their columns stand."""
    steps = passes(examples, 256, epochs=15, low=1_000, high=20_000)
    return any_order.AnyOrderConfig(), Training(steps=steps, batch=256)


def table_gan_recipe(space: Space, examples: int) -> tuple[table_gan.TableGANConfig, Training]:
    """Xu et al.'s networks, batch and rates."""
    steps = passes(examples, 500, epochs=300, low=1_000, high=20_000)
    return table_gan.TableGANConfig(), Training(steps=steps, batch=500)


def mixed_diffusion_recipe(space: Space, examples: int) -> tuple[mixed_diffusion.MixedDiffusionConfig, Training]:
    """Four residual layers, 256 wide, for long: what noise hides of a column is learnt slowly."""
    steps = passes(examples, 256, epochs=80, low=1_000, high=20_000)
    return mixed_diffusion.MixedDiffusionConfig(), Training(steps=steps, batch=256)


def dcgan_recipe(space: Space, examples: int) -> tuple[dcgan.DCGANConfig, Training]:
    """Radford et al.'s networks, as wide as the picture is large."""
    steps = passes(examples, 64, epochs=60, low=1_500, high=20_000)
    return dcgan.DCGANConfig(width=32 if small(space) else 64), Training(steps=steps, batch=64)


def stylegan_recipe(space: Space, examples: int) -> tuple[stylegan.StyleGANConfig, Training]:
    """As wide as a CPU bears up to 32 a side, the published widths beyond; R1's gamma as pixels and batch have it."""
    batch, (_, height, width) = 32, space.only.shape if space.layout == "grid" else (1, 1, 1)
    gamma = 2e-4 * height * width / batch  # Karras et al. 2020, "Training GANs with limited data", appendix C
    r1 = replace(stylegan.R1, weight=gamma)
    steps = passes(examples, batch, epochs=60, low=3_000, high=50_000)
    config = stylegan.StyleGANConfig(regularisers=(r1,))
    if max(height, width) <= 32:
        config = replace(config, latent=64, style=64, mapping=2, base=512, widest=64)
    return config, Training(steps=steps, batch=batch)


def r3gan_recipe(space: Space, examples: int) -> tuple[r3gan.R3GANConfig, Training]:
    """Narrow networks up to 32 a side, the published widths beyond; gamma falls over the first half of the run.

    Gamma is 1 to 0.1 at 32x32 and grows with the pixels: a critic that sees the same in pictures of k times as
    many has slopes whose square is 1 / k of what it was. Huang et al. 2024 (the authors' settings) begin with 0.05 and
    0.5 at 32x32, 1 and 2 at 64x64 and 150 at 256x256, where this begins with 1, 4 and 64.
    """
    _, height, width = space.only.shape if space.layout == "grid" else (1, 1, 1)
    steps = passes(examples, 64, epochs=60, low=3_000, high=50_000)
    gamma = height * width / 32**2
    rules = tuple(replace(r, weight=gamma, final=gamma / 10, steps=steps // 2) for r in r3gan.SMOOTH)
    config = r3gan.R3GANConfig(regularisers=rules)
    if max(height, width) <= 32:
        fast = optimisers.AdamW(lr=1e-3, betas=(0.0, 0.99), schedule=optimisers.Warmup(steps=100, decay=0.3, final=0.1))
        config = replace(config, width=32, widest=128, blocks=1, generator_optimiser=fast, critic_optimiser=fast)
    return config, Training(steps=steps, batch=64)


def biggan_recipe(space: Space, examples: int) -> tuple[biggan.BigGANConfig, Training]:
    """Narrow networks and faster ones up to 32 a side, the published ones beyond."""
    _, height, width = space.only.shape if space.layout == "grid" else (1, 1, 1)
    steps = passes(examples, 64, epochs=60, low=3_000, high=50_000)
    config = biggan.BigGANConfig()
    if max(height, width) <= 32:
        slow, fast = (optimisers.AdamW(lr=lr, betas=(0.0, 0.999)) for lr in (2e-4, 8e-4))
        config = replace(
            config, chunk=16, shared=32, width=32, widest=128, attention=16,
            generator_optimiser=slow, critic_optimiser=fast,
        )  # fmt: skip
    return config, Training(steps=steps, batch=64)


def pix2pix_recipe(space: Space, examples: int) -> tuple[pix2pix.Pix2PixConfig, Training]:
    """Narrow networks, fast ones and patches of half a picture up to 32 a side; the published ones beyond."""
    _, height, width = space.only.shape if space.layout == "grid" else (1, 1, 1)
    steps = passes(examples, 16, epochs=40, low=1_500, high=50_000)
    config = pix2pix.Pix2PixConfig()
    if max(height, width) <= 32:
        fast = optimisers.AdamW(lr=5e-4, betas=(0.5, 0.999), schedule=optimisers.Warmup(steps=50, decay=0.5))
        config = replace(config, width=32, halvings=2, generator_optimiser=fast, critic_optimiser=fast)
    return config, Training(steps=steps, batch=16)


def cyclegan_recipe(space: Space, examples: int) -> tuple[cyclegan.CycleGANConfig, Training]:
    """Narrow networks, fast ones and patches of half a picture up to 32 a side; the published ones beyond."""
    _, height, width = space.only.shape if space.layout == "grid" else (1, 1, 1)
    steps = passes(examples, 8, epochs=40, low=1_500, high=100_000)
    config = cyclegan.CycleGANConfig(blocks=6 if max(height, width) <= 128 else 9)
    if max(height, width) <= 32:
        fast = optimisers.AdamW(lr=5e-4, betas=(0.5, 0.999), schedule=optimisers.Warmup(steps=50, decay=0.5))
        config = replace(
            config, width=16, blocks=3, halvings=2, generator_optimiser=fast, critic_optimiser=fast
        )  # fmt: skip
    return config, Training(steps=steps, batch=8)


def flow_recipe(space: Space, examples: int) -> tuple[flow.FlowConfig, Training]:
    """Neural spline couplings; networks twice as wide from 16 dimensions on, which soon know small data by heart."""
    steps = passes(examples, 256, epochs=60, low=500, high=20_000)
    width = 64 if space.size < 16 else 128
    return flow.FlowConfig(transforms=flow.nsf_coupling(hidden=(width, width))), Training(steps=steps, batch=256)


def glow_recipe(space: Space, examples: int) -> tuple[glow.GlowConfig, Training]:
    """Two levels of four steps for pictures up to 16 a side; beyond, three levels of eight wider ones."""
    steps = passes(examples, 128, epochs=60, low=500, high=10_000)
    optimiser = optimisers.AdamW(lr=3e-3, schedule=optimisers.Warmup(steps=50, decay=0.7))
    if small(space):
        config = glow.GlowConfig(levels=2, steps=4, width=48, optimiser=optimiser)
    else:
        config = glow.GlowConfig(levels=3, steps=8, width=64, optimiser=replace(optimiser, lr=1e-3))
    return config, Training(steps=steps, batch=128)


def tarflow_recipe(space: Space, examples: int) -> tuple[tarflow.TarFlowConfig, Training]:
    """Four blocks over up to 16 patches; over up to 64, in wider tokens, for pictures of more than 16 a side."""
    steps = passes(examples, 128, epochs=60, low=1_000, high=10_000)
    optimiser = optimisers.AdamW(lr=3e-3, betas=(0.9, 0.95), schedule=optimisers.Warmup(steps=50, decay=0.7))
    patch = patch_for(space, 16 if small(space) else 64)
    if small(space):
        config = tarflow.TarFlowConfig(patch=patch, blocks=4, depth=1, width=64, optimiser=optimiser)
    else:
        config = tarflow.TarFlowConfig(patch=patch, blocks=4, depth=2, width=192, optimiser=replace(optimiser, lr=1e-3))
    return config, Training(steps=steps, batch=128)


def pixelcnn_recipe(space: Space, examples: int) -> tuple[pixelcnn.PixelCNNConfig, Training]:
    """Gated layers, a pixel at a time: six of 48 features for pictures up to 16 a side, eight of 64 beyond.

    Few pictures are soon known by heart: below 5,000 a small network, decaying weights and fewer steps.
    """
    few = examples < 5_000
    network = causal_network.gated(layers=6, width=48, first=5) if small(space) else causal_network.gated()
    network = causal_network.gated(layers=4, width=24, first=5) if few else network
    optimiser = optimisers.AdamW(
        lr=4e-3 if few else 2e-3,
        weight_decay=0.3 if few else 0.0,
        schedule=optimisers.Warmup(steps=100, decay=0.6, final=0.02),
    )
    steps = passes(examples, 64, epochs=20, low=400, high=20_000)
    return pixelcnn.PixelCNNConfig(network=network, optimiser=optimiser), Training(steps=steps, batch=64)


def diffusion_recipe(space: Space, examples: int) -> tuple[diffusion.DiffusionConfig, Training]:
    """EDM's preconditioning, weights and noise levels; a U-Net for pictures, a small one for small pictures."""
    steps = passes(examples, 64, epochs=60, low=1_000, high=20_000)
    optimiser = optimisers.AdamW(lr=2e-3, schedule=optimisers.Warmup(steps=100, decay=0.5))
    if space.layout == "grid" and small(space):
        grid = denoisers.Convolutional(width=16, blocks=1, multiples=(1, 2))
        config = diffusion.DiffusionConfig(backbone=denoisers.ByShape(grid=grid), optimiser=optimiser)
    else:
        config = diffusion.DiffusionConfig(optimiser=replace(optimiser, lr=1e-3))
    return config, Training(steps=steps, batch=64)


def consistency_recipe(space: Space, examples: int) -> tuple[consistency.ConsistencyConfig, Training]:
    """The networks and the budget of diffusion; a grid refined no farther than the budget pays for."""
    like, training = diffusion_recipe(space, examples)
    last = 160 if (training.steps or 0) < 10_000 else 1280
    config = consistency.ConsistencyConfig(
        backbone=like.backbone, optimiser=like.optimiser, curriculum=trajectories.Refining(last=last)
    )
    return config, training


def diffusion_pupil(config: diffusion.DiffusionConfig) -> tuple[str, consistency.ConsistencyConfig]:
    """A consistency model of the same network that follows the diffusion model's flow."""
    return "consistency", consistency.ConsistencyConfig(
        backbone=config.backbone, preconditioning=config.preconditioning, target=consistency.FromTeacher(),
        curriculum=trajectories.Refining(last=160), low=config.low, high=config.high,
        optimiser=config.optimiser,
    )  # fmt: skip


def flow_matching_pupil(config: flow_matching.FlowMatchingConfig) -> tuple[str, flow_matching.FlowMatchingConfig]:
    """A flow of the same network along the lines between noise and what the first flow makes of it."""
    return "flow_matching", replace(config, coupling=flow_matching.Reflow(), times=flow_matching.uniform)


def discrete_diffusion_recipe(
    space: Space, examples: int
) -> tuple[discrete_diffusion.DiscreteDiffusionConfig, Training]:
    """Masks; diffusion's U-Net for pictures, a transformer for rows and dense layers for tables."""
    steps = passes(examples, 64, epochs=60, low=1_000, high=20_000)
    optimiser = optimisers.AdamW(lr=2e-3, schedule=optimisers.Warmup(steps=100, decay=0.5))
    config = discrete_diffusion.DiscreteDiffusionConfig(optimiser=replace(optimiser, lr=1e-3))
    if space.layout == "grid" and small(space):
        grid = denoisers.Convolutional(width=16, blocks=1, multiples=(1, 2))
        backbone = tokens.RowsOrShape(other=denoisers.ByShape(grid=grid))
        config = replace(config, backbone=backbone, optimiser=optimiser)
    return config, Training(steps=steps, batch=64)


def flow_matching_recipe(space: Space, examples: int) -> tuple[flow_matching.FlowMatchingConfig, Training]:
    """The networks and the budget of diffusion; pairs by optimal transport where there are no labels to respect."""
    like, training = diffusion_recipe(space, examples)
    coupling = couplings.independent if space.y is not None else couplings.optimal_transport
    config = flow_matching.FlowMatchingConfig(backbone=like.backbone, optimiser=like.optimiser, coupling=coupling)
    return config, training


def for_sequences(schedule: optimisers.Warmup) -> optimisers.Muon:
    """Muon for the matrices of transformers of text, molecules, music, pairs; AdamW for the rest of them."""
    rest = optimisers.AdamW(lr=8e-3, betas=(0.9, 0.95), schedule=schedule)
    return optimisers.Muon(lr=1.2e-2, weight_decay=0.1, rest=rest, schedule=schedule)


def transformer_recipe(space: Space, examples: int) -> tuple[transformer.TransformerConfig, Training]:
    """Four blocks, 128 wide; Muon for their matrices beside AdamW, rates falling over most of the run."""
    steps = passes(examples, 32, epochs=5, low=500, high=20_000)
    muon = for_sequences(optimisers.Warmup(steps=50, decay=0.85, final=0.02))
    return transformer.TransformerConfig(optimiser=muon), Training(steps=steps, batch=32)


def frames_recipe(space: Space, examples: int) -> tuple[frames.FramesConfig, Training]:
    """A transformer over time, 128 wide, elements of a frame one after another; Muon beside AdamW."""
    steps = passes(examples, 8, epochs=60, low=500, high=20_000)
    schedule = optimisers.Warmup(steps=30, decay=0.9, final=0.01)
    rest = optimisers.AdamW(lr=4e-3, betas=(0.9, 0.95), schedule=schedule)
    muon = optimisers.Muon(lr=1.2e-2, weight_decay=0.1, rest=rest, schedule=schedule)
    return frames.FramesConfig(optimiser=muon), Training(steps=steps, batch=8, average_half_life=1_000.0)


def seq2seq_recipe(space: Space, examples: int) -> tuple[seq2seq.Seq2SeqConfig, Training]:
    """Three blocks each way, 192 wide; Muon for their matrices beside AdamW, rates falling over most of the run."""
    steps = passes(examples, 128, epochs=12, low=500, high=20_000)
    muon = for_sequences(optimisers.Warmup(steps=50, decay=0.85, final=0.02))
    return seq2seq.Seq2SeqConfig(optimiser=muon), Training(steps=steps, batch=128)


def sequence_vae_recipe(space: Space, examples: int) -> tuple[sequence_vae.SequenceVAEConfig, Training]:
    """Gated recurrent units each way; a fifth of the tokens not shown, a tenth of a nat free a dimension."""
    steps = passes(examples, 64, epochs=20, low=500, high=20_000)
    config = sequence_vae.SequenceVAEConfig(objective=bounds.FreeNats(steps=steps // 3))
    return config, Training(steps=steps, batch=64)


# what is learnt in closed form, or by its own iteration, takes no steps; a budget must be named and is never looked at
CLOSED_FORM = Training(steps=1)


def gaussian_mixture_recipe(space: Space, examples: int) -> tuple[gaussian_mixture.GaussianMixtureConfig, Training]:
    """Full covariances and as many components as BIC likes up to 32 numbers; factors and a few a class beyond."""
    if space.size <= 32:
        return gaussian_mixture.GaussianMixtureConfig(components=(1, 2, 4, 8, 16, 24)), CLOSED_FORM
    classes = len(space.y.names) if isinstance(space.y, Classes) else 5
    config = gaussian_mixture.GaussianMixtureConfig(
        components=(max(1, min(3 * classes, examples // 40)),),
        covariances=covariances.Factors(rank=6) if space.size <= 1024 else covariances.Independent(),
    )
    return config, CLOSED_FORM


def copula_recipe(space: Space, examples: int) -> tuple[copula.CopulaConfig, Training]:
    """A full covariance."""
    return copula.CopulaConfig(), CLOSED_FORM


def bayesian_network_recipe(space: Space, examples: int) -> tuple[bayesian_network.BayesianNetworkConfig, Training]:
    """Two parents a column where there are few columns; a tree beyond, whose search is exact and soon done."""
    few = space.size <= 24
    structure = structures.Greedy(parents=2) if few else structures.ChowLiu()
    return bayesian_network.BayesianNetworkConfig(structure=structure), CLOSED_FORM


def hidden_markov_recipe(space: Space, examples: int) -> tuple[hidden_markov.HiddenMarkovConfig, Training]:
    """Sixteen states; eight of each class."""
    return hidden_markov.HiddenMarkovConfig(states=16 if space.y is None else 8), CLOSED_FORM


def kernel_density_recipe(space: Space, examples: int) -> tuple[kernel_density.KernelDensityConfig, Training]:
    """All rows up to 5,000."""
    return kernel_density.KernelDensityConfig(rows=max(2, min(examples, 5_000))), CLOSED_FORM


def naive_bayes_recipe(space: Space, examples: int) -> tuple[naive_bayes.NaiveBayesConfig, Training]:
    """As it comes."""
    return naive_bayes.NaiveBayesConfig(), CLOSED_FORM


def smote_recipe(space: Space, examples: int) -> tuple[smote.SMOTEConfig, Training]:
    """All rows up to 20,000, five neighbours each."""
    return smote.SMOTEConfig(rows=max(2, min(examples, 20_000))), CLOSED_FORM


def small(space: Space) -> bool:
    """Whether an example is a vector or a sequence, or a picture of at most 16 pixels a side."""
    return space.layout != "grid" or max(space.only.shape[1:]) <= 16


def patch_for(space: Space, most: int) -> int:
    """The smallest side of patches that leaves at most so many of them, and more than one; else the best there is."""
    _, height, width = space.only.shape if space.layout == "grid" else (1, 1, 1)
    sides = [p for p in range(1, min(height, width) + 1) if height % p == 0 and width % p == 0]
    several = [p for p in sides if height * width > p**2]
    return next((p for p in several if height * width <= most * p**2), several[-1] if several else 1)


def passes(examples: int, batch: int, *, epochs: float, low: int, high: int) -> int:
    """Steps of that many passes over the data, within [low, high]."""
    return int(min(high, max(low, math.ceil(epochs * examples / batch))))
