"""What an exported learner holds of this package, and that it is read without it."""
import copy
import io
import json
import multiprocessing
import pickle
import pickletools
import zipfile

import numpy as np
import pytest
import torch
from fake_generator import FakeGenerator, is_synthetic, loaders
from fastai.learner import load_learner
from fasttransform import ItemTransform
from plugins import python
from tsai.basics import RandAugment, TSClassification, TSClassifier, TSMagScale, TSStandardize, TSTensor

from tsai_nmvq.augment.batch_statistics import AugmentedTensor
from tsai_nmvq.augment.callback import NMVQSchedule
from tsai_nmvq.augment.classes import ClassMap
from tsai_nmvq.augment.randaug import nmvq_randaug
from tsai_nmvq.augment.transform import NMVQAugment

KINDS = dict(
    appended=lambda gen: ([NMVQAugment(gen)], None),
    replaced=lambda gen: ([NMVQAugment(gen, mode='generate', append=False)], None),
    randaugment=lambda gen: ([RandAugment([nmvq_randaug(gen), (TSMagScale, 0.2, 1.)])], None),
    scheduled=lambda gen: ([NMVQAugment(gen)], [NMVQSchedule()]),
)

READ = '''
import json, sys
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] == 'tsai_nmvq': raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, NotInstalled())
import numpy as np, torch
from tsai.basics import *
from tsai.learner import load_all
X, report = np.load('X.npy'), {}
for kind in KINDS:
    report[kind] = [load_learner(f'{kind}.pkl').get_X_preds(X)[0].tolist()]
    clf = load_all(kind)
    report[kind].append(clf.get_X_preds(X)[0].tolist())
    with clf.no_bar(), clf.no_logging(): clf.fit(1)
    report[kind].append(sum(type(tfm) is ItemTransform for tfm in clf.dls.train.after_batch.fs))
    report[kind].append([len(xb) for xb, yb in clf.dls.train])
print(json.dumps(report))
'''


def classifier(data, batch_tfms, cbs=None, path='.'):
    X, y, splits = data
    return TSClassifier(X, y, splits=splits, tfms=[None, TSClassification()], bs=25, path=path, cbs=cbs, arch='FCN',
                        batch_tfms=[*batch_tfms, TSStandardize(by_sample=True)], arch_config=dict(layers=[4, 4, 4]))


def imported_by(pickled): # -> modules that reading it imports
    return {arg.split(' ')[0] for code, arg, _ in pickletools.genops(pickled) if code.name == 'GLOBAL'}


@pytest.fixture(scope='module')
def exported(data, gen, tmp_path_factory):
    "A classifier of each kind, trained and exported both ways: (folder, {kind: predictions})."
    folder, before = tmp_path_factory.mktemp('exported'), {}
    np.save(folder/'X.npy', data[0][:8])
    for kind, make in KINDS.items():
        clf = classifier(data, *make(gen), path=folder)
        with clf.no_bar(), clf.no_logging(): clf.fit(1)
        clf.dls.train.new()                                                # it keeps the types of an augmented batch
        before[kind] = clf.get_X_preds(data[0][:8])[0]
        clf.export(f'{kind}.pkl')
        clf.save_all(folder/kind)
    return folder, before


def test_an_export_is_read_where_the_package_is_not_installed(exported):
    folder, before = exported
    out, _ = python(f'KINDS = {list(before)}{READ}', folder, TORCH_DEVICE_BACKEND_AUTOLOAD='0')
    report = json.loads(out.splitlines()[-1])
    for kind, predicted in before.items():
        once, again, n_noops, sizes = report[kind]
        assert torch.allclose(torch.tensor(once), predicted, atol=1e-6) and once == again
        assert n_noops == (kind != 'randaugment') and sizes == [25, 25]    # it trains on, without augmentation


@pytest.mark.parametrize('kind', KINDS)
def test_reading_an_export_imports_nothing_of_ours(exported, kind):
    files = [exported[0]/f'{kind}.pkl', *(exported[0]/kind).glob('*.p*')]
    assert len(files) == 5
    for file in files:
        with zipfile.ZipFile(file) as archive:
            name, = [name for name in archive.namelist() if name.endswith('/data.pkl')]
            modules = imported_by(archive.read(name))
        assert len(modules) > 1 and not [module for module in modules if module.startswith('tsai_nmvq')]


def test_with_the_package_an_export_has_its_transform(exported):
    clf = load_learner(exported[0]/'scheduled.pkl')
    aug = clf.dls.train.after_batch.nmvq_augment
    assert type(aug) is NMVQAugment and aug.gen is None and (aug.p, aug.mode, aug.order) == (1., 'warp', 80)
    assert isinstance(aug._classes, ClassMap) and aug._classes.to_gen.tolist() == [0, 1]
    assert [type(cb) for cb in clf.cbs if isinstance(cb, NMVQSchedule)] == [NMVQSchedule]
    entry = load_learner(exported[0]/'randaugment.pkl').dls.train.after_batch.rand_augment.tfms[0]
    assert type(entry[0](magnitude=0.25)) is NMVQAugment and entry[0].args[0].magnitude == 0.25


def test_a_batch_is_read_as_a_tensor_of_tsai_without_the_package(monkeypatch):
    x = AugmentedTensor.of(torch.zeros(2, 1, 4), torch.ones(1, 1, 4))
    file = io.BytesIO()
    torch.save((x, AugmentedTensor), file)
    for known, kind in ((True, AugmentedTensor), (False, TSTensor)):
        if not known: monkeypatch.setattr('tsai_nmvq.augment.batch_statistics.AugmentedTensor', None)
        file.seek(0)
        read, cls = torch.load(file, weights_only=False)
        assert type(read) is cls is kind and torch.equal(read.as_subclass(torch.Tensor), x.as_subclass(torch.Tensor))


class OwnAugment(NMVQAugment):
    "A user's subclass, with an argument of its own."
    def __init__(self, gen, own): super().__init__(gen), setattr(self, 'own', own)


def test_a_subclass_keeps_what_it_is():
    aug = pickle.loads(pickle.dumps(OwnAugment(FakeGenerator(), own=3)))
    assert type(aug) is OwnAugment and aug.own == 3 and aug.gen is None


def test_an_unknown_subclass_does_nothing(monkeypatch):
    pickled = pickle.dumps(OwnAugment(FakeGenerator(), own=3))
    monkeypatch.delattr('test_portable.OwnAugment')
    b = torch.zeros(2, 1, 16), torch.zeros(2)
    tfm = pickle.loads(pickled)
    assert type(tfm) is ItemTransform and all(a is b for a, b in zip(tfm(b, split_idx=0), b))


@pytest.mark.parametrize('copied', [copy.copy, copy.deepcopy])
def test_copies_share_the_generator(copied):
    aug = NMVQAugment(FakeGenerator(), p=0.5, seed=1)
    twin = copied(aug)
    assert twin is not aug and twin.gen is aug.gen and twin.p == 0.5
    twin.magnitude = 0 # it decides for itself
    x, _ = twin((torch.zeros(8, 1, 16), torch.zeros(8, dtype=torch.long)), split_idx=0)
    assert len(x) == 8 and len(aug((x, torch.zeros(8, dtype=torch.long)), split_idx=0)[0]) == 12


def test_new_loaders_keep_the_generator():
    dls = loaders(NMVQAugment(FakeGenerator(), seed=0), TSStandardize())
    dl = dls.train.new(bs=10)
    x, _ = dl.one_batch()
    assert len(x) == 20 and dl.after_batch.nmvq_augment.gen is dls.train.after_batch.nmvq_augment.gen
    entry = copy.deepcopy(nmvq_randaug(FakeGenerator()))
    assert entry[0](magnitude=1.).gen is not None


@pytest.mark.parametrize('start', ['fork', 'spawn'])
def test_workers_load_what_the_main_process_augments(start, monkeypatch):
    monkeypatch.setattr(multiprocessing.context._default_context, '_actual_context', multiprocessing.get_context(start))
    dl = loaders(NMVQAugment(FakeGenerator(), seed=0), bs=50).train
    dl.fake_l.num_workers = 1
    for x, _ in dl: assert len(x) == 100 and is_synthetic(x[50:]).all() and not is_synthetic(x[:50]).any()
