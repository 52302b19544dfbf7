"""Every family keeps every law, on every kind of space it takes. A new family adds its rows here."""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest
import torch

import simulacra.families
from simulacra import laws
from simulacra.core.capabilities import (
    Attentive,
    Codec,
    Completer,
    ConditionalSampler,
    Critic,
    Decoder,
    Denoiser,
    Factorised,
    Fitter,
    Invertible,
    Labelled,
    LatentVariable,
    Learner,
    Likelihood,
    LogProb,
    Sampler,
    Searcher,
    Stepwise,
    Translator,
    capabilities,
)
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.families.any_order import AnyOrder, AnyOrderConfig
from simulacra.families.autoencoder_kl import AutoencoderKL, AutoencoderKLConfig
from simulacra.families.bayesian_network import BayesianNetwork, BayesianNetworkConfig
from simulacra.families.biggan import BigGAN, BigGANConfig
from simulacra.families.consistency import Consistency, ConsistencyConfig, FromTeacher
from simulacra.families.copula import Copula, CopulaConfig
from simulacra.families.cyclegan import CycleGAN, CycleGANConfig
from simulacra.families.dcgan import DCGAN, DCGANConfig
from simulacra.families.diffusion import DiffusionConfig
from simulacra.families.diffusion import build as build_diffusion
from simulacra.families.discrete_diffusion import DiscreteDiffusion, DiscreteDiffusionConfig
from simulacra.families.factor_vae import FactorVAE, FactorVAEConfig
from simulacra.families.flow import (
    FlowConfig,
    flow,
    iaf,
    maf,
    nice,
    nsf_autoregressive,
    nsf_coupling,
    realnvp,
)
from simulacra.families.flow_matching import FlowMatchingConfig, Reflow
from simulacra.families.flow_matching import build as build_flow_matching
from simulacra.families.frames import FramesConfig, FrameSequences
from simulacra.families.frames import build as build_frames
from simulacra.families.gan import GAN, GANConfig
from simulacra.families.gaussian_mixture import GaussianMixture, GaussianMixtureConfig
from simulacra.families.glow import Glow, GlowConfig
from simulacra.families.hidden_markov import HiddenMarkov, HiddenMarkovConfig
from simulacra.families.hvae import HVAE, HVAEConfig
from simulacra.families.kernel_density import KernelDensity, KernelDensityConfig
from simulacra.families.mixed_diffusion import MixedDiffusion, MixedDiffusionConfig
from simulacra.families.naive_bayes import NaiveBayes, NaiveBayesConfig
from simulacra.families.pix2pix import Pix2Pix, Pix2PixConfig
from simulacra.families.pixelcnn import PixelCNNConfig, Raster
from simulacra.families.pixelcnn import build as build_pixelcnn
from simulacra.families.r3gan import R3GAN, R3GANConfig
from simulacra.families.seq2seq import Seq2Seq, Seq2SeqConfig
from simulacra.families.sequence_vae import SequenceVAE, SequenceVAEConfig
from simulacra.families.smote import SMOTE, SMOTEConfig
from simulacra.families.stylegan import StyleGAN, StyleGANConfig
from simulacra.families.table_gan import TableGAN, TableGANConfig
from simulacra.families.tarflow import TarFlow, TarFlowConfig
from simulacra.families.transformer import Sequences, TransformerConfig
from simulacra.families.transformer import build as build_transformer
from simulacra.families.vae import VAE, VAEConfig
from simulacra.families.vqvae import VQVAE, VQVAEConfig
from simulacra.laws.examples import drawn
from simulacra.laws.law import Law, Subject
from simulacra.mathematics import couplings, preconditioning
from simulacra.mathematics.adversarial import Hinge, NonSaturating, Relativistic, Wasserstein, gradient_penalty, r1
from simulacra.mathematics.bounds import elbo, iwae
from simulacra.mathematics.covariances import Factors, Independent, Shared
from simulacra.mathematics.discrete_paths import Straight, Uniform
from simulacra.mathematics.ladder import FreeBits
from simulacra.mathematics.orders import any_order as every_order
from simulacra.mathematics.structures import ChowLiu, Greedy
from simulacra.mathematics.trajectories import Refining
from simulacra.nets import denoisers
from simulacra.nets.activations import steep_tanh
from simulacra.nets.adversarial import Regulariser
from simulacra.nets.augment import ADA, DiffAugment
from simulacra.nets.causal_attention import Attention
from simulacra.nets.causal_layers import Gated, Residual
from simulacra.nets.causal_network import Stacks
from simulacra.nets.causal_rows import Attending as OverTime
from simulacra.nets.causal_rows import Recurrent
from simulacra.nets.cell_outputs import Levels, Logistics, Together
from simulacra.nets.class_heads import Auxiliary
from simulacra.nets.code_prior import CausalPrior
from simulacra.nets.codebooks import FSQ, VQ
from simulacra.nets.codegrids import CodesByLayout, Grid, Places
from simulacra.nets.decoder import Decoder as DecoderSettings
from simulacra.nets.decoder import recomputed
from simulacra.nets.density_heads import Flexible
from simulacra.nets.dequantise import Standardised
from simulacra.nets.encoder_decoder import EncoderDecoder
from simulacra.nets.fourier import Fourier
from simulacra.nets.frame_heads import Nade, independent
from simulacra.nets.heads import gaussian
from simulacra.nets.learned_places import LearnedPlaces
from simulacra.nets.magnitude_preserving import MagnitudePreserving
from simulacra.nets.missingness import SelfMasking
from simulacra.nets.picture_coder import PictureCoder
from simulacra.nets.projected import Projected
from simulacra.nets.remedies import Deviated, Pack, Remedies, TopK, Unrolled
from simulacra.nets.residual_unet import ResidualUNet
from simulacra.nets.self_supervised import EncoderConfig
from simulacra.nets.spreading import Noisy, Variational
from simulacra.nets.styles import Adaptive
from simulacra.nets.text_encoder import Convolved
from simulacra.nets.tokens import Bidirectional, RowsOrShape
from simulacra.uses.compress import compress, decompress

INFINITE = math.inf
KINDS = Classes(names=("a", "b", "c"))
PLANE = Space(fields={"point": Continuous(low=-INFINITE, high=INFINITE, shape=(2,))}, measure="plane")
PICTURES = Space(
    fields={"picture": Continuous(low=-1, high=1, levels=256, shape=(1, 8, 8))}, y=KINDS, measure="8-bit pixels"
)
COLOUR = Space(fields={"picture": Continuous(low=-1, high=1, levels=256, shape=(3, 9, 8))}, measure="8-bit pixels")
RGB = Space(
    fields={"picture": Continuous(low=-1, high=1, levels=256, shape=(3, 4, 4))}, y=KINDS, measure="8-bit pixels"
)
TWOFOLD = Space(fields=COLOUR.fields, y=Classes(names=("a", "b")), measure="8-bit pixels")
GREY = Space(fields={"picture": Continuous(low=0, high=16, levels=17, shape=(1, 4, 4), centre=5, scale=6)}, y=KINDS,
             measure="5-bit pixels")  # fmt: skip
MOSAIC = Space(fields={"picture": Categorical(k=3, shape=(1, 2, 3))}, measure="tiles")
CAPTIONED = Space(
    fields={"picture": Continuous(low=-1, high=1, levels=4, shape=(2, 3, 3))},
    y=Space(fields={"embedding": Continuous(low=-INFINITE, high=INFINITE, shape=(5,), scale=2)}),
    measure="2-bit pixels",
)
BITS = Space(fields={"picture": Continuous(low=-1, high=1, levels=2, shape=(1, 3, 3))}, measure="binary pixels")
BLOCKS = Space(fields={"picture": Continuous(low=-1, high=1, levels=2, shape=(1, 4, 2))}, measure="binary pixels")
WORDS = Space(fields={"word": Categorical(k=7, shape=(6,), varying=True)}, measure="letters")
SAID = Space(fields={"word": WORDS.only}, y=KINDS, measure="letters")
CODES = Space(fields={"codes": Categorical(k=5, shape=(4,))}, measure="codes")
FRAMES = Space(
    fields={"keys": Categorical(k=4, shape=(6,), varying=True, names=("a", "b", "c", "frame"), sizes=(0, 0, 0, 1))},
    measure="frames",
)
ROLLS = Space(
    fields={"roll": Categorical(k=2, shape=(5, 4), varying=True, sizes=(0.25, 0.25))}, measure="four-key frames"
)
STEPPED = Space(fields={"mark": Continuous(low=1, high=3, levels=3, shape=(3, 2), centre=2)}, y=KINDS, measure="marks")
CHOSEN_CODES = Space(fields={"codes": Categorical(k=3, shape=(5,), sizes=(1, 2, 3))}, y=KINDS, measure="bytes")
TABLE = Space(
    fields={
        "age": Continuous(low=0, high=INFINITE, centre=40, scale=10),
        "job": Categorical(k=5),
        "mark": Continuous(low=1, high=5, levels=5, centre=3, scale=1.5),
    },
    y=KINDS,
    missing=("age", "job"),
    measure="columns",
)
COUNTED = Space(
    fields={"job": Categorical(k=5), "mark": Continuous(low=1, high=5, levels=5, centre=3), "home": Categorical(k=2)},
    y=KINDS,
    missing=("job",),
    measure="columns",
)
MIXED = Space(
    fields={
        "share": Continuous(low=0, high=1, centre=0.5, scale=0.3),
        "job": Categorical(k=70),
        "wage": Continuous(low=-INFINITE, high=INFINITE, centre=2, scale=3),
        "home": Categorical(k=2),
    },
    measure="columns",
)
FULL = Space(fields=COUNTED.fields, y=KINDS, measure="columns")
NINE = Space(fields={"picture": Continuous(low=0, high=2, levels=3, shape=(2, 9, 8))}, y=KINDS, measure="three greys")
CHOSEN = Space(fields={"point": PLANE.only}, y=KINDS, measure="plane")
UNIT = Space(
    fields={
        "share": Continuous(low=0, high=1, centre=0.5, scale=0.3),
        "time": Continuous(low=0, high=INFINITE, centre=2, scale=1),
    },
    measure="shares and times",
)
MARKS = Space(
    fields={"mark": Continuous(low=1, high=5, levels=5, shape=(2,), centre=3, scale=1.4)}, y=KINDS, measure="marks"
)
LINE = Space(fields={"x": Continuous(low=-INFINITE, high=INFINITE, centre=3, scale=2)}, measure="line")
LOCATED = Space(
    fields={"x": Continuous(low=-INFINITE, high=INFINITE, shape=(3,))},
    y=Space(fields={"a": Continuous(low=-INFINITE, high=INFINITE, shape=(2,)), "b": Categorical(k=3)}),
    measure="three coordinates",
)
COARSE = Space(fields={"coarse": Continuous(low=-1, high=1, shape=(1, 4, 4))}, measure="means of 8-bit pixels")
ENLARGED = Space(fields=COLOUR.fields, y=COARSE, measure="8-bit pixels")
SENTENCES = Space(
    fields={"target": Categorical(k=4, shape=(5,), varying=True, sizes=(1, 2, 1, 3))},
    y=Space(fields={"source": Categorical(k=6, shape=(7,), varying=True)}, measure="source tokens"),
    measure="bytes",
)
WRITTEN = Space(fields=PLANE.fields, y=WORDS, measure="plane")
POINTS = Space(fields={"picture": Continuous(low=-INFINITE, high=INFINITE, shape=(2, 2, 4))}, y=KINDS, measure="points")
NUMBERS = Space(
    fields={"age": Continuous(low=0, high=INFINITE, centre=40, scale=10), "mark": Continuous(low=1, high=5, levels=5)},
    measure="columns",
)

REGISTER = Space(
    fields={
        "age": Continuous(low=-INFINITE, high=INFINITE, centre=40, scale=10),
        "height": Continuous(low=-INFINITE, high=INFINITE, centre=170, scale=8),
        "job": Categorical(k=4),
        "home": Categorical(k=3),
    },
    y=KINDS,
    missing=("age", "height", "job"),
    measure="columns in their own units",
)
BOXED = Space(
    fields={"share": Continuous(low=0, high=1, centre=0.5, scale=0.3), "x": LINE.only}, measure="shares and numbers"
)


def mixture(space: Space, **settings: Any) -> Callable[[], GaussianMixture]:
    return lambda: GaussianMixture(GaussianMixtureConfig(**{"components": (3,), **settings}), space, rng=1)


def copula(space: Space) -> Callable[[], Copula]:
    return lambda: Copula(CopulaConfig(iterations=6, draws=4, knots=8), space, rng=1)


def network(space: Space, structure: Any) -> Callable[[], BayesianNetwork]:
    return lambda: BayesianNetwork(BayesianNetworkConfig(structure=structure, bins=5, knots=8), space, rng=1)


TRACKS = Space(
    fields={"place": Continuous(low=-INFINITE, high=INFINITE, shape=(5, 2), varying=True)}, y=KINDS, measure="places"
)


def markov(space: Space) -> Callable[[], HiddenMarkov]:
    return lambda: HiddenMarkov(HiddenMarkovConfig(states=3), space, rng=1)


def kernels(space: Space) -> Callable[[], KernelDensity]:
    return lambda: KernelDensity(KernelDensityConfig(rows=80, tries=20), space, rng=1)


def naive(space: Space) -> Callable[[], NaiveBayes]:
    return lambda: NaiveBayes(NaiveBayesConfig(), space, rng=1)


def smote(space: Space) -> Callable[[], SMOTE]:
    return lambda: SMOTE(SMOTEConfig(rows=80), space, rng=1)


def vae(space: Space, **settings: Any) -> Callable[[], VAE]:
    return lambda: VAE(VAEConfig(latent=3, **settings), space, rng=1)


def factor_vae(space: Space, **settings: Any) -> Callable[[], FactorVAE]:
    return lambda: FactorVAE(FactorVAEConfig(latent=3, discriminator=(16,), **settings), space, rng=1)


def any_order(space: Space, **settings: Any) -> Callable[[], AnyOrder]:
    return lambda: AnyOrder(AnyOrderConfig(width=16, depth=2, heads=2, **settings), space, rng=1)


def table_gan(space: Space, **settings: Any) -> Callable[[], TableGAN]:
    small: dict[str, Any] = {"latent": 4, "generator": (16,), "critic": (16,), "pack": 2}
    return lambda: TableGAN(TableGANConfig(**{**small, **settings}), space, rng=1)


def mixed_diffusion(space: Space) -> Callable[[], MixedDiffusion]:
    return lambda: MixedDiffusion(MixedDiffusionConfig(backbone=denoisers.Dense(width=16, depth=1)), space, rng=1)


def gan(space: Space, **settings: Any) -> Callable[[], GAN]:
    return lambda: GAN(GANConfig(latent=3, generator=(16,), critic=(16,), **settings), space, rng=1)


def dcgan(space: Space, **settings: Any) -> Callable[[], DCGAN]:
    return lambda: DCGAN(DCGANConfig(latent=4, width=4, **settings), space, rng=1)


def stylegan(space: Space, **settings: Any) -> Callable[[], StyleGAN]:
    small = StyleGANConfig(latent=4, style=6, mapping=2, base=32, widest=6, **settings)
    return lambda: StyleGAN(small, space, rng=1)


def r3gan(space: Space, **settings: Any) -> Callable[[], R3GAN]:
    small = R3GANConfig(latent=4, width=4, widest=8, blocks=1, channels_a_group=4, **settings)
    return lambda: R3GAN(small, space, rng=1)


def biggan(space: Space, **settings: Any) -> Callable[[], BigGAN]:
    return lambda: BigGAN(BigGANConfig(chunk=3, shared=4, width=8, widest=8, **settings), space, rng=1)


def cyclegan(space: Space, **settings: Any) -> Callable[[], CycleGAN]:
    small = CycleGANConfig(width=4, blocks=1, halvings=2, past=5, **settings)
    return lambda: CycleGAN(small, space, rng=1)


def pix2pix(space: Space, **settings: Any) -> Callable[[], Pix2Pix]:
    return lambda: Pix2Pix(Pix2PixConfig(width=4, levels=3, halvings=2, **settings), space, rng=1)


def hvae(space: Space, **settings: Any) -> Callable[[], HVAE]:
    return lambda: HVAE(HVAEConfig(groups=(1, 1), latent=2, width=4, **settings), space, rng=1)


def autoencoder_kl(space: Space, **settings: Any) -> Callable[[], AutoencoderKL]:
    network = PictureCoder(widths=(4, 8), channels=2, groups=2)
    return lambda: AutoencoderKL(AutoencoderKLConfig(network=network, **settings), space, rng=1)


def vqvae(space: Space, **settings: Any) -> Callable[[], VQVAE]:
    config = VQVAEConfig(
        **{"codebook": VQ(k=8, channels=3), **settings},
        networks=CodesByLayout(grid=Grid(width=8, halvings=1, blocks=1), other=Places(count=3)),
        prior=CausalPrior(width=8, depth=1, heads=2),
    )
    return lambda: VQVAE(config, space, rng=1)


def flows(space: Space, transforms: Callable[..., Any] = nsf_coupling) -> Callable[[], Any]:
    return lambda: flow(FlowConfig(transforms=transforms(layers=3, hidden=(16, 16))), space, rng=1)


def glow(space: Space, **settings: Any) -> Callable[[], Glow]:
    return lambda: Glow(GlowConfig(levels=2, steps=1, width=8, **settings), space, rng=1)


def tarflow(space: Space, **settings: Any) -> Callable[[], TarFlow]:
    return lambda: TarFlow(TarFlowConfig(blocks=2, depth=1, width=16, **settings), space, rng=1)


def pixelcnn(space: Space, *layers: Any, **settings: Any) -> Callable[[], Raster]:
    config = PixelCNNConfig(network=Stacks(layers=layers, width=8, first=3), **settings)
    return lambda: build_pixelcnn(config, space, rng=1)


def transformer(space: Space, **network: Any) -> Callable[[], Sequences]:
    small = DecoderSettings(**{"depth": 2, "aspect": 8, "head": 4, **network})
    return lambda: build_transformer(TransformerConfig(network=small), space, rng=1)


def frames(space: Space, head: Any, network: Any = None) -> Callable[[], FrameSequences]:
    network = network or OverTime(width=8, depth=1, heads=2)
    return lambda: build_frames(FramesConfig(network=network, head=head), space, rng=1)


def sequence_vae(space: Space, **networks: Any) -> Callable[[], SequenceVAE]:
    small = {"encoder": Recurrent(width=8), "decoder": Recurrent(width=8), **networks}
    return lambda: SequenceVAE(SequenceVAEConfig(latent=3, objective=elbo, **small), space, rng=1)


def seq2seq(space: Space, dropout: float, smoothing: float) -> Callable[[], Seq2Seq]:
    config = Seq2SeqConfig(network=EncoderDecoder(depth=2, aspect=8, head=4, dropout=dropout), smoothing=smoothing)
    return lambda: Seq2Seq(config, space, rng=1)


def diffusion(space: Space, **settings: Any) -> Callable[[], Any]:
    small: Any = {"backbone": denoisers.ByShape(
        grid=denoisers.Convolutional(width=8, blocks=1), vector=denoisers.Dense(width=16, depth=1)
    )}  # fmt: skip
    return lambda: build_diffusion(DiffusionConfig(**{**small, **settings}), space, rng=1)


def consistency(space: Space, **settings: Any) -> Callable[[], Consistency]:
    small: Any = {"backbone": denoisers.ByShape(
        grid=denoisers.Convolutional(width=8, blocks=1), vector=denoisers.Dense(width=16, depth=1)
    )}  # fmt: skip
    return lambda: Consistency(ConsistencyConfig(**{**small, **settings}), space, rng=1)


def flow_matching(space: Space, **settings: Any) -> Callable[[], Any]:
    small: Any = {"backbone": denoisers.ByShape(
        grid=denoisers.Convolutional(width=8, blocks=1), vector=denoisers.Dense(width=16, depth=1)
    )}  # fmt: skip
    return lambda: build_flow_matching(FlowMatchingConfig(**{**small, **settings}), space, rng=1)


def reflow(space: Space) -> Callable[[], Any]:
    def make() -> Any:
        model = flow_matching(space, coupling=Reflow(steps=2, guidance=1.5))()
        # a flow that has learnt nothing moves nothing, and there would be nothing to learn of it
        weights = {name: t + 0.05 for name, t in flow_matching(space)().state_dict().items()}
        model.learn_from(weights)
        return model

    return make


def discrete_diffusion(space: Space, **settings: Any) -> Callable[[], DiscreteDiffusion]:
    small: Any = {"backbone": RowsOrShape(
        rows=Bidirectional(width=16, depth=1, heads=2),
        other=denoisers.ByShape(
            grid=denoisers.Convolutional(width=8, blocks=1), vector=denoisers.Dense(width=16, depth=1)
        ),
    )}  # fmt: skip
    return lambda: DiscreteDiffusion(DiscreteDiffusionConfig(**{**small, **settings}), space, rng=1)


READER = Convolved(width=16, depth=1, heads=4)
GRADIENT_PENALTY = (Regulariser(penalty=gradient_penalty, weight=10.0),)
LAZY = (Regulariser(penalty=r1, weight=1.0, every=16),)
ROWS: dict[str, Callable[[], Any]] = {
    "vae, pictures with labels": vae(PICTURES),
    "vae, bits": vae(BITS),
    "vae, plane": vae(PLANE),
    "vae, words": vae(WORDS),
    "vae, table with labels": vae(TABLE),
    "vae, mixed columns": vae(MIXED, likelihood=Flexible(components=3)),
    "vae, importance weighted": vae(BITS, objective=iwae, draws=3),
    "vae, register that hides itself": vae(REGISTER, objective=iwae, draws=3, missingness=SelfMasking()),
    "factor_vae, pictures with labels": factor_vae(PICTURES),
    "factor_vae, plane": factor_vae(PLANE),
    "factor_vae, words": factor_vae(WORDS),
    "hvae, pictures with labels": hvae(PICTURES),
    "hvae, colour": hvae(COLOUR),
    "hvae, bits": hvae(BITS, objective=FreeBits(nats=0.01)),
    "hvae, table with labels": hvae(TABLE),
    "autoencoder_kl, pictures with labels": autoencoder_kl(PICTURES),
    "autoencoder_kl, colour": autoencoder_kl(COLOUR, likelihood=gaussian),
    "autoencoder_kl, bits": autoencoder_kl(BITS, beta=1.0),
    "vqvae, pictures with labels": vqvae(PICTURES),
    "vqvae, colour": vqvae(COLOUR, codebook=FSQ(levels=(4, 3))),
    "vqvae, bits": vqvae(BITS),
    "vqvae, words": vqvae(WORDS),
    "vqvae, table with labels": vqvae(TABLE),
    "vqvae, plane": vqvae(PLANE, codebook=FSQ(levels=(3, 3))),
    "any_order, table with labels": any_order(TABLE),
    "any_order, counted": any_order(COUNTED, orders=every_order),
    "any_order, two numbers": any_order(UNIT),
    "any_order, mixed columns": any_order(MIXED, likelihood=Flexible(components=2)),
    "mixed_diffusion, mixed columns": mixed_diffusion(MIXED),
    "mixed_diffusion, counted with labels": mixed_diffusion(FULL),
    "mixed_diffusion, numbers": mixed_diffusion(NUMBERS),
    "table_gan, mixed columns": table_gan(MIXED),
    "table_gan, counted with labels": table_gan(FULL, pack=3, game=Hinge(), regularisers=()),
    "table_gan, two numbers": table_gan(UNIT, dropout=0.0, game=Relativistic()),
    "gan, plane": gan(PLANE),
    "gan, pictures with labels": gan(PICTURES),
    "gan, table": gan(NUMBERS),
    "gan, wasserstein": gan(PLANE, game=Wasserstein(), regularisers=GRADIENT_PENALTY),
    "gan, steep": gan(PLANE, activation=steep_tanh),
    "gan, waves with labels": gan(PICTURES, features=Fourier(count=4)),
    "gan, lazy": gan(PLANE, game=NonSaturating(), regularisers=LAZY),
    "gan, packed": gan(PICTURES, remedies=Remedies(pack=Pack(size=2))),
    "gan, looking ahead": gan(PLANE, remedies=Remedies(unroll=Unrolled(steps=2))),
    "gan, told of its batch, the best of it": gan(
        PLANE, game=NonSaturating(), regularisers=(), remedies=Remedies(deviation=Deviated(), top=TopK())
    ),
    "gan, noise of its own": gan(PLANE, noise=0.1),
    "diffusion, plane": diffusion(PLANE),
    "diffusion, pictures with labels": diffusion(PICTURES),
    "diffusion, bits": diffusion(BITS),
    "diffusion, table": diffusion(NUMBERS, preconditioning=preconditioning.v),
    "diffusion, public layout": diffusion(
        PICTURES, backbone=ResidualUNet(widths=(8, 8), attention=(False, True), groups=4, head=4, blocks=1)
    ),
    "diffusion, magnitudes kept": diffusion(PICTURES, backbone=MagnitudePreserving(width=8, blocks=1)),
    "flow_matching, magnitudes kept": flow_matching(BITS, backbone=MagnitudePreserving(width=8, blocks=1)),
    "consistency, plane": consistency(PLANE),
    "consistency, pictures with labels": consistency(PICTURES, target=FromTeacher(guidance=1.5), curriculum=Refining()),
    "consistency, bits": consistency(BITS, preconditioning=preconditioning.v),
    "consistency, table": consistency(NUMBERS, curriculum=Refining()),
    "flow_matching, plane": flow_matching(PLANE),
    "flow_matching, pictures with labels": flow_matching(PICTURES, coupling=couplings.optimal_transport),
    "flow_matching, bits": flow_matching(BITS),
    "flow_matching, table": flow_matching(NUMBERS),
    "flow_matching, reflow": reflow(CHOSEN),
    "diffusion, patches": diffusion(PICTURES, backbone=denoisers.DiT(patch=4, width=16, depth=1, heads=2)),
    "discrete_diffusion, bits": discrete_diffusion(BITS),
    "discrete_diffusion, uniform bits": discrete_diffusion(BITS, noise=Uniform(), schedule=Straight()),
    "discrete_diffusion, pictures with labels": discrete_diffusion(NINE),
    "discrete_diffusion, tiles": discrete_diffusion(MOSAIC, noise=Uniform()),
    "discrete_diffusion, words": discrete_diffusion(WORDS),
    "discrete_diffusion, table with labels": discrete_diffusion(COUNTED, schedule=Straight()),
    "discrete_diffusion, uniform table with labels": discrete_diffusion(COUNTED, noise=Uniform()),
    "diffusion, given a vector": diffusion(LOCATED),
    "diffusion, given a picture": diffusion(ENLARGED),
    "diffusion, given words": diffusion(WRITTEN, text=READER),
    "flow_matching, given a vector": flow_matching(LOCATED, coupling=couplings.optimal_transport),
    "flow_matching, given a picture": flow_matching(ENLARGED),
    "flow_matching, given words": flow_matching(WRITTEN, text=READER),
    "dcgan, pictures with labels": dcgan(PICTURES),
    "dcgan, colour": dcgan(COLOUR),
    "dcgan, packed": dcgan(PICTURES, remedies=Remedies(pack=Pack(size=2), deviation=Deviated())),
    "dcgan, wasserstein": dcgan(COLOUR, game=Wasserstein(), regularisers=GRADIENT_PENALTY),
    "dcgan, mild changes": dcgan(PICTURES, augment=DiffAugment()),
    "dcgan, auxiliary classifier": dcgan(PICTURES, auxiliary=Auxiliary()),
    "stylegan, pictures with labels": stylegan(PICTURES),
    "dcgan, projected critic": dcgan(
        PICTURES, projected=Projected(encoder=EncoderConfig(examples=256, features=4, channels=4), channels=4)
    ),
    "stylegan, packed": stylegan(PICTURES, remedies=Remedies(pack=Pack(size=2))),
    "stylegan, adaptive norms, colour": stylegan(COLOUR, synthesis=Adaptive(), path_length=None, mixing=0.0),
    "r3gan, pictures with labels": r3gan(PICTURES),
    "r3gan, colour": r3gan(COLOUR),
    "r3gan, packed": r3gan(PICTURES, remedies=Remedies(pack=Pack(size=2))),
    "r3gan, adaptive changes": r3gan(COLOUR, augment=ADA(pictures=64)),
    "biggan, pictures with labels": biggan(PICTURES),
    "biggan, colour": biggan(COLOUR, alike=0.0, rounds=1),
    "biggan, packed, top-k": biggan(PICTURES, remedies=Remedies(pack=Pack(size=2), top=TopK())),
    "biggan, auxiliary classifier": biggan(PICTURES, auxiliary=Auxiliary()),
    "cyclegan, two classes": cyclegan(TWOFOLD),
    "cyclegan, two classes, non-saturating": cyclegan(TWOFOLD, game=NonSaturating()),
    "pix2pix, given a picture": pix2pix(ENLARGED),
    "pix2pix, given a picture, relativistic": pix2pix(ENLARGED, game=Relativistic(), dropout=0.0),
    "flow, plane": flows(PLANE),
    "flow, plane with labels": flows(CHOSEN, nsf_autoregressive),
    "flow, bounded": flows(UNIT),
    "flow, numbers": flows(NUMBERS, maf),
    "flow, marks with labels": flows(MARKS, realnvp),
    "flow, pictures with labels": flows(PICTURES, nsf_coupling),
    "flow, columns with labels": flows(FULL),
    "flow, codes": flows(CODES, maf),
    "flow, line": flows(LINE, nsf_autoregressive),
    "flow, volumes kept": flows(PLANE, nice),
    "flow, inverse": flows(PLANE, iaf),
    "flow, given another space": flows(LOCATED, maf),
    "glow, pictures with labels": glow(PICTURES),
    "glow, colour": glow(COLOUR),
    "glow, bits": glow(BITS),
    "glow, points with labels": glow(POINTS),
    "glow, variational": glow(BITS, dequantise=Variational(steps=2, width=8)),
    "tarflow, pictures with labels": tarflow(PICTURES, patch=4),
    "tarflow, bits": tarflow(BITS, patch=1),
    "tarflow, points with labels": tarflow(POINTS),
    "tarflow, noisy": tarflow(BITS, patch=1, dequantise=Noisy(sigma=0.5), chart=Standardised),
    "pixelcnn, bits": pixelcnn(BITS, Gated(), Gated()),
    "pixelcnn, levels with labels": pixelcnn(GREY, Gated(), Residual(), output=Levels(hidden=16)),
    "pixelcnn, colour with labels": pixelcnn(RGB, Residual(), output=Logistics(components=3)),
    "pixelcnn, tiles": pixelcnn(MOSAIC, Gated(), output=Levels(hidden=8)),
    "pixelcnn, blocks": pixelcnn(
        BLOCKS, Residual(dropout=0.3), Attention(heads=2), output=Together(hidden=16), block=(2, 1)
    ),
    "pixelcnn, given a vector": pixelcnn(CAPTIONED, Gated(), Attention(heads=2), output=Levels(hidden=8)),
    "transformer, words": transformer(WORDS),
    "transformer, words with labels": transformer(SAID, shared=2, memory=recomputed),
    "transformer, frames": transformer(FRAMES),
    "transformer, codes": transformer(CODES, window=2),
    "transformer, codes with labels": transformer(CHOSEN_CODES, shared=4),
    "frames, rolls": frames(ROLLS, Nade(hidden=6)),
    "frames, rolls, keys apart": frames(ROLLS, independent, Recurrent(width=8)),
    "frames, marks with labels": frames(STEPPED, Nade(hidden=6, depth=0), Recurrent(width=8, depth=2)),
    "frames, words with labels": frames(SAID, independent),
    "sequence_vae, words": sequence_vae(WORDS),
    "sequence_vae, codes with labels": sequence_vae(CHOSEN_CODES, decoder=OverTime(width=8, depth=1, heads=2)),
    "transformer, learned places": transformer(WORDS, layers=LearnedPlaces(places=12, hidden=24)),
    "seq2seq, given sentences": seq2seq(SENTENCES, 0.0, 0.0),
    "seq2seq, given words, some features left out": seq2seq(
        Space(fields=WORDS.fields, y=WORDS, measure="letters"), 0.2, 0.1
    ),
    "gaussian_mixture, plane": mixture(PLANE, components=(1, 2, 4)),
    "gaussian_mixture, plane with labels": mixture(CHOSEN, covariances=Independent()),
    "gaussian_mixture, table with labels": mixture(TABLE),
    "gaussian_mixture, register": mixture(REGISTER, covariances=Shared()),
    "gaussian_mixture, boxed": mixture(BOXED, components=(1,)),
    "gaussian_mixture, pictures with labels": mixture(PICTURES, covariances=Factors(rank=2)),
    "gaussian_mixture, tiles": mixture(MOSAIC),
    "gaussian_mixture, normal scores": mixture(PLANE, knots=8),
    "copula, plane": copula(PLANE),
    "copula, table with labels": copula(TABLE),
    "copula, register": copula(REGISTER),
    "copula, tiles": copula(MOSAIC),
    "bayesian_network, plane": network(PLANE, ChowLiu()),
    "bayesian_network, table with labels": network(TABLE, ChowLiu()),
    "bayesian_network, register": network(REGISTER, Greedy(parents=2)),
    "bayesian_network, codes with labels": network(CHOSEN_CODES, Greedy(parents=3)),
    "hidden_markov, words": markov(WORDS),
    "hidden_markov, words with labels": markov(SAID),
    "hidden_markov, codes": markov(CODES),
    "hidden_markov, tracks with labels": markov(TRACKS),
    "kernel_density, plane": kernels(PLANE),
    "kernel_density, table with labels": kernels(TABLE),
    "kernel_density, register": kernels(REGISTER),
    "kernel_density, codes with labels": kernels(CHOSEN_CODES),
    "naive_bayes, plane": naive(PLANE),
    "naive_bayes, table with labels": naive(TABLE),
    "naive_bayes, register": naive(REGISTER),
    "naive_bayes, pictures with labels": naive(PICTURES),
    "smote, plane": smote(PLANE),
    "smote, table with labels": smote(TABLE),
    "smote, pictures with labels": smote(PICTURES),
}

# what each family can do, so that a lost method is noticed and does not pass as "not applicable"
CAN: dict[str, set[type[Any]]] = {
    "vae": {Learner, Fitter, Sampler, Likelihood, Decoder, Codec, LatentVariable, Factorised, Completer, Labelled},
    "factor_vae": {
        Learner,
        Fitter,
        Sampler,
        Likelihood,
        Decoder,
        Codec,
        LatentVariable,
        Factorised,
        Completer,
        Labelled,
    },
    "hvae": {Learner, Fitter, Sampler, Likelihood, Decoder, Codec, LatentVariable, Factorised, Completer, Labelled},
    "autoencoder_kl": {Learner, Likelihood, Decoder, Codec, LatentVariable, Factorised},
    "vqvae": {Learner, Fitter, Sampler, Likelihood, Decoder, Codec, Labelled},
    "mixed_diffusion": {Learner, Fitter, Sampler, Likelihood, Completer, Labelled},
    "table_gan": {Learner, Fitter, Sampler, Labelled},
    "any_order": {Learner, Fitter, Sampler, Likelihood, Completer, Labelled},
    "diffusion": {Learner, Fitter, Sampler, Likelihood, Decoder, Completer, Denoiser, Labelled},
    "consistency": {Learner, Fitter, Sampler, Decoder, Completer, Labelled},
    "discrete_diffusion": {Learner, Fitter, Sampler, Likelihood, Completer, Labelled},
    **{
        f"diffusion, given {what}": {Learner, Fitter, ConditionalSampler, Likelihood, Decoder, Completer, Denoiser}
        for what in ("a vector", "a picture", "words")
    },
    "flow_matching": {Learner, Fitter, Sampler, Likelihood, Decoder, Labelled},
    **{
        f"flow_matching, given {what}": {Learner, ConditionalSampler, Likelihood, Decoder}
        for what in ("a vector", "a picture", "words")
    },
    "gan": {Learner, Fitter, Sampler, Decoder, Critic, Labelled},
    "dcgan": {Learner, Fitter, Sampler, Decoder, Critic, Labelled},
    "stylegan": {Learner, Fitter, Sampler, Decoder, Critic, Labelled},
    "r3gan": {Learner, Fitter, Sampler, Decoder, Critic, Labelled},
    "biggan": {Learner, Fitter, Sampler, Decoder, Critic, Labelled},
    "cyclegan": {Learner, Translator},
    "pix2pix": {Learner, ConditionalSampler},
    "flow": {Learner, Fitter, Sampler, Likelihood, Decoder, Invertible, Labelled},
    "flow, given another space": {Learner, ConditionalSampler, Likelihood, Decoder, Invertible},
    "glow": {Learner, Fitter, Sampler, Likelihood, Decoder, Codec, Invertible, Labelled},
    "tarflow": {Learner, Fitter, Sampler, Likelihood, Decoder, Codec, Invertible, Labelled},
    "pixelcnn": {Learner, Fitter, Sampler, Likelihood, Completer, Labelled, Stepwise},
    "transformer": {Learner, Fitter, Sampler, Likelihood, LogProb, Labelled},
    "transformer, codes": {Learner, Fitter, Sampler, Likelihood, LogProb, Labelled, Stepwise},
    "transformer, codes with labels": {Learner, Fitter, Sampler, Likelihood, LogProb, Labelled, Stepwise},
    "frames": {Learner, Fitter, Sampler, Likelihood, LogProb, Completer, Labelled},
    "frames, marks with labels": {Learner, Fitter, Sampler, Likelihood, LogProb, Completer, Labelled, Stepwise},
    "sequence_vae": {Learner, Fitter, Sampler, Likelihood, Decoder, Codec, LatentVariable, Labelled},
    "seq2seq": {Learner, ConditionalSampler, Searcher, Attentive, Likelihood},
    "pixelcnn, given a vector": {Learner, ConditionalSampler, Likelihood, Completer, Stepwise},
    "gaussian_mixture": {Fitter, Sampler, Likelihood, Completer, Labelled},
    "copula": {Fitter, Sampler, Likelihood, Completer, Labelled},
    "bayesian_network": {Fitter, Sampler, Likelihood, Completer, Labelled},
    "hidden_markov": {Fitter, Sampler, Likelihood, Completer, Labelled},
    "kernel_density": {Fitter, Sampler, Likelihood, Completer, Labelled},
    "naive_bayes": {Fitter, Sampler, Likelihood, Completer, Labelled},
    "smote": {Fitter, Sampler, Labelled},
}


def can(row: str) -> set[type[Any]]:
    """What a row's model can do: its family's, unless the row has an entry of its own."""
    return CAN.get(row, CAN[row.partition(",")[0]])


# a VAE of any kind completes by a chain of many sweeps: of the laws that ask it to, the quick tests try one row
CHAINS = {"known kept", "completed in space", "unknown unseen", "completed alone", "untouched", "saved and loaded",
          "fitted alike"}  # fmt: skip
QUICK = "vae, table with labels"
# a diffusion model takes many steps for everything: the quick tests ask all of the plane, the rest of its rows less
STEPS = {*CHAINS, "scored alone", "decoded alone", "labels summed out", "prefix", "parts", "decoded", "given rows"}
DRAWING = {"marginal of labels", "determined", "in space", "labels kept"}

# of rows that draw and score as others of their family do: how they learn
QUICK_LAWS = {"gradients", "everyone moves", "loss is a sum", "loss determined", "saved and loaded", "in space"}


def slow(row: str, law: str) -> bool:
    """Whether a row's law is left to the slow tests."""
    family = row.partition(",")[0]
    if row.endswith(("magnitudes kept", "reflow")):
        return law not in QUICK_LAWS
    if family in ("consistency", "diffusion", "discrete_diffusion", "flow_matching"):
        drawing = STEPS if family != "discrete_diffusion" else STEPS | DRAWING
        return row not in (f"{family}, plane", f"{family}, bits") and law in drawing
    return family in ("vae", "factor_vae", "hvae") and row != QUICK and law in CHAINS


def applicable() -> list[Any]:
    return [
        pytest.param(
            make,
            law,
            id=f"{row}: {law.name}",
            marks=[pytest.mark.slow] if slow(row, law.name) else [],
        )
        for row, make in ROWS.items()
        for law in laws.LAWS
        if set(law.needs) <= can(row)
    ]


@pytest.mark.parametrize(("make", "law"), applicable())
def test_law(make: Callable[[], Any], law: Law):
    result = law(Subject(make=make, data=drawn(make().space, 64, Rng(0)), rng=Rng(0)))
    assert not result.failed, result.detail


@pytest.mark.parametrize("row", [row for row in ROWS if ", given" in row])
def test_what_is_given_another_space_promises_no_draws_without_it(row: str):
    assert not {Sampler, Labelled} & set(capabilities(ROWS[row]()))


@pytest.mark.parametrize("row", ROWS)
def test_it_can_do_what_it_is_said_to(row: str):
    assert can(row) <= set(capabilities(ROWS[row]()))


def codable() -> list[str]:
    """Rows whose model gives exact or latent probabilities of countable values, under classes or nothing."""
    found = []
    for row, make in ROWS.items():
        space, able = make().space, can(row)
        counted = all(isinstance(f, Categorical) or f.levels is not None for f in space.fields.values())
        fixed = not any(f.varying for f in space.fields.values()) and not isinstance(space.y, Space)
        if counted and fixed and (Stepwise in able or {Codec, Factorised} <= able):
            found.append(row)
    return found


@pytest.mark.parametrize("row", codable())
def test_what_it_compresses_comes_back(row: str):
    model = ROWS[row]()
    batch = drawn(model.space, 3, Rng(0)).batch(torch.arange(3), Rng(0))
    again = decompress(model, compress(model, batch.x, y=batch.y))
    assert torch.equal(again.x, batch.x)
    assert (again.y is None and batch.y is None) or torch.equal(again.y, batch.y)


def test_every_family_has_its_rows():
    there = {module.name for module in pkgutil.iter_modules(simulacra.families.__path__)}
    assert there == {name for name in CAN if "," not in name} == {row.partition(",")[0] for row in ROWS}
