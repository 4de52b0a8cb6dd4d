"""One stage after another: how `NMVQGenerator.fit` learns each of them."""
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastai.torch_core import rank_distrib

from ..atomic import check_writable, remove
from ..data.intake import SeriesData
from ..presets import check_epochs
from ..rng import OwnRandom, check_seed
from .resume import ResumeStage, drop_part, part_of, training_key
from .stage import StageLearner

__all__ = ['FitOptions', 'fit_stage']


@dataclass(frozen=True)
class FitOptions:
    "What a fit takes beside data and presets."
    epochs:dict|None = None # {'tokenizer': 40, 'prior': 40, 'mapper': 20}; the preset's schedule for those left out
    bs:int|None = None      # Batch size of all stages; the schedule's by default
    seed:int = 0            # Of each stage
    checkpoint:Any = None   # File that keeps each finished stage; beside it another keeps the epochs of one under way
    cbs:Any = None          # fastai callbacks added to each stage's Learner; files keep nothing of them

    def __post_init__(self):
        check_epochs(self.epochs)
        check_seed(self.seed)
        if not self.writes: return
        for file in (self.checkpoint, part_of(self.checkpoint)): check_writable(file)

    @property
    def writes(self) -> bool: # Processes of one launch learn the same: the first keeps it for all
        return self.checkpoint is not None and not rank_distrib()

    def keep_finished(self,
        stages:dict, # {stage: model}; those that have been learnt
        save:Callable # Function of a file: writes them
    ):
        "Write finished stages to the checkpoint, where there is one; what was kept of the last one's epochs goes."
        if not self.writes: return
        if stages: save(self.checkpoint)
        else: remove(self.checkpoint)
        drop_part(self.checkpoint)


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
    with OwnRandom(options.seed) as own:
        learn = learner(data, *earlier, preset=preset, settings=settings, bs=options.bs, device=device, cbs=options.cbs)
        learn.model.to(device)
        epochs = (options.epochs or {}).get(learner.stage) or learn.scheduled_epochs
        if options.checkpoint is not None:
            key = training_key(learn, data, earlier, epochs, options.seed)
            resume = ResumeStage(part_of(options.checkpoint), key, own, options.writes)
            resume.prepare(learn)
            learn.add_cb(resume)
        return learn.fit_schedule(epochs)
