"""What settings.ini asks for: each package at its lowest version (`lowest`), or as it is `installed` here."""
import re
import sys
from configparser import ConfigParser
from importlib.metadata import version

config = ConfigParser(delimiters=['='])
config.read('settings.ini', encoding='utf-8')
lines = '\n'.join(config['DEFAULT'][group] for group in ('requirements', 'dev_requirements')).splitlines()
lowest = dict(re.match(r'([\w-]+)(?:\[.*\])?>=([\d.]+)', line).groups() for line in lines if line and line[0] != '#')
match sys.argv[1:]:
    case ['lowest']: print('\n'.join(f'{name}=={number}' for name, number in lowest.items()))
    case ['installed']: print(', '.join(f'{name} {version(name)}' for name in lowest))
    case _: sys.exit(__doc__)
