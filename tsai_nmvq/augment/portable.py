"""Pickles that are read where this package is not installed too: an exported learner predicts without it."""
from argparse import Namespace
from pydoc import locate

__all__ = ['ByName', 'Portable']


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
