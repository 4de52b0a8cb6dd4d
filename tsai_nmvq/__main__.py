"""`python -m tsai_nmvq` is the command `nmvq_demo`."""
import sys

from .commands.demo import demo

if __name__ == '__main__':
    sys.argv[0] = 'nmvq_demo'
    demo()
