from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser(delimiters=['='])
config.read(here/'settings.ini', encoding='utf-8')
cfg = config['DEFAULT']

setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=(here/'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author=cfg['author'],
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords=cfg['keywords'].split(),
    python_requires=f">={cfg['min_python']}",
    packages=find_packages(include=[f"{cfg['lib_path']}*"]),
    package_data={cfg['lib_path']: ['py.typed']}, # type checkers of users read our annotations
    install_requires=cfg['requirements'].split(),
    extras_require={extra: cfg[f'{extra}_requirements'].split() for extra in ('dev', 'containers', 'dask')},
    entry_points={
        'console_scripts': cfg['console_scripts'].split(),
        'tsai': 'nmvq = tsai_nmvq.plugin',
        'torch.backends': 'tsai_nmvq = tsai_nmvq.host.star_import:autoload', # how `import torch` gets to call us
    },
)
