"""docs/licences.md from the JSON of pip-licenses on stdin: what an installation without extras brings along.

The argument is the folder of the installed packages: wheels hold libraries of GCC, which their metadata leave out."""
import json
import re
import sys
from collections import defaultdict
from configparser import ConfigParser
from pathlib import Path

COPYLEFT = re.compile(r'GPL|MPL|EPL|CDDL|EUPL|OSL')
GCC = {'libgfortran': 'GPL 3 with the GCC runtime exception', 'libgomp': 'GPL 3 with the GCC runtime exception',
       'libquadmath': 'LGPL 2.1'}


def plain(name): return re.split(r'[<>=\[]', name)[0].lower().replace('_', '-')


def asked_for():
    config = ConfigParser(delimiters=['='])
    config.read('settings.ini', encoding='utf-8')
    return {plain(line) for line in config['DEFAULT']['requirements'].splitlines() if line and line[0] != '#'}


def shared_libraries(site):
    "{library of GCC: packages whose wheels hold a copy}"
    found = defaultdict(set)
    for path in site.rglob('lib*.so*'):
        name, package = re.split(r'[-.]', path.name)[0], path.relative_to(site).parts[0]
        if name in GCC: found[name].add(plain(package.removesuffix('.libs')))
    return found


def listed(names): return ', '.join(sorted(names)) or 'none'


direct, found = asked_for(), {plain(row['Name']): row['License'] for row in json.load(sys.stdin)}
if missing := sorted(direct - set(found)): sys.exit(f"not installed: {missing}")
copyleft = [f'{name} ({licence})' for name, licence in found.items() if COPYLEFT.search(licence)]
holders = shared_libraries(Path(sys.argv[1]))
libraries = [f'{name} ({GCC[name]}) in {listed(packages)}' for name, packages in holders.items()]
closed = [name for name, licence in found.items() if 'NVIDIA' in licence]
silent = [name for name, licence in found.items() if licence == 'UNKNOWN']
print(f"""# Licences of what is installed

`pip install tsai_nmvq` in a fresh environment on Linux, which `make inventory` makes; licences are those that the
packages state. tsai_nmvq itself is under Apache 2.0. None of these packages is part of it.

- Copyleft (MPL: of a file, not of what uses it): {listed(copyleft)}.
- Copyleft libraries that wheels hold as files of their own: {'; '.join(sorted(libraries)) or 'none'}.
- Not open, and asked for by the default build of torch on Linux: {listed(closed)}.
- State no licence: {listed(silent)}.

| package | asked for by us | licence |
| --- | --- | --- |""")
for name in sorted(found, key=lambda name: (name not in direct, name)):
    print(f"| {name} | {'yes' if name in direct else ''} | {found[name]} |")
