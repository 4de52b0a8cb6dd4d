"""Classifiers that judge whether series keep their class: a quick one, ours, and that of TimeVQVAE's authors."""
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from .classifier import fit_classifier
from .inputs import as_labels, as_series
from .rocket import RocketFeatures

__all__ = ['RocketRidge', 'SmallFCN', 'JUDGES']

ALPHAS = np.logspace(-3, 3, 10)


@dataclass(frozen=True)
class RocketRidge:
    "The quick judge: a ridge classifier on ROCKET features, trained in seconds. [arXiv 1910.13051]"
    features:RocketFeatures     # Fitted on its training series
    ridge:Pipeline              # Standardised features -> labels; the penalty by leave-one-out

    @classmethod
    def fit(cls,
        X, # Series [n, c_in, seq_len], array or tensor, original units
        y, # Labels [n]
        n_kernels:int=1000, # ROCKET kernels
        seed:int=0 # Seed of the kernels
    ) -> 'RocketRidge':
        "Train it."
        x, = as_series(X)
        features = RocketFeatures.fit(x, n_kernels, seed)
        ridge = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=ALPHAS))
        return cls(features, ridge.fit(features(x).cpu().numpy(), as_labels(y, x)))

    def predict(self,
        x # Series [n, c_in, seq_len], array or tensor, original units
    ) -> np.ndarray: # Labels [n], as in the data
        "The class of each series."
        return self.ridge.predict(self.features(x).cpu().numpy())


class SmallFCN(nn.Module):
    "The network of TimeVQVAE's class accuracy score: four convolutions, narrow, with dropout. [arXiv 2303.04743, CAS]"
    def __init__(self,
        c_in:int, # Channels
        c_out:int, # Classes
        widths:tuple=(16, 32, 32, 16), # Channels of the convolutions
        kernels:tuple=(8, 5, 5, 5), # Their lengths
        dropout:float=0.5 # Between them
    ):
        super().__init__()
        layers:list[nn.Module] = []
        for before, width, length in zip((c_in, *widths), widths, kernels):
            layers += [nn.Conv1d(before, width, length, padding='same'), nn.BatchNorm1d(width), nn.ReLU(),
                       nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers[:-1])
        self.head = nn.Linear(widths[-1], c_out)

    def forward(self, x:Tensor) -> Tensor: # [bs, c_in, seq_len] -> logits [bs, c_out]
        return self.head(self.layers(x).mean(-1))


# {name: function (X, y, seed=) -> object with predict(x)}; the authors train 1000 epochs of batches of 256
JUDGES:dict[str, Callable] = dict(
    ridge=RocketRidge.fit,
    fcn=fit_classifier,
    small_fcn=partial(fit_classifier, network=SmallFCN, n_steps=1500, bs=64, lr=3e-3),
)
