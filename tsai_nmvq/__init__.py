"""Neural mapping for vector-quantised time series generation, as a plugin of tsai. [arXiv 2501.17553, 2303.04743]"""
from importlib import import_module

__version__ = "0.1.0"

PUBLIC = {  # the one list of public names: `all.py` and `plugin.py` follow it
    'models.quantizer': ('VectorQuantizer', 'svq_sample'),
    'models.tokenizer': ('VQTokenizer',),
    'models.prior': ('MaskedPrior',),
    'models.mapper': ('NeuralMapper',),
    'data.recording': ('from_recording',),
    'data.spec': ('SeriesSpec',),
    'data.frames': ('series_from_frame',),
    'metrics.frechet': ('fid', 'conditional_fid'),
    'metrics.classifier': ('inception_score', 'tstr', 'trtr'),
    'metrics.distance': ('novelty',),
    'metrics.statistics': ('sharpness',),
    'metrics.rocket': ('RocketFeatures',),
    'metrics.post_hoc': ('discriminative_score', 'predictive_score'),
    'metrics.context': ('context_fid',),
    'train.stage': ('FIDMetric',),
    'train.tokenizer': ('TokenizerLearner',),
    'train.prior': ('PriorLearner',),
    'train.mapper': ('MapperLearner',),
    'generator': ('NMVQGenerator',),
    'class_evaluation': ('class_scores',),
    'corpus': ('write_corpus', 'open_corpus', 'dask_corpus'),
    'augment.transform': ('NMVQAugment',),
    'augment.randaug': ('nmvq_randaug',),
    'augment.callback': ('NMVQSchedule',),
    'oversampler': ('NMVQOverSampler',),
}
_module_of = {name: module for module, names in PUBLIC.items() for name in names}
__all__ = list(_module_of)


def __getattr__(name:str): # `import torch` imports this package, so a name is imported when first asked for
    if name not in _module_of: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f'.{_module_of[name]}', __name__), name)
    return value


def __dir__(): return sorted({*globals(), *__all__})
