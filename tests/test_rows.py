"""Rows by index: read when asked for, parts of parts, and all of them a bounded number at a time."""
import numpy as np
import pytest
import torch

from tsai_nmvq.data import rows as rows_module
from tsai_nmvq.data.rows import CHUNK_ROWS, Rows, chunk_indices


def watched(n):
    "Rows that are their own index, and what of them has been read."
    reads = []
    def read(idx):
        reads.append(np.asarray(idx).tolist())
        return torch.arange(n)[idx]
    return Rows(read, n), reads


def test_rows_of_tensors_go_together():
    x, y = torch.randn(5, 2), torch.arange(5)
    rows = Rows.of_tensors(x, y)
    a, b = rows(np.array([3, 0]))
    assert len(rows) == 5 and torch.equal(a, x[[3, 0]]) and b.tolist() == [3, 0]
    assert [t.shape for t in rows(slice(None))] == [x.shape, y.shape]


def test_a_part_of_a_part_reads_what_is_asked_for_and_nothing_else():
    rows, reads = watched(20)
    part = rows.subset(np.arange(10, 20)).subset(np.array([7, 7, 1]))
    assert len(part) == 3 and reads == []
    assert part(np.array([2, 0])).tolist() == [11, 17] and reads == [[11, 17]]


@pytest.mark.parametrize('n', [0, 1, CHUNK_ROWS, CHUNK_ROWS + 1, 2 * CHUNK_ROWS + 7])
def test_chunks_are_all_indices_in_order(n):
    chunks = list(chunk_indices(n))
    assert [i for chunk in chunks for i in chunk.tolist()] == list(range(n))
    assert [len(chunk) for chunk in chunks[:-1]] == [CHUNK_ROWS] * (len(chunks) - 1)
    assert all(0 < len(chunk) <= CHUNK_ROWS for chunk in chunks)


def test_chunks_follow_the_bound(monkeypatch):
    monkeypatch.setattr(rows_module, 'CHUNK_ROWS', 3)
    assert [chunk.tolist() for chunk in chunk_indices(7)] == [[0, 1, 2], [3, 4, 5], [6]]
