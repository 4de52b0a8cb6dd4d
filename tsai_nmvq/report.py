"""What a generator says of itself: whether its mapper helps, where it is left out, and what is added to batches."""
from dataclasses import dataclass, field
from html import escape

import pandas as pd

from .augment.options import AugmentationChoice
from .data.spec import SeriesSpec
from .mapper_selection import MIN_CLASS_HOLDOUT, MIN_HOLDOUT, STANDARD_ERRORS, MapperSelection

__all__ = ['MapperReport', 'GeneratorReport', 'in_one_line']

BLURRED = 0.7       # of the high-frequency energy of real series
NAMED_CLASSES = 5   # in a sentence


@dataclass(frozen=True, eq=False)
class MapperReport:
    "A mapper's selection as a table and sentences; prints well in a terminal and in a notebook."
    selection:MapperSelection

    @property
    def table(self) -> pd.DataFrame|None: # None where too few series could be held out
        "FID before and after the mapper, of all series and of each class."
        return self.selection.table

    @property
    def use_mapper(self) -> bool: return self.selection.use_mapper

    @property
    def skipped_classes(self) -> tuple: return self.selection.skipped_classes

    @property
    def warnings(self) -> list[str]: # Sentences
        "What a user should know."
        if self.selection.evidence == 'given':
            return ["The mapper was given, and not compared with series held out from it: it is used in all classes."]
        if self.selection.evidence == 'failed':
            return [f"The mapper could not be compared with series held out from it ({self.selection.failure}): it is "
                    "left out."]
        if self.table is None:
            return [f"The training split is too small to hold {MIN_HOLDOUT} series out: "
                    "whether the mapper helps is not known."]
        whole, classes = self.table.iloc[0], self.table.iloc[1:]
        if not self.use_mapper: return [_left_out(whole)]
        sentences = [_REASONS[self.selection.evidence](whole)] if self.selection.evidence in _REASONS else []
        for label in self.skipped_classes:
            row = classes.loc[label]
            sentences.append(f"The mapper makes class {label!r} worse (FID {row.FID_before:.3g} before, "
                             f"{row.FID_after:.3g} after it): it is left out there.")
        few = [repr(label) for label in classes.index[classes.holdout < MIN_CLASS_HOLDOUT]]
        if few:
            sentences.append(f"Fewer than {MIN_CLASS_HOLDOUT} series are held out of {_named(few)}: "
                             "these classes go by the whole.")
        if whole.sharpness_after < BLURRED:
            sentences.append(f"Samples are blurred: {whole.sharpness_after:.2f} of the high-frequency energy of real "
                             f"series, {whole.sharpness_before:.2f} before the mapper.")
        return sentences

    def __repr__(self):
        table = [] if self.table is None else [self.table.round(4).to_string()]
        return '\n'.join([*table, *self.warnings])

    def _repr_html_(self):
        table = '' if self.table is None else self.table.round(4).to_html()
        return table + ''.join(f'<p>{escape(sentence)}</p>' for sentence in self.warnings)


@dataclass(frozen=True, eq=False)
class GeneratorReport(MapperReport):
    "The mapper's selection, and what `NMVQAugment` does by default."
    augmentation:AugmentationChoice = field(default_factory=AugmentationChoice)

    def __repr__(self): return f"{super().__repr__()}\n{self.augmentation.sentence}"

    def _repr_html_(self): return super()._repr_html_() + f'<p>{escape(self.augmentation.sentence)}</p>'


def in_one_line(
    spec:SeriesSpec, # Of the training split
    stages, # Names of those that have been learnt
    tau:float=None # Temperature that stage 3 learnt at
) -> str:
    "What a generator has learnt."
    if not stages: return 'not fitted'
    classes = f'{spec.n_classes} classes' if spec.vocab else 'no labels'
    if spec.conditions.kind != 'classes': classes += f' of {spec.conditions.kind}'
    gaps = [f'{100 * spec.missing:.2g} % missing, shortest {spec.shortest}'] if spec.missing else []
    values = [f'channel {i}: {v}' for i, v in enumerate(spec.values) if not v.is_free]
    rounded = None if tau is None else float(f'{tau:.3g}')
    return ', '.join([f'c_in={spec.c_in}, seq_len={spec.seq_len}', classes, f'{spec.n_series} training series', *gaps,
                      *values, f"stages: {', '.join(stages)}", f'tau={rounded}'])


def _left_out(whole):
    harder = whole.get('accuracy_before', 0) - whole.get('accuracy_after', 0)
    if whole.FID_after > whole.FID_before: harm = 'makes samples worse'
    elif harder > STANDARD_ERRORS * whole.get('accuracy_chance', 0):
        harm = f'makes classes harder to tell, by {100 * harder:.0f} points'
    else: harm = f'changes the samples by no more than chance, on {whole.holdout:.0f} series held out from it'
    return f"The mapper {harm} (FID {whole.FID_before:.3g} before, {whole.FID_after:.3g} after it): it is left out."


def _used_for_learnt(whole):
    return (f"{whole.holdout:.0f} series held out cannot tell (FID {whole.FID_before:.3g} before, "
            f"{whole.FID_after:.3g} after it): the mapper is used for what it gains on series that it has learnt "
            f"({whole.FID_learnt_before:.3g} before, {whole.FID_learnt_after:.3g} after it).")


def _used_for_classes(whole):
    return (f"The mapper changes FID by no more than chance, and is used for the classes: a classifier of mapped "
            f"samples tells {100 * whole.accuracy_after:.0f} % of the series held out, one of unmapped samples "
            f"{100 * whole.accuracy_before:.0f} %.")


_REASONS = dict(learnt=_used_for_learnt, classes=_used_for_classes)


def _named(names): # -> names of a sentence, not too many
    more = len(names) - NAMED_CLASSES
    return ', '.join(names[:NAMED_CLASSES]) + (f' and {more} more' if more > 0 else '')
