"""The generator that an augmentation draws on: one at hand, or the file of one.

All else in this folder needs no generator's code."""
import os

__all__ = ['given_generator', 'check_stages', 'NO_GENERATOR', 'LOST_GENERATOR']

ASKED = 'spec', 'prior', 'device' # and sampler, which a generator has once it is fitted

# Warnings
NO_GENERATOR = "NMVQAugment has no generator and does nothing; pass it one, or the path of its file: NMVQAugment(gen)"
LOST_GENERATOR = ("this learner was saved without the generator of its NMVQAugment, which now does nothing; put it "
                  "back before training on: learn.dls.train.after_batch.nmvq_augment.gen = gen")


def given_generator(
    gen # Fitted `NMVQGenerator`, path of its file, or None
): # The generator; None for None
    "Load a file, and refuse what is no generator or is not fitted."
    if gen is None: return None
    if isinstance(gen, (str, os.PathLike)):
        from ..generator import NMVQGenerator
        gen = NMVQGenerator.load(gen)
    if not all(hasattr(gen, name) for name in ASKED):
        raise TypeError(f"gen is of type {type(gen).__name__}, expected an NMVQGenerator or the path of its file; pass "
                        "a fitted one, or what gen.save wrote")
    return check_stages(gen, gen.spec)


def check_stages(
    gen, # `NMVQGenerator`
    *needed # Of its parts: None where they have not been learnt
): # The generator
    "RuntimeError where something is missing."
    if all(part is not None for part in needed): return gen
    raise RuntimeError("the generator is not fitted: call gen.fit(X, y, splits=splits) before NMVQAugment(gen)")
