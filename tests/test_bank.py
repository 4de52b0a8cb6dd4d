"""The bank of real rows: what it keeps of each class, and what it gives."""
import torch

from tsai_nmvq.augment.bank import ROWS_A_CLASS, RowBank


def marked(values): # rows that show their number
    return torch.as_tensor(values, dtype=torch.float)[:, None, None].expand(-1, 1, 4)


def test_it_gives_rows_of_the_class_and_says_where_it_has_none():
    bank = RowBank(3, torch.zeros(1, 1, 4))
    bank.add(marked([10, 20, 21]), torch.tensor([1, 2, 2]))
    ids = torch.tensor([0, 1, 2] * 50)
    rows, held = bank.draw(ids, torch.Generator().manual_seed(0))
    assert held.tolist() == [False, True, True] * 50
    assert set(rows[ids == 1, 0, 0].tolist()) == {10.} and set(rows[ids == 2, 0, 0].tolist()) == {20., 21.}


def test_it_keeps_the_latest_rows_whatever_the_batches():
    n = 3 * ROWS_A_CLASS + 5
    for size in (1, 7, ROWS_A_CLASS + 3, n):
        bank = RowBank(2, torch.zeros(1, 1, 4))
        for part in torch.arange(n).split(size): bank.add(marked(part), torch.ones_like(part))
        assert sorted(bank.rows[1, :ROWS_A_CLASS, 0, 0].tolist()) == list(range(n - ROWS_A_CLASS, n))
        assert bank.seen.tolist() == [0, n]
