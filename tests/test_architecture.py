"""The map in docs/architecture.md against the code, and the rules of the house that can be counted."""
import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1]
PACKAGE = SOURCE/'tsai_nmvq'
PAGE = (SOURCE/'docs'/'architecture.md').read_text(encoding='utf-8')
MAP = re.findall(r'^\| `([\w/]+\.py)` \|', PAGE, re.M) # in the order of the page: a module imports only those above it
TREES = {path: ast.parse((PACKAGE/path).read_text(encoding='utf-8')) for path in MAP if (PACKAGE/path).exists()}
MAX_LINES, MAX_FUNCTION_LINES, MAX_TARGETS = 300, 50, 4


def module_name(path): return path.removesuffix('.py').replace('/', '.')


def imported(path):
    "Absolute names of what a module imports, at the top or inside a function."
    package = ['tsai_nmvq', *module_name(path).split('.')[:-1]]
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import): yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            above = package[:len(package) + 1 - node.level] if node.level else []
            source = '.'.join([*above, *filter(None, [node.module])])
            yield from (f'{source}.{alias.name}' for alias in node.names)


def imported_modules(path): # those of the map
    names = [name.removeprefix('tsai_nmvq.') for name in imported(path) if name.startswith('tsai_nmvq.')]
    return {known for known in MAP for name in names if f'{name}.'.startswith(f'{module_name(known)}.')}


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def test_the_map_names_every_module():
    found = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob('*.py') if path.name != '__init__.py']
    assert sorted(MAP) == sorted(found)


@pytest.mark.parametrize('path', MAP)
def test_imports_only_go_up_the_map(path):
    below = {other for other in imported_modules(path) if MAP.index(other) >= MAP.index(path)}
    assert not below, f"{path} imports {below}, which stand below it in docs/architecture.md"


def test_packages_import_nothing(): # `import torch` imports them
    for path in PACKAGE.glob('*/__init__.py'): assert len(ast.parse(path.read_text(encoding='utf-8')).body) == 1, path


@pytest.mark.parametrize('path', [path for path in MAP if not path.startswith('commands/') and path != '__main__.py'])
def test_nothing_a_plugin_needs_star_imports_tsai(path): # tsai.basics and tsai.all load the plugins
    assert not [name for name in imported(path) if name.startswith(('tsai.basics', 'tsai.all'))]


def test_the_augmentation_needs_no_generator(): # but where it loads one from a file
    needs = [path for path in MAP if path.startswith('augment/') and 'generator.py' in imported_modules(path)]
    assert needs == ['augment/source.py']


def test_stations_of_the_page_exist(): # `train.tau.search_tau`, `generator.NMVQGenerator.fit`
    stations = [name for name in re.findall(r'`([\w.]+)`', PAGE) if '.' in name and not name.endswith(('.py', '.md'))]
    modules = {module_name(path): path for path in TREES}
    named = [(name, next((m for m in sorted(modules, key=len, reverse=True) if name.startswith(f'{m}.')), None))
             for name in stations]
    named = [(name, module) for name, module in named if module]
    assert len(named) > 20
    for name, module in named:
        node = TREES[modules[module]]
        for part in name.removeprefix(f'{module}.').split('.'):
            inside = [child for child in ast.walk(node) if getattr(child, 'name', None) == part]
            assert inside, f"docs/architecture.md names {name}, and {modules[module]} has no {part}"
            node = inside[0]


@pytest.mark.parametrize('path', MAP)
def test_files_and_functions_are_short(path):
    assert len((PACKAGE/path).read_text(encoding='utf-8').splitlines()) <= MAX_LINES
    long = [f.name for f in functions(TREES[path]) if f.end_lineno - f.lineno + 1 > MAX_FUNCTION_LINES]
    assert not long, f"{path}: {long} have more than {MAX_FUNCTION_LINES} lines"


@pytest.mark.parametrize('path', MAP)
def test_statements_are_plain(path):
    for node in ast.walk(TREES[path]):
        where = f"{path}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Expr): assert not isinstance(node.value, ast.Tuple), f"{where}: a tuple as a statement"
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            n_targets = len(node.targets[0].elts)
            assert n_targets <= MAX_TARGETS, f"{where}: {n_targets} assignments on one line"


@pytest.mark.parametrize('path', MAP)
def test_what_is_public_says_what_it_is_for(path): # names of __all__, and methods without underscore of these classes
    tree = TREES[path]
    public = [ast.literal_eval(node.value) for node in tree.body
              if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', None) == '__all__'
              and isinstance(node.value, ast.List)]
    for node in tree.body:
        if public and getattr(node, 'name', None) in public[0]:
            assert ast.get_docstring(node), f"{path}: {node.name} has no docstring"


def test_the_order_check_finds_what_it_looks_for():
    assert 'models/quantizer.py' in imported_modules('models/tokenizer.py')
    assert 'host/manager.py' in imported_modules('host/star_import.py') # inside a function
