"""What residual critics and class-conditional generators are made of: spectral norm, conditional batch norm, attention.

Miyato et al. 2018 (spectral normalisation), Miyato & Koyama 2018 (projection), Zhang et al. 2019 (self-attention),
Brock et al. 2018 (orthogonal weights and their regularisation).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.core.randomness import Rng
from simulacra.nets.initialise import Scheme
from simulacra.nets.norm import BatchNorm

EPS = 1e-8


class SpectralNorm(nn.Module):
    """The factor 1 / sigma(W), sigma the largest singular value of W (out, the rest): Miyato et al. 2018, algorithm 1.

    While training, unless ``held``, each use takes one step of the power iteration; in evaluation mode u and v are
    left as they are, so that scores depend on nothing but the example. Neither gets a gradient (ibid., eq. 9-12).
    """

    u: Tensor
    v: Tensor

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.held = False
        self.register_buffer("u", torch.empty(shape[0]))
        self.register_buffer("v", torch.empty(shape[1:].numel()))

    @torch.no_grad()
    def begin(self, weight: Tensor, rng: Rng) -> None:
        """Start at random and take fifteen steps, so that the first use is near the truth."""
        self.u.copy_(F.normalize(rng("u").normal(self.u.shape), dim=0, eps=EPS))
        for _ in range(15):
            self.step(weight)

    @torch.no_grad()
    def step(self, weight: Tensor) -> None:
        """v <- W^T u, u <- W v, both of norm 1."""
        w = weight.detach().flatten(1).to(self.u.dtype)
        self.v.copy_(F.normalize(w.T @ self.u, dim=0, eps=EPS))
        self.u.copy_(F.normalize(w @ self.v, dim=0, eps=EPS))

    def forward(self, weight: Tensor) -> Tensor:
        """W / sigma(W)."""
        if self.training and not self.held:
            self.step(weight)
        # copies: a later step must not change what this one's graph holds
        u, v = (t.clone().to(weight.dtype) for t in (self.u, self.v))
        return weight / (u @ (weight.flatten(1) @ v))


class Spectral(nn.Module):
    """A linear layer or convolution whose matrix has largest singular value 1; biases are left free.

    kernel  0: linear, x (..., into); odd: a convolution with zeros around, x (b, into, h, w).
    scheme  how the weight starts; its scale is divided away.
    """

    def __init__(self, into: int, out: int, kernel: int, *, scheme: Scheme, bias: bool = True) -> None:
        super().__init__()
        self.kernel, self.scheme = kernel, scheme
        self.weight = nn.Parameter(torch.empty(out, into, *([kernel] * 2 if kernel else [])))
        self.bias = nn.Parameter(torch.empty(out)) if bias else None
        self.norm = SpectralNorm(self.weight.shape)

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Weight by the scheme, bias zero."""
        self.weight.copy_(self.scheme(self.weight, rng("weight")))
        if self.bias is not None:
            self.bias.zero_()
        self.norm.begin(self.weight, rng("norm"))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.norm(self.weight)
        if not self.kernel:
            return F.linear(x, weight, self.bias)
        return F.conv2d(x, weight, self.bias, padding=self.kernel // 2)


def orthogonal(weight: Tensor, rng: Rng) -> Tensor:
    """A matrix (out, the rest) of orthonormal rows, or columns where there are fewer: Saxe et al. 2014."""
    rows, columns = len(weight), weight[0].numel()
    tall = rng.normal((max(rows, columns), min(rows, columns)), dtype=torch.float64)
    q, r = torch.linalg.qr(tall)
    q = q * r.diagonal().sign()  # without it the draw would lean towards one half of all such matrices
    return (q if rows >= columns else q.T).reshape(weight.shape).to(weight.dtype)


def off_diagonal(weight: Float[Tensor, "out ..."]) -> Float[Tensor, ""]:
    """|W^T W o (1 - I)|_F^2, W's columns being its filters: Brock et al. 2018, eq. 3. Filters may have any norm."""
    filters = weight.flatten(1)
    products = filters @ filters.T
    return products.square().sum() - products.diagonal().square().sum()


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose scales and shifts are linear in a condition (b, d): de Vries et al. 2017; Brock et al., app. B.

    Scales are 1 plus what the condition says. Without a condition (d = 0) they are learnt as they are.
    """

    def __init__(self, channels: int, d: int, *, scheme: Scheme) -> None:
        super().__init__()
        self.norm = BatchNorm(channels, affine=not d)
        self.told = Spectral(d, 2 * channels, 0, scheme=scheme, bias=False) if d else None

    def forward(self, x: Float[Tensor, "b c h w"], given: Tensor | None) -> Float[Tensor, "b c h w"]:
        x = self.norm(x)
        if self.told is None or given is None:
            return x
        scale, shift = self.told(given)[:, :, None, None].chunk(2, dim=1)
        return x * (1 + scale) + shift


class SelfAttention(nn.Module):
    """x + gamma times what each place gathers from all others, gamma 0 at first: Zhang et al. 2019, section 3.

    Queries and keys have an eighth of the channels, values half; keys and values are pooled over 2x2 places
    (Brock et al. 2018's code), an odd last row or column left to the queries.
    """

    def __init__(self, channels: int, *, scheme: Scheme) -> None:
        super().__init__()
        narrow, half = max(1, channels // 8), max(1, channels // 2)
        self.query, self.key = (Spectral(channels, narrow, 1, scheme=scheme, bias=False) for _ in range(2))
        self.value = Spectral(channels, half, 1, scheme=scheme, bias=False)
        self.out = Spectral(half, channels, 1, scheme=scheme, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """As if it were not there; its convolutions start by themselves."""
        self.gamma.zero_()

    def weights(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b places keys"]:
        """How much each place takes of each pooled one; a softmax over these."""
        query, key = self.query(x).flatten(2), F.max_pool2d(self.key(x), 2).flatten(2)
        return torch.softmax(query.transpose(1, 2) @ key, dim=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        value = F.max_pool2d(self.value(x), 2).flatten(2)
        gathered = (value @ self.weights(x).transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.gamma * self.out(gathered)
