"""Every public name at once: `from tsai_nmvq.all import *`."""
from . import *
from . import __all__ as __all__
