"""What `import torch` calls, through the entry-point group `torch.backends`: watch for tsai, do nothing else yet.

Imports neither torch nor tsai and never raises: torch turns an exception here into a failed `import torch`."""
import logging
import os
import sys

__all__ = ['autoload', 'connect']

# Not tsai.data.transforms: both of these, and plugins, import it half-way through their own imports
STAR_MODULES = 'tsai.basics', 'tsai.all'

log = logging.getLogger(__name__)


def autoload():
    "Let tsai's star-import modules find plugins. `TSAI_PLUGINS=0` switches it off."
    try:
        is_watched = any(isinstance(finder, StarImportFinder) for finder in sys.meta_path)
        if os.environ.get('TSAI_PLUGINS') == '0' or is_watched: return
        for name in STAR_MODULES: # tsai may be in already: `from tsai.all import *` is what imports torch
            if name in sys.modules: connect(sys.modules[name])
        sys.meta_path.insert(0, StarImportFinder())
    except Exception: log.exception("tsai will not find its plugins")


class StarImportFinder:
    "Finds tsai's star-import modules as the finders after it do, and connects each once it has been executed."
    def find_spec(self, name, path=None, target=None):
        if name not in STAR_MODULES: return None
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, found), None)
        if spec and spec.loader: setattr(spec.loader, 'exec_module', _connected(spec.loader.exec_module)) # noqa: B010 - a method, for mypy
        return spec


def connect(
    module # One of `STAR_MODULES`, its import finished or under way
):
    "Load plugins when `module` is asked for `__all__`, as a star import does, or for a name that it lacks."
    def __getattr__(name):
        is_imported = not getattr(module.__spec__, '_initializing', False) # else plugins would import it in a circle
        asks_for_names = name == '__all__' or not name.startswith('__')
        if is_imported and asks_for_names and vars(module).pop('__getattr__', None):
            try:
                from .manager import load_plugins
                load_plugins(STAR_MODULES)
            except Exception: log.exception("plugins of tsai could not be loaded")
            if name in vars(module): return vars(module)[name]
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
    module.__getattr__ = __getattr__


def _connected(exec_module):
    def run(module):
        exec_module(module)
        connect(module)
    return run
