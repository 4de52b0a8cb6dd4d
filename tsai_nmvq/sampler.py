"""Class ids to series: tokens of anchors and of the prior, decoded, warped, mapped where the mapper is used.

A bounded number at a time. Channels keep to the values that they take, and what is missing stays missing."""
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from .anchors import MAX_REDRAW, Anchors
from .data.labels import is_single, largest_remainder
from .data.missing import Gaps, fill_gaps, hold_last, lengths_of, with_gaps
from .data.spec import SeriesSpec
from .data.values import ValueGrid
from .models.layers import positive_int
from .models.mapper import NeuralMapper
from .models.prior import MaskedPrior
from .models.quantizer import code_spacing
from .models.tokenizer import VQTokenizer
from .models.warp import smooth_warp

__all__ = ['MapperUse', 'Sampler', 'MISSING']

MISSING = 'like data', 'complete', 'nan', 'filled' # how samples are where the data's own series have gaps

CHUNK_LOGITS = dict(cpu=2 ** 22, cuda=2 ** 28)  # of series sampled at a time: on a CPU they stay in its cache
CHUNK_VALUES = dict(cpu=2 ** 20, cuda=2 ** 26)  # of series decoded or mapped at a time: they hold 100 times as many
OTHER_LOGITS, OTHER_VALUES = 2 ** 24, 2 ** 22   # the same on other devices
CHUNK_ROWS = 16, 1024                           # series at a time, at least and at most


@dataclass(frozen=True)
class MapperUse:
    "Where the mapper goes: decided once, when the mapper is chosen, and obeyed wherever series are made."
    use_mapper:bool = True                      # Whether it is used at all
    skipped_ids:tuple[int, ...] = ()            # Ids of the classes that are left as they are decoded


M = TypeVar('M', bound=nn.Module)


class Sampler:
    "What stages that have been learnt make: samples, reconstructions, perturbed and mapped series."
    def __init__(self,
        spec:SeriesSpec, # Of the training split
        device, # Where the stages are
        tokenizer:VQTokenizer, # Stage 1
        prior:MaskedPrior=None, # Stage 2
        mapper:NeuralMapper=None, # Stage 3
        mapper_use:MapperUse=MapperUse(), # Where it goes
        anchors:Anchors=None # What samples start from; None for the prior alone
    ):
        self.spec, self.device = spec, torch.device(device)
        self.tokenizer, self.prior, self.mapper = tokenizer, prior, mapper
        self.mapper_use, self.anchors = mapper_use, anchors and anchors.to(device)
        self.mean = torch.tensor(spec.mean, device=self.device).unsqueeze(-1)
        self.grid = ValueGrid(spec.values, self.device)
        self._skipped = torch.as_tensor(mapper_use.skipped_ids, dtype=torch.long, device=self.device)

    @property
    def maps(self) -> bool: # Whether samples go through the mapper, in all classes but the skipped ones
        return self.mapper is not None and self.mapper_use.use_mapper

    @property
    def code_spacing(self) -> float: # Squared latent distance
        "Median distance of the codes of both bands to their nearest neighbours."
        return code_spacing(*self.tokenizer.quantizers.values())

    @property
    def chunk_rows(self) -> int: # Series at a time
        "How many series are made at a time: of long ones and of large codebooks fewer."
        kind, values = self.device.type, self.spec.c_in * self.spec.seq_len
        logits = max(n * self.tokenizer.codebook_size[band] for band, n in self.tokenizer.n_tokens.items())
        least, most = CHUNK_ROWS
        most = min(most, CHUNK_LOGITS.get(kind, OTHER_LOGITS) // logits, CHUNK_VALUES.get(kind, OTHER_VALUES) // values)
        return max(least, most)

    def class_ids(self,
        n:int, # Series
        y, # A label for all or one each [n]; None for the training proportions, in random order
        generator:torch.Generator # Source of randomness on the device
    ) -> Tensor: # Class ids [n] on the device; the null class where there are no classes
        "Class ids by name. ValueError for unknown labels or a wrong number of them."
        n = positive_int(n, 'n', 'sample', least=0)
        if not self.spec.vocab:
            if y is not None: raise ValueError("this generator was fitted without labels: leave y out")
            return torch.full((n,), _learnt(self.prior).null_class, device=self.device)
        if y is None:
            ids = np.repeat(np.arange(self.spec.n_classes), largest_remainder(self.spec.proportions, n))
            order = torch.randperm(n, generator=generator, device=self.device)
            return torch.as_tensor(ids, device=self.device)[order]
        ids = self.spec.to_ids(y)
        if is_single(y) or (len(ids) == 1 and self.spec.conditions.kind == 'labels'): ids = np.repeat(ids, n) # one set
        if len(ids) != n: raise ValueError(f"y has {len(ids)} labels for n = {n}; pass one label or one each")
        return torch.as_tensor(ids, device=self.device)

    def matched_ids(self,
        y:Tensor, # Class ids of another vocab, or of this one [n]; targets or a matrix where the generator has these
        vocab=None # Names of these ids; they are this generator's own by default
    ) -> Tensor: # Class ids [n] on the device
        "Class ids of other ids, by name. ValueError for classes that there are not."
        if self.spec.conditions.kind != 'classes':                       # targets, or sets of labels by number
            return torch.as_tensor(self.spec.to_ids(y.cpu().numpy()), device=self.device)
        if vocab is not None:
            return torch.as_tensor(self.spec.to_ids([vocab[i] for i in y.tolist()]), device=self.device)
        ids, n_classes = torch.as_tensor(y).long(), self.spec.n_classes
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < n_classes:
            raise ValueError(f"class ids run from {int(ids.min())} to {int(ids.max())}, "
                             f"the generator has {n_classes} classes")
        return ids.to(self.device)

    def labels(self,
        ids:Tensor, # Class ids [n] of samples
        rows:Tensor|None # Rows of their anchors [n], from `sample_rows`
    ) -> np.ndarray|None: # As in the data; None where there are no classes
        "What y has for samples: their class, their set of labels, or the target of their anchor."
        if not self.spec.vocab: return None
        targets = self._targets(rows)
        return self.spec.conditions.values(ids.cpu().numpy()) if targets is None else targets.cpu().numpy()

    @torch.no_grad()
    def sample(self,
        ids:Tensor, # Class ids [n] on the device; the null class for unconditional
        generator:torch.Generator, # Source of randomness on the device
        mapped:bool=True, # False leaves the mapper out
        redraw:float=None, # Largest share of an anchor's tokens to draw anew, 0..1; the anchors' own by default.
                           # 1 starts from nothing: the prior alone, nothing is warped
        missing:str='like data', # What of them is missing, see `finished`
        **sampling # n_steps, choice_temp, cfg_scale of `MaskedPrior.sample_tokens`
    ) -> Tensor: # Series [n, c_in, seq_len] on the device, original units
        "Tokens of anchors, of which the prior draws some anew; decoded, warped and mapped."
        x, rows = self.sample_rows(ids, generator, mapped, redraw, **sampling)
        return self.finished(x, rows, missing)

    def sample_with_targets(self, ids, generator, mapped=True, missing='like data') -> tuple: # As in `sample`
        "Series, and the targets of their anchors [n] where classes are bins of targets, or None."
        x, rows = self.sample_rows(ids, generator, mapped)
        return self.finished(x, rows, missing), self._targets(rows)

    def _targets(self, rows): # of anchors at these rows [n]; None where classes are no bins
        targets = None if rows is None or self.anchors is None else self.anchors.targets
        return None if targets is None else targets[rows]

    @torch.no_grad()
    def sample_rows(self, ids, generator, mapped=True, redraw=None, **sampling) -> tuple: # As in `sample`
        "Series that are not finished yet, and the rows of their anchors [n], or None where these tell nothing more."
        made, rows = [torch.empty(0, self.spec.c_in, self.spec.seq_len, device=self.device)], [ids[:0]]
        for chunk in ids.split(self.chunk_rows) if len(ids) else ():
            x_gen, anchor_rows = self.decoded(chunk, generator, redraw, **sampling)
            made.append(self._mapped(x_gen, chunk, generator) if mapped else x_gen)
            rows.append(anchor_rows)
        return torch.cat(made), torch.cat(rows) if self.anchors is not None and self.anchors.tell_more else None

    def decoded(self, ids, generator, redraw=None, **sampling): # As in `sample`; all at once, before the mapper
        "Series of one chunk, before the mapper, and the rows of their anchors; None where these tell nothing more."
        anchors, prior = self.anchors, _learnt(self.prior)
        if redraw is not None and not 0 <= redraw <= 1:
            raise ValueError(f"redraw is {redraw}, expected a share of tokens in 0..1; 1 is the prior alone")
        if redraw is None: redraw = 1. if anchors is None else anchors.max_redraw
        if anchors is None or redraw == 1:
            x_gen = self.tokenizer.decode(prior.sample_tokens(ids, generator=generator, **sampling))
            return x_gen, anchors.draw(ids, generator) if anchors is not None and anchors.tell_more else None
        rows = anchors.draw(ids, generator)
        tokens = anchors.tokens_of(rows)
        if redraw: tokens = prior.redraw_tokens(tokens, ids, redraw, generator, **sampling)
        x_gen = self.tokenizer.decode(tokens)
        if anchors.details is not None: x_gen = x_gen + anchors.details[rows] * self.tokenizer.standardizer.std
        lengths = None if anchors.present is None else lengths_of(anchors.present[rows])
        return smooth_warp(x_gen, anchors.strength, self.mean, generator, lengths), rows

    def finished(self,
        x:Tensor, # Series [n, c_in, seq_len] from `sample_rows`
        rows:Tensor|None, # Rows of their anchors [n]
        missing:str='like data' # 'like data': gaps and lengths of the anchors; 'nan': the same, with NaN in place of a
                                # pad value; 'complete': none, and after a series' end its last value; 'filled': gaps
                                # as they are filled while the stages learn
    ) -> Tensor: # [n, c_in, seq_len]
        "Series of values that the data's channels take, with the data's gaps."
        if missing not in MISSING: raise ValueError(f"missing is {missing!r}, expected one of {MISSING}")
        x = self.grid(x)
        if rows is None or self.anchors is None or self.anchors.present is None: return x
        present = self.anchors.present[rows]
        if missing == 'complete': return hold_last(x, lengths_of(present))
        if missing == 'filled': return fill_gaps(with_gaps(x, present), self.mean)
        return with_gaps(x, present, self.spec.pad_value if missing == 'like data' else None)

    @torch.no_grad()
    def map(self,
        x, # Series [n, c_in, seq_len], array or tensor, original units
        generator:torch.Generator # Source of the mapper's noise
    ): # The same kind as x
        "The mapper alone, wherever it is used or not."
        mapper = _learnt(self.mapper)
        return self._in_chunks(x, lambda gaps, _: mapper(gaps.filled, generator))

    @torch.no_grad()
    def reconstruct(self,
        x # Series [n, c_in, seq_len], array or tensor, original units
    ): # The same kind as x
        "Series of the nearest codes: what the tokenizer keeps."
        return self._in_chunks(x, lambda gaps, _: self.tokenizer.decode(self.tokenizer.encode(gaps.filled)))

    @torch.no_grad()
    def resample_hf(self,
        x, # Series [n, c_in, seq_len], array or tensor, original units
        ids:Tensor, # Their class ids [n] on the device
        generator:torch.Generator # Source of randomness on the device
    ): # The same kind as x
        "Series of their own LF tokens, with HF tokens from the prior: what HF's part of it makes."
        prior = _learnt(self.prior)
        def once(gaps, y):
            lf = self.tokenizer.encode(gaps.filled)['lf']
            return self.tokenizer.decode(dict(lf=lf, hf=prior.sample_band('hf', y, lf, generator=generator)))
        return self._in_chunks(x, once, ids)

    @torch.no_grad()
    def perturb(self,
        x, # Series [n, c_in, seq_len], array or tensor, original units
        magnitude:float, # SVQ temperature in units of `code_spacing`; 0 picks the nearest codes
        generator:torch.Generator, # Source of randomness on the device
        mapped:bool=True, # False leaves the mapper out
        ids:Tensor=None # Class ids [n]; without them nothing is mapped where the mapper skips a class
    ): # The same kind as x
        "Stochastic reconstructions, mapped. [arXiv 2501.17553, Eq. 3.1b]"
        if ids is not None and len(ids) != len(x):
            raise ValueError(f"there are {len(ids)} labels for {len(x)} series; pass one each")
        tau = magnitude * self.code_spacing
        def once(gaps, chunk_ids):
            x_svq = self.tokenizer.decode(self.tokenizer.encode(gaps.filled, tau, generator))
            return self._mapped(x_svq, chunk_ids, generator) if mapped else x_svq
        return self._in_chunks(x, once, ids)

    @torch.no_grad()
    def warp(self,
        x, # Series [n, c_in, seq_len], array or tensor, original units
        magnitude:float, # Strength, relative to that which makes series as new as samples are
        generator:torch.Generator # Source of randomness on the device
    ): # The same kind as x
        "The series themselves, warped as samples are."
        strength = self._own_anchors().strength * magnitude
        def once(gaps, _): return smooth_warp(gaps.filled, strength, self.mean, generator, gaps.lengths)
        return self._in_chunks(x, once)

    @torch.no_grad()
    def redraw(self,
        x, # Series [n, c_in, seq_len], array or tensor, original units
        magnitude:float, # Strength, relative to that of samples: of the share of tokens drawn anew, and of the warp
        ids:Tensor|None, # Class ids [n]; None, or -1 for one of them, where the class is not known
        generator:torch.Generator # Source of randomness on the device
    ): # The same kind as x
        "Series with some of their tokens drawn anew by the prior, and all that the tokenizer leaves out; warped."
        anchors, prior = self._own_anchors(), _learnt(self.prior)
        null = torch.full((len(x),), prior.null_class, device=self.device)
        ids = null if ids is None else torch.where(ids.to(self.device) < 0, null, ids.to(self.device))
        def once(gaps, chunk_ids):
            tokens = self.tokenizer.encode(gaps.filled)
            share = min(1., (anchors.max_redraw or MAX_REDRAW) * magnitude)
            redrawn = prior.redraw_tokens(tokens, chunk_ids, share, generator)
            x_new = self.tokenizer.decode(redrawn) + gaps.filled - self.tokenizer.decode(tokens)
            return smooth_warp(x_new, anchors.strength * magnitude, self.mean, generator, gaps.lengths)
        return self._in_chunks(x, once, ids)

    def _own_anchors(self):
        if self.anchors is not None: return self.anchors
        raise RuntimeError("this generator has no anchors, its file is from before they were: fit it again, "
                           "or use mode='perturb'")

    def _mapped(self, x, ids, generator): # ids [n] or None where classes are not known
        if not self.maps or (ids is None and len(self._skipped)): return x
        x_map = _learnt(self.mapper)(x, generator)
        if not len(self._skipped): return x_map
        return torch.where(torch.isin(ids, self._skipped)[:, None, None], x, x_map)

    def _in_chunks(self, x, func, ids=None): # func(`Gaps` of series on the device, their ids or None) -> series
        is_array = isinstance(x, np.ndarray)
        x = torch.as_tensor(x) if is_array else x
        rows = self.chunk_rows
        chunks = x.split(rows) if len(x) else ()
        chunk_ids = [None] * len(chunks) if ids is None else ids.to(self.device).split(rows)
        made = [self._between_gaps(chunk, func, part) for chunk, part in zip(chunks, chunk_ids)]
        dtype = x.dtype if x.is_floating_point() else torch.float32      # 0.3 is no whole number
        out = (torch.cat(made) if made else x).to(x.device, dtype)
        return out.numpy() if is_array else out

    def _between_gaps(self, chunk, func, ids):
        gaps = Gaps(chunk.to(self.device).float(), self.mean, self.spec.pad_value)
        return gaps.put_back(self.grid(func(gaps, ids)))


def _learnt(model:M|None) -> M: # the generator asks for no more than has been learnt
    assert model is not None
    return model
