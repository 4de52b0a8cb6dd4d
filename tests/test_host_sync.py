"""What would make a GPU wait for the host in each batch: found without a GPU, by operators and by source."""
import ast
import traceback
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import tsai_nmvq
from tsai_nmvq.augment.transform import NMVQAugment

PACKAGE = Path(tsai_nmvq.__file__).parent
ON_A_CPU_ALONE = {('_local_scalar_dense', 'is_complete'),            # asks there what elsewhere is taken for granted
                  ('_local_scalar_dense', 'add')}                       # F.one_hot checks its ids there
WAITING = {'_local_scalar_dense', 'is_nonzero', 'nonzero', 'masked_select', 'equal', 'unique_dim', '_unique2'}


class HostSyncs(TorchDispatchMode):
    "Keeps where operators wait for the device: those that need a value, and masks as indices."
    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masks = name in ('index', 'index_put', 'index_put_') and any(
            t is not None and t.dtype == torch.bool for t in args[1])
        if name in WAITING or masks: self.found.append((name, _caller()))
        return func(*args, **(kwargs or {}))


def _caller(): # the function of the package, or of this file, that is at work
    frames = [f for f in traceback.extract_stack() if PACKAGE.name in Path(f.filename).parts or f.filename == __file__]
    return [f.name for f in frames if f.name not in ('__torch_dispatch__', '_caller')][-1]


def syncs(do):
    with HostSyncs() as mode: do()
    return sorted({name for op, name in mode.found if (op, name) not in ON_A_CPU_ALONE})


@pytest.mark.parametrize('do', [lambda x: x[x > 0], lambda x: x.sum().item(), lambda x: bool((x > 0).any()),
                                lambda x: x.nonzero(), lambda x: float(x.mean())], ids=range(5))
def test_the_watch_sees_them(do): assert syncs(lambda: do(torch.randn(8))) == ['<lambda>']


@pytest.mark.parametrize('how, known', [
    (dict(mode='warp'), []), (dict(mode='warp', append=False), []), (dict(mode='warp', balance=True), []),
    (dict(mode='generate'), []), (dict(mode='generate', append=False), []),
    (dict(mode='perturb'), ['code_spacing', 'istft', 'neighbour_distance', 'svq_sample']),
    (dict(mode='redraw'), ['decode_masked', 'istft'])], ids=lambda v: str(v))
def test_a_batch_is_augmented_without_waiting(gen, data, how, known):
    "Sampled rows come from the pool; its refills are a matter of samples. What is known to wait is named."
    X, y, (train, _) = data
    augment = NMVQAugment(gen, seed=0, reuse=10 ** 6, **how)
    batch = torch.as_tensor(X[train][:16]), torch.as_tensor(gen.spec.to_ids(y[train][:16]))
    augment(batch, split_idx=0)                                          # makes pool and bank
    assert syncs(lambda: augment(batch, split_idx=0)) == known


# Source: what copies to the host leaves no operator on a CPU

HOT = ['models/*.py', 'augment/rows.py', 'augment/bank.py', 'augment/pool.py', 'augment/classes.py',
       'augment/matching.py', 'augment/batch_statistics.py', 'augment/transform.py', 'train/losses.py',
       'sampler.py', 'anchors.py']
COPIES = {'cpu', 'numpy', 'item', 'tolist', 'nonzero'}
ALLOWED = {                                                              # why each may copy to the host
    ('sampler.py', 'matched_ids'): 'names of classes are matched on the host, once a call',
    ('sampler.py', 'labels'): 'what a user gets is on the host',
    ('sampler.py', '_in_chunks'): 'arrays that came from the host go back to it',
    ('augment/classes.py', 'same_as'): 'once, while loaders are set up',
    ('augment/matching.py', 'same_as'): 'once, while loaders are set up',
    ('models/layers.py', 'to_double'): "off Apple's GPUs, which have no float64",
    ('models/quantizer.py', 'svq_sample'): 'in the message of an error',
    ('train/losses.py', '_kernel_responses'): 'three draws of the host itself',
}


def copies(file):
    "(function, line) of each call in a file that copies to the host."
    for function in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if not isinstance(function, ast.FunctionDef): continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in COPIES:
                yield function.name, node.lineno


def hot_files(): return [f for name in HOT for f in sorted(PACKAGE.glob(name))]


@pytest.mark.parametrize('file', hot_files(), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_nothing_is_copied_to_the_host_where_batches_pass(file):
    name = file.relative_to(PACKAGE).as_posix()
    assert [(function, line) for function, line in copies(file) if (name, function) not in ALLOWED] == []


def test_what_is_allowed_is_there():
    there = {(f.relative_to(PACKAGE).as_posix(), function) for f in hot_files() for function, _ in copies(f)}
    assert there >= ALLOWED.keys()
