"""How far samples are warped: as far from the training series as these are from each other."""
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..anchors import Anchors
from ..data.intake import SeriesData
from ..data.labels import shuffled_by_class
from ..metrics.distance import nearest_distance
from ..models.warp import smooth_warp
from ..rng import generator_on
from ..sampler import Sampler
from .latents import class_ids, details, nearest_tokens, training_latents

__all__ = ['fit_anchors', 'find_strength', 'anchors_of', 'starting_from']

MAX_ANCHORS = 256, 10_000       # rows of the training split that are kept, of more; between them by their size
MAX_DETAILS = 2 ** 24           # values of all of them: 32 MB
COMPARED = 512, 4096            # samples, and training series that they are compared with, at most
STRENGTHS = 1e-4, 0.2           # searched
SEARCH_STEPS = 12               # halvings of the logarithm: strength to within 0.2 %
NEWNESS = 0.8, 1.               # of the distance that fresh series have (fidelity_log.md, "Anchors")


def fit_anchors(
    sampler:Sampler, # With tokenizer and prior
    data:SeriesData, # The training split
    seed:int=0 # Seed of all draws
) -> Anchors:
    "Tokens of the training split, and the strength of the warp that makes samples of them new."
    return find_strength(_with_anchors(sampler, anchors_of(sampler, data, seed)), data, seed=seed)


@torch.no_grad()
def find_strength(
    sampler:Sampler, # With tokenizer, prior and anchors
    data:SeriesData, # The training split
    newness:tuple=NEWNESS, # Least and largest distance, relative to that of fresh series
    seed:int=0 # Seed of all draws
) -> Anchors: # Those of the sampler, with another strength
    """Warp as strongly as makes samples as new as what the prior makes of nothing, within bounds. [ours]

    Training series stand so far from the nearest of the others: there fresh series are expected. Where samples are
    as far without a warp, no tokens are drawn anew."""
    if sampler.anchors is None: raise RuntimeError("this sampler has no anchors yet: fit_anchors(sampler, data)")
    x, anchors = _standardised(sampler, data, seed), sampler.anchors
    ids = anchors.ids[torch.as_tensor(np.random.default_rng(seed).integers(len(anchors), size=COMPARED[0]))]
    standardised = sampler.tokenizer.standardizer
    def distance(x_gen): return float(nearest_distance(standardised(x_gen).flatten(1), x).mean())
    def generator(): return generator_on(sampler.device, seed)           # the same draws at every strength
    def sample(sampler, **how): return sampler.sample(ids, generator(), mapped=False, missing='filled', **how)
    alone = distance(sample(sampler, redraw=1.))
    fresh = float(_nearest_other(x[:COMPARED[0]], x).mean())
    goal = min(max(alone, newness[0] * fresh), newness[1] * fresh)
    for share in dict.fromkeys((anchors.max_redraw, 0.)): # where redrawn tokens alone lead too far, none are
        anchors = replace(anchors, max_redraw=share, strength=0.)
        plain = sample(_with_anchors(sampler, anchors))
        if distance(plain) < goal: break
    def warped_distance(strength): return distance(smooth_warp(plain, strength, sampler.mean, generator()))
    return replace(anchors, strength=_bisect(warped_distance, goal))


@torch.no_grad()
def anchors_of(
    sampler:Sampler, # With tokenizer and prior
    data:SeriesData, # The training split
    seed:int=0, # Seed of the choice, where there are too many series
    **settings # strength and max_redraw of `Anchors`
) -> Anchors:
    "Tokens and details of the training split; of more series than are kept a part, with some of every class."
    y, spec = class_ids(data, sampler.spec, sampler.spec.n_classes), sampler.spec # the prior's null class
    n = int(np.clip(MAX_DETAILS // (spec.c_in * spec.seq_len), *MAX_ANCHORS))
    if len(data) > n:
        rows = _part_of_each_class(y.numpy(), n, seed)
        data, y = data.subset(rows), y[rows]
    tokens = nearest_tokens(sampler.tokenizer, training_latents(sampler.tokenizer, data))
    present = torch.cat([there for _, there in data.chunks_and_present()]) if data.spec.missing else None
    targets = None if data.targets is None else torch.as_tensor(data.targets)
    return Anchors.of(tokens, y.to(sampler.device), present=_on(sampler, present), targets=_on(sampler, targets),
                      details=details(sampler.tokenizer, data, tokens), **settings)


def starting_from(
    sampler:Sampler, # Any
    data:SeriesData # Some of the training series
) -> Sampler: # With the same stages
    "A sampler whose samples start from these series alone."
    if sampler.anchors is None: return sampler
    return _with_anchors(sampler, sampler.anchors.with_rows_of(anchors_of(sampler, data)))


def _on(sampler, rows): return None if rows is None else rows.to(sampler.device)


def _with_anchors(sampler, anchors):
    return Sampler(sampler.spec, sampler.device, sampler.tokenizer, sampler.prior, sampler.mapper, sampler.mapper_use,
                   anchors)


def _part_of_each_class(ids, n, seed): # -> rows, sorted: about the same share of each class, at least one
    order = shuffled_by_class(ids, seed)
    first = order[np.unique(ids[order], return_index=True)[1]]
    return np.union1d(order[np.linspace(0, len(ids) - 1, n).astype(int)], first)


def _standardised(sampler, data, seed): # -> rows of some training series, on the device
    rows = np.random.default_rng(seed).permutation(len(data))[:COMPARED[1]]
    x = data.series(np.sort(rows)).to(sampler.device)
    x = x[torch.as_tensor(np.random.default_rng(seed).permutation(len(x)), device=x.device)]
    return sampler.tokenizer.standardizer(x).flatten(1)


def _nearest_other(x:Tensor, others:Tensor) -> Tensor: # the first rows of others -> distance to the nearest other [n]
    d = torch.cdist(x, others)
    d.fill_diagonal_(torch.inf)
    return d.amin(1)


def _bisect(distance, goal): # -> strength at which the distance reaches the goal; 0 where it is there already
    if distance(0.) >= goal: return 0.
    low, high = STRENGTHS
    for _ in range(SEARCH_STEPS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if distance(middle) < goal else (low, middle)
    return (low * high) ** 0.5
