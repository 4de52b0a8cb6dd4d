"""Training by several processes: each has synthetic rows of its own, and their weights stay in step."""
import os
import subprocess
import sys
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tsai_nmvq.augment.transform import NMVQAugment

SCRIPT = '''
from dataclasses import replace
import torch, torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from stages import fit, gunpoint_loaders, gunpoint_few
from tsai_nmvq.augment.transform import NMVQAugment
from tsai.models.FCN import FCN
torch.set_num_threads(1)
dist.init_process_group('gloo')
rank = dist.get_rank()
gen = fit(*gunpoint_few())
gen.anchors = replace(gen.anchors, strength=0.05) # it is hardly trained: without a warp many samples are the same
dls = gunpoint_loaders(batch_tfms=[NMVQAugment(gen, seed=7, mode='generate')])
torch.manual_seed(0)
net = DistributedDataParallel(FCN(1, 2, layers=[8, 16, 8]))
opt, rows = torch.optim.SGD(net.parameters(), 0.01), []
for xb, yb in dls.train:
    rows.append(xb[len(xb) // 2:].as_subclass(torch.Tensor))
    loss = nn.functional.cross_entropy(net(xb.as_subclass(torch.Tensor)), yb.as_subclass(torch.Tensor).long())
    opt.zero_grad(); loss.backward(); opt.step()
weights = torch.cat([p.detach().flatten() for p in net.parameters()])
everyone = [torch.empty_like(weights) for _ in range(2)]
dist.all_gather(everyone, weights)
theirs = [torch.empty_like(rows[0]) for _ in range(2)]
dist.all_gather(theirs, rows[0].contiguous())
if rank == 0:
    same = (theirs[0][:, None] == theirs[1]).all(-1).all(-1).any(1).sum().item()
    print('FOUND', torch.equal(*everyone), same, len(rows[0]))
dist.destroy_process_group()
'''


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


@pytest.mark.slow
def test_two_processes_draw_apart_and_keep_in_step(tmp_path):
    (tmp_path/'train.py').write_text(SCRIPT)
    tests = Path(__file__).parent
    path = os.pathsep.join([str(tests), str(tests.parent), os.environ.get('PYTHONPATH', '')])
    env = dict(os.environ, PYTHONPATH=path)
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', 'train.py']
    out = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600)
    found = next((line.split() for line in out.stdout.splitlines() if line.startswith('FOUND')), out.stderr[-2000:])
    assert found[1:3] == ['True', '0']
