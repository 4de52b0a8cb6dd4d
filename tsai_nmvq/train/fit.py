"""One stage after another: how `NMVQGenerator.fit` learns each of them."""
from dataclasses import dataclass
from typing import Any

from ..atomic import check_writable
from ..data.intake import SeriesData
from ..presets import check_epochs
from ..rng import check_seed, isolated_rng
from .stage import StageLearner

__all__ = ['FitOptions', 'fit_stage']


@dataclass(frozen=True)
class FitOptions:
    "What a fit takes beside data and presets."
    epochs:dict|None = None # {'tokenizer': 40, 'prior': 40, 'mapper': 20}; the preset's schedule for those left out
    bs:int|None = None      # Batch size of all stages; the schedule's by default
    seed:int = 0            # Of each stage
    checkpoint:Any = None   # File that keeps each finished stage
    cbs:Any = None          # fastai callbacks added to each stage's Learner

    def __post_init__(self):
        check_epochs(self.epochs)
        check_seed(self.seed)
        if self.checkpoint is not None: check_writable(self.checkpoint)


def fit_stage(
    learner:Any, # Class of the stage: `TokenizerLearner`, `PriorLearner` or `MapperLearner`
    data:SeriesData, # The training split
    *earlier, # Models of the stages before
    settings:dict, # Settings that replace the preset's, and maybe 'preset'
    preset:str, # The preset, unless settings name another
    device, # Where to train
    options:FitOptions # How
) -> StageLearner: # Trained
    "Train a stage under its own seed, so that a fit that goes on draws what a whole one does."
    settings = dict(settings)
    preset = settings.pop('preset', preset)
    with isolated_rng(options.seed, device):
        learn = learner(data, *earlier, preset=preset, settings=settings, bs=options.bs, device=device, cbs=options.cbs)
        learn.model.to(device)
        return learn.fit_schedule((options.epochs or {}).get(learner.stage))
