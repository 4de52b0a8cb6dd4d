"""What `import torch` calls, through the entry-point group `torch.backends`: watch for tsai, do nothing else yet.

Imports neither torch nor tsai and never raises: torch turns an exception here into a failed `import torch`."""
import logging
import os
import sys

__all__ = ['autoload']

# Not tsai.data.transforms: both of these, and plugins, import it half-way through their own imports
STAR_MODULES = 'tsai.basics', 'tsai.all'


def autoload():
    "Let tsai's star-import modules find plugins. `TSAI_PLUGINS=0` switches it off."
    try:
        if os.environ.get('TSAI_PLUGINS') == '0' or any(isinstance(f, StarImportFinder) for f in sys.meta_path): return
        for name in STAR_MODULES: # tsai may be in already: `from tsai.all import *` is what imports torch
            if name in sys.modules: connect(sys.modules[name])
        sys.meta_path.insert(0, StarImportFinder())
    except Exception: logging.getLogger(__name__).exception("tsai will not find its plugins")


class StarImportFinder:
    "Finds tsai's star-import modules as the finders after it do, and connects each once it has been executed."
    def find_spec(self, name, path=None, target=None):
        if name not in STAR_MODULES: return None
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, found), None)
        if spec and spec.loader: spec.loader.exec_module = _connected(spec.loader.exec_module)
        return spec


def connect(
    module # One of `STAR_MODULES`, its import finished or under way
):
    "Load plugins when `module` is asked for `__all__`, as a star import does, or for a name that it lacks."
    def __getattr__(name):
        # A module half imported would have its plugins import it in a circle
        ready = not getattr(module.__spec__, '_initializing', False)
        if ready and (name == '__all__' or not name.startswith('__')) and vars(module).pop('__getattr__', None):
            try:
                from .host import load_plugins
                load_plugins()
            except Exception: logging.getLogger(__name__).exception("plugins of tsai could not be loaded")
            if name in vars(module): return vars(module)[name]
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
    module.__getattr__ = __getattr__


def _connected(exec_module):
    def run(module): exec_module(module), connect(module)
    return run
