"""What a recipe.json may name: the dataclasses and functions of these modules, each found by its name."""

from __future__ import annotations

from simulacra.core import optimisers
from simulacra.families import (
    any_order,
    bayesian_network,
    biggan,
    consistency,
    copula,
    dcgan,
    diffusion,
    discrete_diffusion,
    factor_vae,
    flow,
    flow_matching,
    gan,
    gaussian_mixture,
    glow,
    hidden_markov,
    hvae,
    kernel_density,
    mixed_diffusion,
    naive_bayes,
    pixelcnn,
    r3gan,
    seq2seq,
    smote,
    stylegan,
    table_gan,
    tarflow,
    transformer,
    vae,
    vqvae,
)
from simulacra.mathematics import (
    adversarial,
    asked,
    bounds,
    couplings,
    covariances,
    discrete_chains,
    discrete_paths,
    flow_likelihood,
    ladder,
    latent_draws,
    noise_chain,
    orders,
    paths,
    preconditioning,
    solvers,
    structures,
    trajectories,
    velocity,
)
from simulacra.nets import (
    activations,
    autoregressive,
    backbones,
    causal_attention,
    causal_layers,
    causal_network,
    cell_outputs,
    code_prior,
    codebooks,
    codegrids,
    coupling,
    decoder,
    decoder_steps,
    denoisers,
    density_heads,
    dequantise,
    encoder_decoder,
    encoder_decoder_steps,
    fourier,
    heads,
    lora,
    magnitude_preserving,
    missingness,
    modulated,
    picture_flow,
    residual_unet,
    spreading,
    styles,
    text_encoder,
    tokens,
    transforms,
)
from simulacra.nets import adversarial as duels
from simulacra.nets import transformer as attention
from simulacra.recipes.settings import table
from simulacra.training import settings as training_settings

SETTINGS = table((
    # families
    any_order, bayesian_network, biggan, consistency, copula, dcgan, diffusion, discrete_diffusion, factor_vae, flow,
    flow_matching, gan, gaussian_mixture, glow, hidden_markov, hvae, kernel_density, mixed_diffusion, naive_bayes,
    pixelcnn, r3gan, seq2seq, smote, stylegan, table_gan, tarflow, transformer, vae, vqvae,
    # mathematics
    adversarial, asked, bounds, couplings, covariances, discrete_chains, discrete_paths, flow_likelihood, ladder,
    latent_draws, noise_chain, orders, paths, preconditioning, solvers, structures, trajectories, velocity,
    # nets
    activations, autoregressive, backbones, causal_attention, causal_layers, causal_network, cell_outputs,
    attention, code_prior, codebooks, codegrids, coupling, decoder, decoder_steps, denoisers, density_heads, dequantise,
    duels, encoder_decoder, encoder_decoder_steps, fourier, heads, lora,
    magnitude_preserving, missingness, modulated, picture_flow, residual_unet, spreading,
    styles, text_encoder, tokens, transforms,
    # how they learn
    optimisers, training_settings,
))  # fmt: skip
