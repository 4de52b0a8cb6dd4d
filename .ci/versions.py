"""Versions of what settings.ini asks for, in the environment of this interpreter."""
import re
from configparser import ConfigParser
from importlib.metadata import version

config = ConfigParser(delimiters=['='])
config.read('settings.ini', encoding='utf-8')
lines = '\n'.join(config['DEFAULT'][group] for group in ('requirements', 'dev_requirements')).splitlines()
names = [re.split(r'[<>=\[]', line)[0] for line in lines if line and not line.startswith('#')]
print(', '.join(f'{name} {version(name)}' for name in names))
