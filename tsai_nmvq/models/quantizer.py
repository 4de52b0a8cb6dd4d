"""Vector quantizer: a codebook learnt by moving averages, and stochastic quantization."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .decoding import draw_ids
from .layers import ConfigModule

__all__ = ['VectorQuantizer', 'svq_sample', 'kmeans', 'perplexity', 'code_spacing']


def svq_sample(
    z:Tensor, # Latents [bs, n_tokens, codebook_dim], float
    codebook:Tensor, # Code vectors e_k [codebook_size, codebook_dim]
    tau:float|Tensor|None=None, # Temperature, squared latent distance: one, one a row or a token; None or 0 is nearest
    allowed:Tensor=None, # Codes that may be drawn [codebook_size], bool; all by default
    generator:torch.Generator=None # Source of randomness on the device of `z`
) -> Tensor: # Token ids [bs, n_tokens], int64 in [0, codebook_size)
    "Draw ids with p(k) ∝ exp(-‖z-e_k‖²/tau), in train and eval alike. ValueError if tau < 0. [2501.17553, Eq. 3.1b]"
    distance = _squared_distance(z, codebook, allowed)
    if tau is None: return distance.argmin(-1)
    tau = torch.as_tensor(tau, dtype=distance.dtype, device=distance.device)
    if tau.shape not in ((), z.shape[:1], z.shape[:2]):
        raise ValueError(f"tau has shape {tuple(tau.shape)}, expected one number, one a row [{len(z)}] "
                         f"or one a token {list(z.shape[:2])}")
    if not (tau >= 0).all():
        raise ValueError(f"tau is {tau.tolist()}, expected 0 or more (0 or None picks the nearest code)")
    nearest, tau = distance.argmin(-1), tau.view(len(tau) if tau.ndim else 1, -1, 1)
    safe = tau.clamp(torch.finfo(distance.dtype).tiny, torch.finfo(distance.dtype).max)
    drawn = draw_ids(((distance.amin(-1, keepdim=True) - distance) / safe).exp(), generator)
    return torch.where(tau.squeeze(-1) > 0, drawn, nearest)


def kmeans(
    x:Tensor, # Vectors [n, d]
    k:int, # Clusters
    n_iter:int=10 # Lloyd iterations
) -> tuple: # (centres [k, d], cluster sizes [k]); where n < k some centres stand twice and have size 0
    "Lloyd's k-means from random vectors, on the device of x."
    enough = len(x) >= k
    first = torch.randperm(len(x), device=x.device)[:k] if enough else torch.randint(len(x), (k,), device=x.device)
    centres = x[first]
    for _ in range(n_iter):
        sums, sizes = _cluster_sums(x, _squared_distance(x, centres).argmin(-1), k)
        centres = torch.where(sizes[:, None] > 0, sums / sizes[:, None].clamp_min(1), centres)
    return centres, _cluster_sums(x, _squared_distance(x, centres).argmin(-1), k)[1]


def perplexity(
    counts:Tensor # How often each code was used [codebook_size]
) -> Tensor: # 1 (one code) .. codebook_size (all alike)
    "Exponential of the entropy of code usage."
    p = counts / counts.sum().clamp_min(1)
    return torch.special.entr(p).sum().exp()


class VectorQuantizer(ConfigModule):
    """Nearest-code quantizer with k-means start, moving-average codes and a straight-through gradient.
    [arXiv 1711.00937, appendix A.1]

    A code that no training vector chose for `patience` steps moves onto a random latent of the batch. A code without
    hits keeps its place until then: smoothing its count instead would pull it to the origin, near every latent."""
    codebook:Tensor
    code_sum:Tensor
    cluster_size:Tensor
    idle_steps:Tensor
    used:Tensor
    started:Tensor

    def __init__(self,
        dim:int, # Width of the encoder's output
        codebook_size:int, # Codes K
        codebook_dim:int=8, # Width of a code
        ema_decay:float=0.8, # Decay of the moving averages, 0..1
        commitment_weight:float=1., # Weight of ‖z - sg(e)‖²
        dead_code_threshold:int=None # Steps without a hit after which a code is moved; 0 never; None: see `set_epoch`
    ):
        super().__init__()
        self.codebook_size, self.codebook_dim = codebook_size, codebook_dim
        self.ema_decay, self.commitment_weight = ema_decay, commitment_weight
        self.dead_code_threshold = dead_code_threshold
        self.patience = dead_code_threshold or 0
        self.project_in = nn.Linear(dim, codebook_dim)
        self.project_out = nn.Linear(codebook_dim, dim)
        self.register_buffer('codebook', torch.randn(codebook_size, codebook_dim))
        self.register_buffer('code_sum', self.codebook.clone())
        self.register_buffer('cluster_size', torch.ones(codebook_size))
        self.register_buffer('idle_steps', torch.zeros(codebook_size, dtype=torch.long))
        self.register_buffer('used', torch.ones(codebook_size, dtype=torch.bool))
        self.register_buffer('started', torch.tensor(False))

    def set_epoch(self,
        n_steps:int # Training steps of an epoch
    ):
        "Dead codes wait for an epoch from now on, unless the constructor was told how long."
        if self.dead_code_threshold is None: self.patience = n_steps

    def forward(self,
        h:Tensor # Encoder output [bs, n_tokens, dim]
    ) -> tuple: # (quantised h [bs, n_tokens, dim], token ids [bs, n_tokens], commitment loss)
        "Quantise to the nearest code; in training mode also move the codes."
        z = self.latents(h)
        if self.training: self._start(z.detach())
        tokens = svq_sample(z, self.codebook, allowed=None if self.training else self.used)
        z_q = self.codebook[tokens]
        commitment = self.commitment_weight * F.mse_loss(z, z_q)
        if self.training:
            z_q = z + (z_q - z).detach()
            self._update(z.detach(), tokens)
        return self.project_out(z_q), tokens, commitment

    def latents(self, h:Tensor) -> Tensor: # [bs, n_tokens, dim] -> z [bs, n_tokens, codebook_dim], float32
        "Project the encoder's output to the codes' space."
        return self.project_in(h).float()

    def tokens(self,
        z:Tensor, # Latents [bs, n_tokens, codebook_dim]
        tau:float|Tensor|None=None, # SVQ temperature, see `svq_sample`
        generator:torch.Generator=None # Source of randomness
    ) -> Tensor: # Token ids [bs, n_tokens]
        "Nearest codes, or stochastic ones among those that the training data use."
        return svq_sample(z, self.codebook, tau, self.used, generator)

    def lookup(self, tokens:Tensor) -> Tensor: # Ids [bs, n_tokens] -> quantised h [bs, n_tokens, dim]
        "The decoder's input for these tokens."
        return self.project_out(self.codebook[tokens])

    @torch.no_grad()
    def set_used(self,
        counts:Tensor # How often the training split uses each code [codebook_size]
    ):
        "Only codes with a count may be drawn from now on."
        self.used.copy_(counts.to(self.used.device) > 0)

    def neighbour_distance(self) -> Tensor: # Squared distances [used codes]; empty for a single code
        "How far each used code is from its nearest neighbour."
        codes = self.codebook[self.used]
        d = _squared_distance(codes, codes).clamp_min(0).fill_diagonal_(torch.inf).amin(-1)
        return d[d.isfinite()]

    @torch.no_grad()
    def _start(self, z):
        if self.started: return
        centres, sizes = kmeans(z.flatten(0, 1), self.codebook_size)
        self._place(torch.ones_like(self.used), centres, sizes)
        self.started.fill_(True)

    @torch.no_grad()
    def _update(self, z, tokens):
        z, tokens = z.flatten(0, 1), tokens.flatten()
        sums, sizes = _cluster_sums(z, tokens, self.codebook_size)
        self.cluster_size.lerp_(sizes, 1 - self.ema_decay)
        self.code_sum.lerp_(sums, 1 - self.ema_decay)
        moved = self.code_sum / self.cluster_size[:, None].clamp_min(1e-12)
        self.codebook.copy_(torch.where(sizes[:, None] > 0, moved, self.codebook))
        self.idle_steps.add_(1).masked_fill_(sizes > 0, 0)
        if self.patience:
            dead = self.idle_steps >= self.patience
            latents = z[torch.randint(len(z), (self.codebook_size,), device=z.device)]
            self._place(dead, latents, torch.ones_like(self.cluster_size))

    def _place(self, which, vectors, sizes):
        self.codebook.copy_(torch.where(which[:, None], vectors, self.codebook))
        self.code_sum.copy_(torch.where(which[:, None], vectors * sizes[:, None], self.code_sum))
        self.cluster_size.copy_(torch.where(which, sizes, self.cluster_size))
        self.idle_steps.masked_fill_(which, 0)


def _squared_distance(z, codebook, allowed=None):
    with torch.autocast(z.device.type, enabled=False):
        z, codebook = z.float(), codebook.float()
        d = z.square().sum(-1, keepdim=True) - 2 * z @ codebook.t() + codebook.square().sum(-1)
    return d if allowed is None else d.masked_fill(~allowed, torch.inf)


def _cluster_sums(z, tokens, k):
    sums = z.new_zeros(k, z.shape[-1]).index_add_(0, tokens, z)
    return sums, torch.bincount(tokens, minlength=k).to(z.dtype)


def code_spacing(
    *quantizers:VectorQuantizer # Of one band or of several
) -> float: # Squared latent distance; 0 where no code has a neighbour
    "Median distance of used codes to their neighbours: at this τ a neighbour is drawn about as often as the code."
    distances = torch.cat([quantizer.neighbour_distance() for quantizer in quantizers])
    return float(distances.median()) if len(distances) else 0.
