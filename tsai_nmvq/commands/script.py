"""What makes a function a command: arguments by `call_parse`, errors in one line, and checks before minutes of work.

What takes seconds to import is imported where it is needed, so that `--help` answers at once."""
import sys
import time
import traceback
from functools import wraps
from pathlib import Path

from fastcore.script import call_parse, is_cli

__all__ = ['command', 'Clock', 'stage_lines', 'check_at_least_one']

PACKAGE = __name__.partition('.')[0]


def command(
    func # Function with docments
): # The same, and a script
    """A script by `call_parse`, and a function as before.

    In the script, an error of ours is one line on stderr and exit code 1; `call_parse` gives 2 for wrong arguments."""
    @wraps(func)
    def run(*args, **kwargs):
        if not is_cli(): return func(*args, **kwargs)
        try: func(*args, **kwargs)                                       # what it returns is no exit code
        except KeyboardInterrupt:
            _say_how_to_go_on(kwargs)
            sys.exit(130)
        except Exception as e:
            if not _is_users(e): raise
            sys.exit(f"{Path(sys.argv[0]).name}: {' '.join(str(e).split())}")
    return call_parse(run)


def _say_how_to_go_on(args): # of a command that was stopped
    if 'checkpoint' not in args: return
    how = ('run the same command again to go on' if args['checkpoint']
           else 'with --checkpoint FILE the next one can go on')
    print(f"{Path(sys.argv[0]).name}: stopped; {how}", file=sys.stderr)


def _is_users(error): # raised by a check of this package or by the operating system; the traceback of a bug stays
    frame = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1]
    ours = frame.f_globals.get('__name__', '').partition('.')[0] == PACKAGE
    return isinstance(error, OSError) or ours and isinstance(error, (ValueError, TypeError, RuntimeError))


class Clock:
    "Seconds from one mark to the next."
    def __init__(self): self.last, self.seconds = time.perf_counter(), {}

    def mark(self,
        name:str # Of what is done now
    ):
        "Keep the seconds since the last mark."
        now = time.perf_counter()
        self.seconds[name], self.last = now - self.last, now

    def __str__(self):
        seconds = self.seconds | {'all': sum(self.seconds.values())}
        return ', '.join(f'{name} {s:.0f}' for name, s in seconds.items())


def stage_lines(
    clock:Clock # Is told when a stage ends
): # fastai Callback
    "Say which stage begins, and mark its end."
    from fastai.callback.core import Callback
    def before_fit(self):
        first = self.learn.first_epoch
        goes_on = f', goes on after epoch {first}' if first else ''
        print(f"\n{self.learn.stage}, epochs: {self.n_epoch}{goes_on}", flush=True)
    def after_fit(self): clock.mark(self.learn.stage)
    return Callback(before_fit=before_fit, after_fit=after_fit)


def check_at_least_one(
    **numbers # Named numbers, or None where they were left out
):
    "ValueError for a number below 1."
    for name, number in numbers.items():
        if number is not None and number < 1: raise ValueError(f"{name} is {number}, expected 1 or more")
