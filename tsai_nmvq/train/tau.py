"""The temperature search of stage 3: at which τ do stochastic reconstructions look like the prior's samples?"""
import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from ..metrics.frechet import class_fids, frechet_distance
from ..metrics.rocket import RocketFeatures
from ..progress import progress
from .latents import ENCODE_ROWS

__all__ = ['TAU_GRID', 'search_tau', 'class_taus', 'ReconstructionFID', 'anneal_tau']

TAU_GRID = (0., 0.01, 0.03, 0.1, 0.5, 1., 2., 4.) # the paper's five, and below them, where latents lie closer than 0.1


def search_tau(
    fids:Callable, # Function: τ -> {'tau': τ, 'fid': FID, class id: FID of the class}
    tau_grid:tuple=TAU_GRID, # Temperatures to try, in squared latent distance; 0 is the nearest code
    refine:int=2 # Times to try the geometric means of the best and its neighbours as well
) -> pd.DataFrame: # What `fids` gives, a row a temperature
    "Try a grid, then between its best and the neighbours. [arXiv 2501.17553, Alg. 1; refinement ours]"
    table = pd.DataFrame([fids(tau) for tau in progress(tau_grid, leave=False)])
    for _ in range(refine):
        between = pd.DataFrame([fids(tau) for tau in _between(table)])
        table = pd.concat([table, between], ignore_index=True).sort_values('tau')
    return table


def class_taus(
    table:pd.DataFrame, # From `search_tau`, with a column a class id
    n_classes:int, # Classes
    tau:float # For classes without a column
) -> Tensor: # [n_classes]
    "The best temperature of each class."
    taus = torch.full((n_classes,), tau)
    for i in table.columns[2:]: taus[i] = float(table.tau[table[i].idxmin()])
    return taus


@dataclass(frozen=True)
class ReconstructionFID:
    "FID between samples of the prior and stochastic reconstructions of training series, for any temperature."
    x_gen:Tensor            # Features of the prior's samples [n, d]
    y_gen:Tensor            # Their class ids [n]
    latents:dict            # Of training series {band: z [m, n_tokens, codebook_dim]}
    y:Tensor                # Their class ids [m]
    features:RocketFeatures # Series -> features
    reconstruct:Callable    # (latents of some series, τ) -> series
    by_class:bool           # A figure for each class as well
    shown:Callable = lambda x_svq: x_svq # Reconstructions of all of them, as they are compared

    def __call__(self,
        tau:float # SVQ temperature
    ) -> dict: # 'tau', 'fid', and with `by_class` one a class id with two series on both sides
        "The row of one temperature."
        bands = list(self.latents)
        chunks = zip(*[self.latents[band].split(ENCODE_ROWS) for band in bands])
        x_svq = torch.cat([self.reconstruct(dict(zip(bands, chunk)), tau) for chunk in chunks])
        x_svq = self.features(self.shown(x_svq))
        row = dict(tau=tau, fid=frechet_distance(self.x_gen, x_svq))
        return row | class_fids(self.x_gen, self.y_gen, x_svq, self.y) if self.by_class else row


def anneal_tau(
    tau:float|Tensor, # Mean temperature, one number or one a row [bs]
    shape:tuple, # (bs, n_tokens)
    device, # Where
    generator:torch.Generator=None # Source of randomness
) -> Tensor: # A temperature a token [bs, n_tokens]
    "From twice τ to 0 over the tokens of a row, in random order, as over decoding steps."
    place = torch.rand(shape, device=device, generator=generator).argsort(1) / max(1, shape[1] - 1)
    return torch.as_tensor(tau, device=device).view(-1, 1) * 2 * (1 - place)


def _between(table): # temperatures beside the best one, in the middle of the gaps to its neighbours
    taus = sorted(table.tau)
    best = taus.index(table.tau[table.fid.idxmin()])
    first = max(0, best - 1)
    gaps = zip(taus[first:best + 1], taus[first + 1:best + 2])
    return [math.sqrt(low * high) if low else high / 2 for low, high in gaps]
