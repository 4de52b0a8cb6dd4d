"""Pickles that are read where this package is not installed too: an exported learner predicts without it."""
from argparse import Namespace
from collections.abc import Sequence
from copy import copy, deepcopy
from multiprocessing.context import get_spawning_popen
from pydoc import locate
from typing import Any, ClassVar

__all__ = ['ByName', 'Portable', 'GeneratorLeftOut']


class ByName:
    "A class or function that is pickled by its name, with what is read instead where nothing has that name."
    def __init__(self,
        obj, # At the top level of a module
        instead # Of Python, or of a package that is there when it is read
    ):
        self.obj, self.instead, self.__name__ = obj, instead, obj.__name__

    def __call__(self, *args, **kwargs): return self.obj(*args, **kwargs)

    def __reduce__(self): # locate(name) or instead, in functions of Python alone; locate knows None where it finds none
        return next, (filter(None, [_Located(f'{self.obj.__module__}.{self.obj.__qualname__}'), self.instead]),)


class _Located:
    def __init__(self, name): self.name = name

    def __reduce__(self): return locate, (self.name,)


class Portable:
    "Base of what an exported learner holds; where it is not known, an object of class `instead` has its attributes."
    instead:type = Namespace

    def __reduce__(self): return object.__new__, (ByName(type(self), self.instead),), self.__getstate__()


class GeneratorLeftOut(Portable):
    "An object with a generator `gen`, which copies share, processes that are being started get, and files do without."
    gen:Any
    transient:ClassVar[Sequence[str]] = () # Attributes that are made anew where needed: neither pickled nor copied

    def __getstate__(self):
        gen = None if get_spawning_popen() is None else self.gen
        return {**self.__dict__, 'gen': gen, **dict.fromkeys(self.transient)}

    def __copy__(self):
        new = type(self).__new__(type(self))
        new.__dict__.update(self.__getstate__(), gen=self.gen)
        return new

    def __deepcopy__(self, memo):
        new = memo[id(self)] = copy(self)
        new.__dict__.update({k: deepcopy(v, memo) for k, v in new.__dict__.items() if k != 'gen'})
        return new
