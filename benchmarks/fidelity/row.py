"""One row of the table of fidelity: a generator learnt on one data set, and its scores."""
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt

from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.metrics.classifier import fit_classifier, inception_score
from tsai_nmvq.presets import STAGES

from ..common.timing import StageSeconds
from .cases import Case, n_draws

__all__ = ['Run', 'SHOWN']

ROWS = {'real (train)': 'floor', 'reconstructed': 'recon', 'prior alone': 'prior', 'before mapper': 'before',
        'after mapper': 'after'}
SHOWN = ['data', 'seed', 'series', 'FID floor', 'FID recon', 'FID prior', 'FID before', 'FID after',
         'FID improvement, %', 'FID after / floor', 'cFID before', 'cFID after', 'IS test', 'IS before', 'IS after',
         'TSTR floor', 'TSTR recon', 'TSTR prior', 'TSTR before', 'TSTR after', 'novelty prior', 'novelty after',
         'sharpness before', 'sharpness after', 'tau', 'fit, s']


@dataclass(frozen=True)
class Run:
    "How the rows of one table are made."
    path:str            # Folder that holds data/UCR
    folder:Path         # Keeps what is learnt, rows and figures
    preset:str = 'fast' # Of all stages
    mapper:str = ''     # Preset of stage 3 where it differs
    device:str = 'cpu'  # Where to train and sample

    @property
    def stages(self) -> str: # 'fast', 'paper', 'paper+fast'
        "The presets in one word."
        return f'{self.preset}+{self.mapper}' if self.mapper else self.preset

    def row(self,
        case:Case, # Data set, split and seed
        again:str='' # Learn this stage and those after it again
    ) -> dict: # {column: figure}
        "Learn what is not learnt yet, score it, and draw its figure."
        X, y, splits = case.read(self.path)
        watch = StageSeconds(case.file(self.folder, self.stages, '.seconds.json'))
        gen = self.generator(case, X, y, splits, again, watch)
        axs = gen.show(X, y, splits, seed=case.seed)
        axs[0].figure.savefig(case.file(self.folder, self.stages, '.png'), dpi=80)
        plt.close('all')
        return {**_sizes(case, X, y, splits), **_scores(gen, X, y, splits, case.seed), 'tau': gen.tau,
                'fit, s': sum(watch.seconds.values()), **{f'{stage}, s': s for stage, s in watch.seconds.items()}}

    def generator(self,
        case:Case, # Data set, split and seed
        X, # Its series
        y, # Their labels
        splits, # Training and test rows
        again:str='', # Learn this stage and those after it again
        watch:StageSeconds=None # Is told how long each stage took
    ) -> NMVQGenerator:
        "Learn what is not learnt yet."
        file = case.file(self.folder, self.stages, '.nmvq')
        gen = NMVQGenerator(self.preset, self.device, mapper=dict(preset=self.mapper) if self.mapper else None)
        options = dict(seed=case.seed, checkpoint=file, cbs=watch)
        if again not in STAGES: return gen.fit(X, y, splits, **options)
        if file.exists(): gen = NMVQGenerator.load(file, self.device)
        return gen.refit(X, y, splits, from_stage=again, **options)


def _sizes(case, X, y, splits):
    train, test = splits
    return {'data': case.name, 'seed': case.seed, 'series': len(train), 'test series': len(test), 'seq_len': X.shape[2],
            'classes': len(set(y))}


def _scores(gen, X, y, splits, seed):
    train, test = splits
    scores = gen.evaluate(X, y, splits, n_draws=n_draws(len(train)), with_statistics=True, seed=seed)
    floor, before, after = (scores.FID[row] for row in ('real (train)', 'before mapper', 'after mapper'))
    classifier = fit_classifier(X[train], y[train], seed=seed)
    figures = {f'{column} {short}': scores.loc[row, column] for column in scores for row, short in ROWS.items()}
    return {'FID improvement, %': (before - after) / after * 100, 'FID after / floor': after / floor,
            'IS test': inception_score(X[test], classifier), **figures}
