"""Mixed precision that the tests of several files use."""
import torch
from fastai.callback.fp16 import MixedPrecision


class CPUBF16(MixedPrecision):
    "fastai's bf16 mixed precision on a CPU: its own autocast is for CUDA."
    def __init__(self): super().__init__(amp_mode='bf16')
    def before_fit(self):
        super().before_fit()
        self.autocast = torch.autocast('cpu', dtype=torch.bfloat16)
