"""The families by name: how each is built, and its known-good setting. The only place that names them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulacra.core.space import Space
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
from simulacra.recipes import known_good
from simulacra.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family as the command line knows it.

    config  its frozen dataclass of settings.
    build   (config, space, rng=) -> the model.
    recipe  (space, number of examples) -> (config, training): a setting that is known to work.
    pupil   its config -> the family and config of a faster model that its models can teach; None where they teach none.
    rather  (space) -> the family that a bare ``simulacra fit`` of this one means for such data; None: this one.
    """

    config: type[Any]
    build: Callable[..., Any]
    recipe: Callable[[Space, int], tuple[Any, Training]]
    pupil: Callable[[Any], tuple[str, Any]] | None = None
    rather: Callable[[Space], str | None] = known_good.itself


FAMILIES: dict[str, Family] = {
    "vae": Family(config=vae.VAEConfig, build=vae.VAE, recipe=known_good.vae_recipe),
    "factor_vae": Family(
        config=factor_vae.FactorVAEConfig, build=factor_vae.FactorVAE, recipe=known_good.factor_vae_recipe
    ),
    "hvae": Family(config=hvae.HVAEConfig, build=hvae.HVAE, recipe=known_good.hvae_recipe),
    "vqvae": Family(config=vqvae.VQVAEConfig, build=vqvae.VQVAE, recipe=known_good.vqvae_recipe),
    "autoencoder_kl": Family(
        config=autoencoder_kl.AutoencoderKLConfig,
        build=autoencoder_kl.AutoencoderKL,
        recipe=known_good.autoencoder_kl_recipe,
    ),
    "any_order": Family(config=any_order.AnyOrderConfig, build=any_order.AnyOrder, recipe=known_good.any_order_recipe),
    "mixed_diffusion": Family(
        config=mixed_diffusion.MixedDiffusionConfig,
        build=mixed_diffusion.MixedDiffusion,
        recipe=known_good.mixed_diffusion_recipe,
    ),
    "table_gan": Family(config=table_gan.TableGANConfig, build=table_gan.TableGAN, recipe=known_good.table_gan_recipe),
    "gan": Family(
        config=gan.GANConfig, build=gan.GAN, recipe=known_good.gan_recipe, rather=known_good.convolutional_gan
    ),
    "flow": Family(config=flow.FlowConfig, build=flow.flow, recipe=known_good.flow_recipe),
    "dcgan": Family(config=dcgan.DCGANConfig, build=dcgan.DCGAN, recipe=known_good.dcgan_recipe),
    "r3gan": Family(config=r3gan.R3GANConfig, build=r3gan.R3GAN, recipe=known_good.r3gan_recipe),
    "stylegan": Family(config=stylegan.StyleGANConfig, build=stylegan.StyleGAN, recipe=known_good.stylegan_recipe),
    "biggan": Family(config=biggan.BigGANConfig, build=biggan.BigGAN, recipe=known_good.biggan_recipe),
    "pix2pix": Family(config=pix2pix.Pix2PixConfig, build=pix2pix.Pix2Pix, recipe=known_good.pix2pix_recipe),
    "cyclegan": Family(config=cyclegan.CycleGANConfig, build=cyclegan.CycleGAN, recipe=known_good.cyclegan_recipe),
    "glow": Family(config=glow.GlowConfig, build=glow.Glow, recipe=known_good.glow_recipe),
    "tarflow": Family(config=tarflow.TarFlowConfig, build=tarflow.TarFlow, recipe=known_good.tarflow_recipe),
    "pixelcnn": Family(config=pixelcnn.PixelCNNConfig, build=pixelcnn.build, recipe=known_good.pixelcnn_recipe),
    "diffusion": Family(
        config=diffusion.DiffusionConfig,
        build=diffusion.build,
        recipe=known_good.diffusion_recipe,
        pupil=known_good.diffusion_pupil,
    ),
    "consistency": Family(
        config=consistency.ConsistencyConfig, build=consistency.Consistency, recipe=known_good.consistency_recipe
    ),
    "discrete_diffusion": Family(
        config=discrete_diffusion.DiscreteDiffusionConfig,
        build=discrete_diffusion.DiscreteDiffusion,
        recipe=known_good.discrete_diffusion_recipe,
    ),
    "transformer": Family(
        config=transformer.TransformerConfig, build=transformer.build, recipe=known_good.transformer_recipe
    ),
    "frames": Family(config=frames.FramesConfig, build=frames.build, recipe=known_good.frames_recipe),
    "seq2seq": Family(config=seq2seq.Seq2SeqConfig, build=seq2seq.Seq2Seq, recipe=known_good.seq2seq_recipe),
    "sequence_vae": Family(
        config=sequence_vae.SequenceVAEConfig,
        build=sequence_vae.SequenceVAE,
        recipe=known_good.sequence_vae_recipe,
    ),
    "gaussian_mixture": Family(
        config=gaussian_mixture.GaussianMixtureConfig,
        build=gaussian_mixture.GaussianMixture,
        recipe=known_good.gaussian_mixture_recipe,
    ),
    "copula": Family(config=copula.CopulaConfig, build=copula.Copula, recipe=known_good.copula_recipe),
    "bayesian_network": Family(
        config=bayesian_network.BayesianNetworkConfig,
        build=bayesian_network.BayesianNetwork,
        recipe=known_good.bayesian_network_recipe,
    ),
    "hidden_markov": Family(
        config=hidden_markov.HiddenMarkovConfig,
        build=hidden_markov.HiddenMarkov,
        recipe=known_good.hidden_markov_recipe,
    ),
    "kernel_density": Family(
        config=kernel_density.KernelDensityConfig,
        build=kernel_density.KernelDensity,
        recipe=known_good.kernel_density_recipe,
    ),
    "naive_bayes": Family(
        config=naive_bayes.NaiveBayesConfig, build=naive_bayes.NaiveBayes, recipe=known_good.naive_bayes_recipe
    ),
    "smote": Family(config=smote.SMOTEConfig, build=smote.SMOTE, recipe=known_good.smote_recipe),
    "flow_matching": Family(
        config=flow_matching.FlowMatchingConfig,
        build=flow_matching.build,
        recipe=known_good.flow_matching_recipe,
        pupil=known_good.flow_matching_pupil,
    ),
}
