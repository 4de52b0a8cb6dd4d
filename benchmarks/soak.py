"""A training that goes on for days: memory, time and classes of augmented batches while the pool is refilled.

    python -m benchmarks.soak FOLDER                    # FOLDER is for files that are not kept
    python -m benchmarks.soak FOLDER --n 20000

GunPoint at every third step, a third of one class; a small generator, tsai's loader, a linear classifier."""
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastcore.script import call_parse
from torch import nn
from tsai.basics import TSClassification, TSStandardize, get_ts_dls

from tsai_nmvq.augment.pool import SeriesPool
from tsai_nmvq.augment.transform import NMVQAugment
from tsai_nmvq.generator import NMVQGenerator

from .common.data import read_set
from .common.memory import anonymous
from .common.records import keep

SETTINGS = dict(tokenizer=dict(dim=4, hidden_dim=16, max_dim=16),
                prior=dict(lf_dim=16, lf_layers=1, hf_dim=16, hf_layers=1, n_steps=dict(lf=2, hf=2)),
                mapper=dict(dim=4, mults=(1, 2)))
EPOCHS = dict(tokenizer=2, prior=2, mapper=1)
MARKS = 20          # rows of the table
BS = 8


def uneven_set() -> tuple: # (X [n, 1, 50], y [n], splits)
    "Class shares that could drift."
    X, y, (train, test) = read_set('GunPoint', None)
    rare = np.flatnonzero(np.asarray(y)[train] == y[train[0]])
    train = np.delete(np.asarray(train), rare[len(rare) // 3:])
    return X[:, :, ::3], y, (train.tolist(), list(test)[:20])


class CountedRefills:
    "How often the pool was refilled, while the block lasts."
    def __enter__(self):
        self.n, self.refill = 0, SeriesPool._refill
        def counted(pool, n):
            self.n += 1
            self.refill(pool, n)
        SeriesPool._refill = counted # type: ignore[method-assign]
        return self

    def __exit__(self, *error): SeriesPool._refill = self.refill # type: ignore[method-assign]


def soak(dls, n_batches) -> list: # A row of the table a mark
    "Train a linear classifier, and look at everything from time to time."
    model = nn.Sequential(nn.Flatten(), nn.Linear(dls.len, dls.c))
    opt, rows, done = torch.optim.SGD(model.parameters(), 0.01), [], 0
    counts, finite, start = torch.zeros(dls.c), torch.ones((), dtype=torch.bool), time.process_time()
    with CountedRefills() as refills:
        while done < n_batches:
            for xb, yb in dls.train:
                added = yb.as_subclass(torch.Tensor)[len(yb) // 2:]      # real rows come first
                loss = nn.functional.cross_entropy(model(xb.as_subclass(torch.Tensor)), yb.as_subclass(torch.Tensor))
                opt.zero_grad()
                loss.backward()
                opt.step()
                counts += added.bincount(minlength=dls.c)
                finite &= xb.isfinite().all() & loss.isfinite()
                done += 1
                if done % (n_batches // MARKS): continue
                seconds = time.process_time() - start
                rows.append({'batches': done, 'refills': refills.n, 'memory, MB': anonymous(),
                             'ms a batch': 1e3 * seconds / (n_batches // MARKS),
                             'share of the rarer class, %': 100 * (counts.min() / counts.sum()).item(),
                             'all finite': bool(finite)})
                print(rows[-1], flush=True)
                counts, start = torch.zeros(dls.c), time.process_time()
                if done == n_batches: break
    return rows


@call_parse
def main(
    work:str, # Folder for the generator; outside the repository
    n:int=1_000_000, # Batches
    name:str='soak', # Of the table in results/
    threads:int=1 # PyTorch's threads
):
    "Measure a long training."
    torch.set_num_threads(threads)
    file, (X, y, splits) = Path(work)/'soak.nmvq', uneven_set()
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists(): NMVQGenerator(device='cpu', **SETTINGS).fit(X, y, splits, epochs=EPOCHS).save(file)
    augment = NMVQAugment(NMVQGenerator.load(file, 'cpu'), mode='generate', seed=0)
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], bs=BS,
                     batch_tfms=[augment, TSStandardize(by_sample=True)])
    real = np.unique(np.asarray(y)[splits[0]], return_counts=True)[1]
    table = pd.DataFrame(soak(dls, n))
    memory, ms = table['memory, MB'], table['ms a batch']
    drift = ms[len(ms) // 2:].mean() / ms[:len(ms) // 2].mean()
    keep(name, table, f'{n:,} augmented batches', f'python -m benchmarks.soak FOLDER --n {n}',
         f"Batches of {BS} real rows and {BS} samples; milliseconds of processor time. From the first row on memory "
         f"moves by {100 * (memory.max() / memory.min() - 1):.2f} %; a batch of the second half takes {drift:.3f} "
         f"times what one of the first takes. {100 * real.min() / real.sum():.2f} % of real rows are of the rarer "
         f"class.")
