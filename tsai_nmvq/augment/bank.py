"""The latest real rows of each class, from which rows of a rare class are made when a batch has none."""
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['RowBank', 'ROWS_A_CLASS']

ROWS_A_CLASS = 64


class RowBank:
    "A ring of rows a class, on the device of the first batch."
    def __init__(self,
        n_classes:int, # Of the loader
        like:Tensor # A batch [bs, c_in, seq_len]: the bank takes its device and type
    ):
        self.rows = like.new_zeros(n_classes, ROWS_A_CLASS + 1, *like.shape[1:]) # the last takes what is not kept
        self.seen = torch.zeros(n_classes, dtype=torch.long, device=like.device)

    def add(self,
        x:Tensor, # Real rows [n, c_in, seq_len]
        ids:Tensor # Their class ids [n]
    ):
        "Keep rows in the place of the oldest of their class."
        of_class = F.one_hot(ids, len(self.seen))
        place = (of_class.cumsum(0) - 1).gather(1, ids[:, None])[:, 0]   # among the batch's own of this class
        count = of_class.sum(0)
        last = place >= count[ids] - ROWS_A_CLASS                        # of more than fit, the last
        slots = (self.seen[ids] + place) % ROWS_A_CLASS
        self.rows[ids, torch.where(last, slots, ROWS_A_CLASS)] = x       # a mask would wait for the device
        self.seen += count

    def draw(self,
        ids:Tensor, # Class ids [n]
        generator:torch.Generator # Source of randomness on their device
    ) -> tuple: # (rows [n, c_in, seq_len], whether there was one [n])
        "A random row of each class."
        held = self.seen.clamp_max(ROWS_A_CLASS)[ids]
        slots = (torch.rand(len(ids), device=ids.device, generator=generator) * held).long()
        return self.rows[ids, slots], held > 0
