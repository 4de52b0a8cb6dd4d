"""Random numbers of our own: the global states are neither read nor set, so threads do not disturb each other."""
import os
import random
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.data import get_worker_info

__all__ = ['OwnRandom', 'python_random', 'check_seed', 'of_this_process', 'generator_on']

RANK_STEP = 1_000_003 # between the seeds of processes

FUNCTIONS = ('rand', 'randn', 'randint', 'randperm', 'rand_like', 'randn_like', 'randint_like', 'normal', 'bernoulli',
             'multinomial', 'poisson')
METHODS = ('uniform_', 'normal_', 'random_', 'bernoulli', 'bernoulli_', 'multinomial', 'exponential_', 'geometric_',
           'cauchy_', 'log_normal_')
DRAWS = {*(getattr(torch, name) for name in FUNCTIONS), *(getattr(Tensor, name) for name in METHODS),
         nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_} # initialisers that torch asks about as a whole


class OwnRandom(TorchFunctionMode):
    """In a `with` block, what this thread draws by torch's functions comes from generators of the block's own.

    They are as torch's global ones after `torch.manual_seed`: the same seed, the same numbers. Neither these nor other
    threads notice. A `generator=` that is named stays the source. What takes none still draws from the global state:
    dropout of RNNs and of attention, alpha dropout, `gumbel_softmax`. [torch.overrides.TorchFunctionMode]"""
    def __init__(self,
        seed:int # Of all sources
    ):
        super().__init__()
        self.seed, self.python = seed, random.Random(seed)
        self.generators:dict[torch.device, torch.Generator] = {}
        self._tokens:list = []

    def on(self,
        device # Where something is drawn
    ) -> torch.Generator:
        "The source of a device, made when it is first asked for."
        device = torch.device(device)
        if device.type != 'cpu' and device.index is None: # 'cuda' is 'cuda:0', or another
            device = torch.empty(0, device=device).device
        if device not in self.generators: self.generators[device] = generator_on(device, self.seed)
        return self.generators[device]

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.dropout: return self._dropout(*args, **kwargs)
        if func in DRAWS and kwargs.get('generator') is None:
            kwargs = {**kwargs, 'generator': self.on(_device(args, kwargs))}
        return func(*args, **kwargs)

    def _dropout(self, input, p=0.5, training=True, inplace=False): # torch's own on a CPU takes the same numbers
        if not training or p == 0: return input
        kept = torch.empty_like(input).bernoulli_(1 - p, generator=self.on(input.device)).div_(max(1 - p, 1e-12))
        return input.mul_(kept) if inplace else input * kept

    def __enter__(self):
        self._tokens.append(CURRENT.set(self))
        return super().__enter__()

    def __exit__(self, *error):
        CURRENT.reset(self._tokens.pop())
        return super().__exit__(*error)


CURRENT:ContextVar[OwnRandom|None] = ContextVar('own_random', default=None) # of this thread's innermost block


def python_random() -> Any: # As the module `random`
    "What draws Python's numbers here: the block's own source, or the global one where there is no block."
    block = CURRENT.get()
    return random if block is None else block.python


def _device(args, kwargs): # of what a function draws
    tensor = args[0] if args and isinstance(args[0], Tensor) else kwargs.get('tensor', kwargs.get('input'))
    if tensor is not None: return tensor.device
    return torch.device(kwargs.get('device') or torch.get_default_device())


def check_seed(
    seed # What the caller passed
) -> int|None: # The same as a plain number
    "ValueError unless it is a whole number that numpy and torch take, or None."
    if seed is None: return None
    if isinstance(seed, bool) or not hasattr(seed, '__index__') or not 0 <= int(seed) < 2 ** 32:
        raise ValueError(f"seed is {seed!r}, expected a whole number from 0 to 2 ** 32 - 1, or None")
    return int(seed)


def of_this_process(
    seed:int # Of all processes of a training
) -> int: # Of this one: the seed itself in the first, or where there is one
    """Processes of a training by torch.distributed draw apart, their rank is in the environment; and so do workers of
    PyTorch's loaders, by the seed that the loader gives each of them anew for every epoch."""
    worker = get_worker_info()
    return (seed + RANK_STEP * int(os.environ.get('RANK', 0)) + (worker.seed if worker else 0)) % 2 ** 64


def generator_on(
    device, # Where it draws
    seed:int|None=None # The same seed gives the same draws; None takes one from the operating system
) -> torch.Generator:
    "A source of randomness of its own."
    generator, seed = torch.Generator(device), None if seed is None else int(seed)
    if seed is None: generator.seed()
    else: generator.manual_seed(seed)
    return generator
