"""docs/licences.md from the JSON of pip-licenses on stdin: what an installation without extras brings along."""
import json
import re
import sys
from configparser import ConfigParser

COPYLEFT = re.compile(r'GPL|MPL|EPL|CDDL|EUPL|OSL', re.I)

config = ConfigParser(delimiters=['='])
config.read('settings.ini', encoding='utf-8')
lines = config['DEFAULT']['requirements'].splitlines()


def plain(name): return re.split(r'[<>=\[]', name)[0].lower().replace('_', '-')


direct = {plain(line) for line in lines if line and not line.startswith('#')}
found = {plain(row['Name']): row['License'] for row in json.load(sys.stdin)}
found.pop('tsai-nmvq', None)
missing = sorted(direct - set(found))
if missing: sys.exit(f"not installed: {missing}")
copyleft = [f'{name} ({licence})' for name, licence in found.items() if COPYLEFT.search(licence)]
closed = [name for name, licence in found.items() if 'NVIDIA' in licence or licence == 'UNKNOWN']
print('# Licences of what is installed\n')
print("`pip install tsai_nmvq` in a fresh environment on Linux, which `make inventory` makes; licences are those that "
      "the packages state. tsai_nmvq itself is under Apache 2.0. None of these packages is part of it.\n")
print(f"Copyleft (MPL: of a file, not of what uses it): {', '.join(sorted(copyleft)) or 'none'}.")
print(f"Not open: {len(closed)} packages of CUDA, which the default build of torch asks for on Linux: "
      f"{', '.join(sorted(closed))}.\n")
print('| package | asked for by us | licence |\n| --- | --- | --- |')
for name in sorted(found, key=lambda name: (name not in direct, name)):
    print(f"| {name} | {'yes' if name in direct else ''} | {found[name]} |")
