"""What batches are augmented with by default: options, what they are known to give, and a decision between them."""
from dataclasses import dataclass

import pandas as pd

__all__ = ['Option', 'OPTIONS', 'NONE', 'FIGURES', 'AugmentationChoice']

NONE = 'none'                   # adds no rows and gains nothing


@dataclass(frozen=True)
class Option:
    "What a mode of `NMVQAugment` gave on other data sets: the expectation that a trial is weighed against."
    p:float             # Rows added for each real one
    over:str            # The option that it is compared with
    gain:float          # Points of accuracy over that one, mean over sets
    deviation:float     # Of that gain between sets, without the noise of seeds


# {mode: option}, the usual one first. Gains: benchmarks/results/augmentation_log.md, "Choosing"
OPTIONS:dict[str, Option] = dict(warp=Option(1., NONE, 0.7, 1.5), generate=Option(1., 'warp', -0.3, 0.7))
USUAL, *_ = OPTIONS             # where nothing was tried
FIGURES = 'tried', 'error', 'usual', 'expected', 'deviation' # of an option over none, in points of accuracy
LIKELY = 1.64                   # deviations to either side of what is expected: 90 %


@dataclass(frozen=True, eq=False)
class AugmentationChoice:
    "What `NMVQAugment` does by default, and the figures that decided it. Without a table it is what is usual."
    table:pd.DataFrame|None = None  # A row a mode: tried gain and its error, usual and expected gain, its deviation
    reason:str = ''                 # Why nothing was tried

    @property
    def is_made(self) -> bool: return self.table is not None or bool(self.reason)

    @property
    def name(self) -> str: # The mode of the highest expected gain; 'none' where none gains
        if self.table is None: return USUAL
        best = self.table.expected.idxmax()
        return best if self.table.expected[best] > 0 else NONE

    @property
    def mode(self) -> str: return USUAL if self.name == NONE else self.name # Of `NMVQAugment`

    @property
    def p(self) -> float: return 0. if self.name == NONE else OPTIONS[self.name].p # Rows added for each real one

    @property
    def sentence(self) -> str:
        "The choice in words."
        what = f"NMVQAugment(gen) adds rows of mode {self.name!r}" if self.p else "NMVQAugment(gen) adds no rows"
        if self.table is None:
            return f"{what}, as is usual: it was not tried ({self.reason or 'the generator is of an earlier version'})."
        best = self.table.loc[self.table.expected.idxmax()]
        low, high = (best.expected + side * LIKELY * best.deviation for side in (-1, 1))
        return (f"{what}: {best.expected:+.1f} points of accuracy are expected of them (90 %: {low:+.1f} to "
                f"{high:+.1f}), by {best.tried:+.1f} ± {best.error:.1f} on series held back and {best.usual:+.1f} on "
                "other data.")

    def to_dict(self) -> dict: # Plain lists, numbers and strings
        "What JSON can hold of it."
        if self.table is None: return dict(reason=self.reason)
        return dict(options=list(self.table.index), columns={name: v.tolist() for name, v in self.table.items()})

    @classmethod
    def from_dict(cls,
        d:dict|None # From `to_dict`; None of an earlier version
    ) -> 'AugmentationChoice':
        "Inverse of `to_dict`."
        if d is None or 'columns' not in d: return cls(**(d or {}))
        return cls(pd.DataFrame(d['columns'], d['options']))
