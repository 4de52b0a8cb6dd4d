"""TimeGAN's scores: networks that are trained afterwards to tell series apart, and to predict them."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..progress import progress
from ..rng import OwnRandom
from .inputs import as_unit_range

__all__ = ['discriminative_score', 'predictive_score', 'MIN_SERIES']

N_STEPS, BS = 2000, 128     # of TimeGAN's discriminator; its predictor takes 5000
MIN_SERIES = 5              # of each kind, of which a fifth is held back
LEAST_UNITS = 8             # where half of the channels would be none or one


class PostHocGRU(nn.Module):
    "A GRU and a linear layer on each of its states. [NeurIPS 2019, TimeGAN, section 5]"
    def __init__(self,
        c_in:int, # Channels
        hidden:int # Units of the GRU
    ):
        super().__init__()
        self.gru, self.head = nn.GRU(c_in, hidden, batch_first=True), nn.Linear(hidden, 1)

    def forward(self, x): return self.head(self.gru(x.transpose(1, 2))[0]).squeeze(-1) # [n, c_in, steps] -> [n, steps]


def discriminative_score(
    real, # Series [n, c_in, seq_len], original units, n >= 5
    gen, # Synthetic series
    n_steps:int=N_STEPS, # Batches to train on
    hidden:int=None, # Units of the GRU; half of the channels, as TimeGAN's, or 8 where there are fewer than 4
    seed:int=0 # Of weights, batches and the split; the global random states are left alone
) -> float: # 0 (cannot be told apart) to 0.5
    """How much better than by chance a GRU tells held-back real series from synthetic ones. [TimeGAN; 2309.03755, DS]

    |balanced accuracy - 1/2| on a fifth of both sets, of a classifier of the others, in units of the real range."""
    real, gen = as_unit_range(real, gen)
    for name, x in (('real', real), ('gen', gen)): _check_enough(x, name)
    with OwnRandom(seed):
        (real, real_test), (gen, gen_test) = _parts(real), _parts(gen)
        net = _network(real.shape[1], hidden).to(real.device)
        def loss():
            losses = (F.softplus(sign * net(_batch(x))[:, -1]).mean() for x, sign in ((real, -1), (gen, 1)))
            return sum(losses)                                           # cross-entropy of both kinds
        _train(net, loss, n_steps)
    with torch.no_grad(): found = [(net(x)[:, -1] > 0).double().mean().item() for x in (real_test, gen_test)]
    return abs((found[0] + 1 - found[1]) / 2 - 0.5)


def predictive_score(
    real, # Series [n, c_in, seq_len] that are predicted, original units
    gen, # Synthetic series that a predictor learns from
    n_steps:int=N_STEPS, # Batches to train on
    hidden:int=None, # Units of the GRU, as in `discriminative_score`
    seed:int=0 # Of weights and batches; the global random states are left alone
) -> float: # Mean absolute error in units of the real range, >= 0
    """Train on synthetic, test on real: error of a GRU that predicts the next step. [TimeGAN; 2309.03755, PS]

    Of several channels the last is predicted from the others; a single channel from its own past."""
    real, gen = as_unit_range(real, gen)
    with OwnRandom(seed):
        net = _network(max(1, real.shape[1] - 1), hidden or _units(real.shape[1])).to(real.device)
        def error(x):
            past = x[:, :-1, :-1] if x.shape[1] > 1 else x[:, :, :-1]
            return (net(past).sigmoid() - x[:, -1, 1:]).abs().mean()
        _train(net, lambda: error(_batch(gen)), n_steps)
    with torch.no_grad(): return error(real).item()


def _check_enough(x, name):
    if len(x) < MIN_SERIES:
        raise ValueError(f"{name} has {len(x)} series, expected {MIN_SERIES} or more: a fifth of them is held back")


def _parts(x) -> tuple[Tensor, Tensor]: # to learn from, and held back
    order, n_test = torch.randperm(len(x), device=x.device), len(x) // MIN_SERIES
    return x[order[n_test:]], x[order[:n_test]]


def _units(c_in): return c_in // 2 if c_in > 3 else LEAST_UNITS


def _network(c_in, hidden): return PostHocGRU(c_in, hidden or _units(c_in))


def _batch(x): return x[torch.randperm(len(x), device=x.device)[:BS]]


def _train(net, loss, n_steps):
    opt = torch.optim.Adam(net.parameters())
    for _ in progress(range(n_steps)):
        opt.zero_grad()
        loss().backward()
        opt.step()
