"""Context-FID: the Fréchet distance of what a TS2Vec encoder, trained on the real series, sees in series."""
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ..progress import progress
from ..rng import OwnRandom, python_random
from .frechet import frechet_distance
from .inputs import as_series, as_unit_range, split_chunks

__all__ = ['ContextEncoder', 'context_fid']

HIDDEN, DEPTH, N_FEATURES = 64, 10, 320     # TS2Vec's
BS, LEARNING_RATE = 8, 1e-3                 # of Diffusion-TS's Context-FID
FEW_VALUES, STEPS = 100_000, (200, 600)     # up to so many values the fewer steps
MAX_CROP = 1024                             # steps of series that are contrasted: memory grows with their square


class DilatedBlock(nn.Module):
    "Two convolutions of one dilation, and what goes past them. [arXiv 2106.10466, appendix C]"
    def __init__(self,
        dim:int, # Channels
        out_dim:int, # Channels that come out
        dilation:int, # Steps between taps
        is_last:bool # Whether a convolution stands beside it too
    ):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(n, out_dim, 3, padding=dilation, dilation=dilation)
                                   for n in (dim, out_dim))
        self.past = nn.Conv1d(dim, out_dim, 1) if is_last or dim != out_dim else nn.Identity()

    def forward(self, x):
        past = self.past(x)
        for conv in self.convs: x = conv(F.gelu(x))
        return x + past


class TS2Vec(nn.Module):
    "Representations of each step; half of the steps are hidden in training. [arXiv 2106.10466, section 3]"
    def __init__(self,
        c_in:int # Channels
    ):
        super().__init__()
        dims = [HIDDEN] * (DEPTH + 1) + [N_FEATURES]
        self.project = nn.Linear(c_in, HIDDEN)
        self.blocks = nn.Sequential(*(DilatedBlock(dim, out_dim, 2 ** i, i == DEPTH)
                                      for i, (dim, out_dim) in enumerate(pairwise(dims))))
        self.drop = nn.Dropout(0.1)

    def forward(self, x): # [n, c_in, steps] -> [n, N_FEATURES, steps]
        h = self.project(x.transpose(1, 2)).transpose(1, 2)
        if self.training: h = h * (torch.rand(len(x), 1, x.shape[2], device=x.device) < 0.5)
        return self.drop(self.blocks(h))


class ContextEncoder:
    "A TS2Vec encoder trained on series without their labels: series to features, as `fid` takes them."
    def __init__(self,
        series, # Series to learn from [n, c_in, seq_len], original units
        n_steps:int=None, # Batches; 200, or 600 of more than 100,000 values, as TS2Vec's
        seed:int=0 # Of weights, crops and masks; the global random states are left alone
    ):
        self.real, = as_series(series)
        x, = as_unit_range(self.real)
        n_steps = n_steps or STEPS[x.numel() > FEW_VALUES]
        with OwnRandom(seed):
            net = TS2Vec(x.shape[1]).to(x.device)
            self.net = AveragedModel(net)
            opt = torch.optim.AdamW(net.parameters(), LEARNING_RATE)
            for _ in progress(range(n_steps)):
                rows = torch.randperm(len(x), device=x.device)[:BS]
                opt.zero_grad()
                hierarchical_contrast(*_overlapping(net, x[rows])).backward()
                opt.step()
                self.net.update_parameters(net)
        self.net.eval()

    @torch.no_grad()
    def __call__(self,
        series # Series [n, c_in, seq_len], original units
    ) -> Tensor: # Features [n, 320]
        "The largest value of each representation over the series, in units of the range of those it learnt from."
        x = as_unit_range(self.real, series)[1]
        return torch.cat([self.net(part).amax(2) for part in split_chunks(x, N_FEATURES * x.shape[2])])


def context_fid(
    real, # Series [n, c_in, seq_len], original units
    gen, # Synthetic series
    encoder:ContextEncoder=None, # One to compare several sets by; trained on the real series by default
    seed:int=0 # Of the encoder that is trained
) -> float: # >= 0, 0 is best
    """Fréchet distance of a TS2Vec encoder's features. [arXiv 2108.00981, section 5; as in Diffusion-TS, 2403.01742]

    Biased by sample size, as `fid`: compare at equal n, beside the floor that other real series set."""
    encoder = encoder or ContextEncoder(real, seed=seed)
    return frechet_distance(encoder(real), encoder(gen))


def _overlapping(net, x): # what two crops of each series share, as seen in each [n, N_FEATURES, steps]
    rng, seq_len = python_random(), x.shape[2]
    steps = rng.randint(2, min(seq_len, MAX_CROP))                       # in both
    first = rng.randint(0, seq_len - steps)
    start, end = rng.randint(max(0, first - MAX_CROP), first), rng.randint(first + steps, seq_len)
    left, right = net(x[..., start:first + steps]), net(x[..., first:end])
    return left[..., -steps:], right[..., :steps]


def hierarchical_contrast(
    a:Tensor, # Representations of one crop [n, d, steps]
    b:Tensor # Of the other, of the same steps
) -> Tensor: # Scalar
    "Steps against steps and series against series, at every halving of the steps. [2106.10466, equations 1 to 3]"
    losses:list = []
    while True:
        series = contrast(a.permute(2, 0, 1), b.permute(2, 0, 1))
        if a.shape[2] == 1: return (sum(losses) + series / 2) / (len(losses) + 1)
        losses.append((series + contrast(a.transpose(1, 2), b.transpose(1, 2))) / 2)
        a, b = F.max_pool1d(a, 2), F.max_pool1d(b, 2)


def contrast(
    a:Tensor, # [groups, n, d]
    b:Tensor # The same
) -> Tensor: # Scalar
    "Cross-entropy of finding the counterpart of each of n among all others of its group; 0 where there is one alone."
    n = a.shape[1]
    if n == 1: return a.new_zeros(())
    both = torch.cat((a, b), 1)
    similar = (both @ both.transpose(1, 2)).masked_fill(torch.eye(2 * n, dtype=torch.bool, device=a.device), -torch.inf)
    counterpart = torch.arange(2 * n, device=a.device).roll(n).expand(len(a), -1)
    return F.cross_entropy(similar.flatten(0, 1), counterpart.flatten())
