"""What stages 2 and 3 make once of the training split: latents, tokens and class ids."""
import numpy as np
import pytest
import torch

from tsai_nmvq.data import rows
from tsai_nmvq.data.intake import SeriesData
from tsai_nmvq.train import latents
from tsai_nmvq.train.latents import class_ids, nearest_tokens, training_latents


def split(n=23, labels=None):
    "Series, and these as a training split."
    X = np.random.default_rng(0).normal(size=(n, 1, 50)).astype(np.float32)
    return X, SeriesData.from_arrays(X, labels)


@pytest.fixture
def small_chunks(monkeypatch):
    "Series are read 10, encoded and compared 4 at a time."
    monkeypatch.setattr(rows, 'CHUNK_ROWS', 10)
    monkeypatch.setattr(latents, 'ENCODE_ROWS', 4)


def test_latents_are_those_of_every_series_in_order(sharp_tokenizer, small_chunks, monkeypatch):
    X, data = split()
    encoded, sharp_latents = [], sharp_tokenizer.latents
    with torch.no_grad(): expected = sharp_latents(torch.as_tensor(X))
    monkeypatch.setattr(sharp_tokenizer, 'latents', lambda x: (encoded.append(len(x)), sharp_latents(x))[1])
    found = training_latents(sharp_tokenizer.train(), data)
    assert not sharp_tokenizer.training and encoded == [4, 4, 2, 4, 4, 2, 3]
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[band], z, atol=1e-5) for band, z in expected.items())
    assert not any(z.requires_grad for z in found.values())


def test_tokens_are_the_codes_nearest_to_the_latents(sharp_tokenizer, small_chunks):
    found = nearest_tokens(sharp_tokenizer, training_latents(sharp_tokenizer, split()[1]))
    expected = sharp_tokenizer.encode(torch.as_tensor(split()[0]))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[band], tokens) for band, tokens in expected.items())


def test_class_ids_follow_the_names_of_the_specs_vocab():
    spec = split(6, list('abcabc'))[1].spec
    part = split(4, list('cbcb'))[1] # ids 1, 0, 1, 0 of its own
    assert class_ids(part, spec, 3).tolist() == [2, 1, 2, 1]
    with pytest.raises(ValueError, match=r"labels \['d'\] are not in the generator's vocab"):
        class_ids(split(2, list('ad'))[1], spec, 3)


def test_without_labels_every_id_is_the_null_class():
    labelled, plain = split(4, list('abab'))[1], split(4)[1]
    assert class_ids(plain, labelled.spec, 2).tolist() == class_ids(labelled, plain.spec, 2).tolist() == [2] * 4
