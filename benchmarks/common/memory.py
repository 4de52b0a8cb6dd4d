"""What a process holds, on Linux."""
import os
import re
from pathlib import Path

__all__ = ['resident', 'anonymous']


def resident() -> float: # MB
    "All of it; pages of files that are only read come and go."
    return int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 1e6


def anonymous() -> float: # MB
    "What is no file's: the part that a leak would grow."
    return int(re.search(r'RssAnon:\s+(\d+) kB', Path('/proc/self/status').read_text())[1]) * 1024 / 1e6
