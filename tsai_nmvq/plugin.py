"""What tsai_nmvq offers tsai: the entry point `nmvq` of the group `tsai`.

No `tsai_randaugs`: NMVQAugment needs a fitted generator. With one, pass `nmvq_randaug(gen)` to RandAugment."""
from .host.hookspecs import hookimpl


@hookimpl
def tsai_batch_tfms():
    from .augment.transform import NMVQAugment
    return dict(NMVQAugment=NMVQAugment)


@hookimpl
def tsai_archs():
    from .models.mapper import NeuralMapper
    from .models.prior import MaskedPrior
    from .models.tokenizer import VQTokenizer
    return dict(VQTokenizer=VQTokenizer, MaskedPrior=MaskedPrior, NeuralMapper=NeuralMapper)


@hookimpl
def tsai_names():
    import tsai_nmvq
    return {name: getattr(tsai_nmvq, name) for name in tsai_nmvq.__all__}
