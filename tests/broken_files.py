"""Generator files that are broken on purpose, and what becomes of them in a process with little memory."""
import json
import math
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save

from tsai_nmvq.generator import NMVQGenerator

MAX_SECONDS, MAX_BYTES = 2, 2 ** 30 # seconds of a processor, which others may share
JUNK = [None, True, False, 0, -1, 1, 2, 3, 0.5, -0.5, 64, 10 ** 6, 10 ** 9, 2 ** 53, 2 ** 63, -2 ** 63, 10 ** 30, 1e30,
        1e300, -1e300, 1e-300, math.nan, math.inf, -math.inf, '', 'a', '1', 'a\nb', 'x' * 5000, [], [1], ['a', 'a'],
        [[1, 2], [3]], {}, {'a': 1}, dict(lf=1), dict(lf=10 ** 9, hf=10 ** 9)]
FILLS = [0., -1., 1e-45, 1e9, 1e30, 3e38, math.nan, math.inf, -math.inf]
DTYPES = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool]


def parts(path):
    "Metadata, header and tensors of a generator file."
    with safe_open(path, 'pt') as f:
        metadata, tensors = f.metadata(), {name: f.get_tensor(name) for name in f.keys()} # noqa: SIM118
    return metadata, json.loads(metadata['generator']), tensors


def written(path, metadata, header, tensors):
    "The file of these; a header as text is taken as it is."
    text = header if isinstance(header, str) else json.dumps(header)
    path.write_bytes(save(tensors, metadata | dict(generator=text)))
    return path


def replaced(tree, where, value):
    "Change a place of nested dicts and lists: 'config.prior.lf_dim'."
    *above, last = where.split('.')
    for key in above: tree = tree[int(key) if isinstance(tree, list) else key]
    tree[int(last) if isinstance(tree, list) else last] = value


def places(tree, above=()): # of all that is in nested dicts and lists
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*above, key)
        yield from places(value, (*above, key))


def nested(depth): return '[' * depth + ']' * depth


# Mutations: functions (draw, raw bytes, metadata, header, tensors) -> bytes

def flip_bits(draw, raw, start, end):
    raw = bytearray(raw)
    for _ in range(draw(st.integers(1, 4))):
        raw[draw(st.integers(start, end - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(raw)


def in_length(draw, raw, *_): return flip_bits(draw, raw, 0, 8)


def in_json(draw, raw, *_): return flip_bits(draw, raw, 8, 8 + int.from_bytes(raw[:8], 'little'))


def in_tensors(draw, raw, *_): return flip_bits(draw, raw, 8 + int.from_bytes(raw[:8], 'little'), len(raw))


def cut(draw, raw, *_): return raw[:draw(st.integers(0, len(raw) - 1))]


def longer(draw, raw, *_): return raw + draw(st.binary(min_size=1, max_size=64))


def value(draw, raw, metadata, header, tensors):
    for _ in range(draw(st.integers(1, 2))):
        found = list(places(header))
        if not found: break
        *above, last = draw(st.sampled_from(found))
        tree = header
        for key in above: tree = tree[key]
        how = draw(st.sampled_from(['junk', 'junk', 'junk', 'number', 'gone', 'more', 'deep']))
        if how == 'gone': del tree[last]
        elif how == 'deep': tree[last] = json.loads(nested(draw(st.integers(2, 400))))
        elif how == 'more' and isinstance(tree, list): tree.append(tree[last])
        elif how == 'more': tree['more'] = draw(st.sampled_from(JUNK))
        elif how == 'number': tree[last] = draw(st.one_of(st.integers(-100, 2 ** 40), st.floats()))
        else: tree[last] = draw(st.sampled_from(JUNK))
    return save(tensors, metadata | dict(generator=json.dumps(header)))


def deep(draw, raw, metadata, header, tensors):
    text = nested(draw(st.sampled_from([500, 990, 1000, 10 ** 4, 10 ** 6])))
    if draw(st.booleans()): text = json.dumps(header)[:-1] + f', "more": {text}' + '}'
    return save(tensors, metadata | dict(generator=text))


def version(draw, raw, metadata, header, tensors):
    other = draw(st.sampled_from(['0', '3', '4', '5', '6', '7', '9', '-7', '7.0', '', 'x', '9' * 5000]))
    return save(tensors, metadata | dict(format_version=other, generator=json.dumps(header)))


def tensor(draw, raw, metadata, header, tensors):
    for name in draw(st.lists(st.sampled_from(sorted(tensors)), min_size=1, max_size=3, unique=True)):
        t = tensors[name]
        match draw(st.sampled_from(['fill', 'fill', 'one', 'type', 'shape', 'larger', 'empty', 'gone', 'named'])):
            case 'fill': t = torch.full_like(t, as_is(t, draw(st.sampled_from(FILLS))))
            case 'one' if t.numel():
                t = t.clone()
                t.view(-1)[draw(st.integers(0, t.numel() - 1))] = as_is(t, draw(st.sampled_from(FILLS)))
            case 'type': t = t.to(draw(st.sampled_from(DTYPES)))
            case 'shape': t = t.reshape(draw(st.sampled_from([(-1,), (-1, 1), (1, -1), t.shape[::-1]]))).contiguous()
            case 'larger': t = torch.cat([t.reshape(t.shape or (1,))] * 2)
            case 'empty': t = torch.empty(0, draw(st.sampled_from([1, 10 ** 9, 2 ** 40])))
            case 'gone': t = None
            case 'named': tensors[draw(st.sampled_from(['more', 'prior.more', 'anchors.targets', 'x.y']))] = t.clone()
        if t is None: del tensors[name]
        else: tensors[name] = t
    return save(tensors, metadata | dict(generator=json.dumps(header)))


def finite(t): return torch.finfo(t.dtype).min, torch.finfo(t.dtype).max


def as_is(t, v): # a value that tensors of this type hold
    if t.dtype == torch.bool: return v
    if t.is_floating_point(): return v if not math.isfinite(v) else float(np.clip(v, *finite(t)))
    v, info = int(v) if abs(v) <= 1e9 else 0, torch.iinfo(t.dtype)
    return min(max(v, info.min), info.max)


KINDS = [value, value, value, value, tensor, tensor, tensor, in_tensors, in_json, in_length, cut, longer, deep, version]


# What becomes of them

def outcome(path):
    "('refused', message, seconds) or ('loaded', None, seconds); AssertionError for all that must not be."
    start = time.process_time()
    try: gen = NMVQGenerator.load(path, 'cpu')
    except (ValueError, FileNotFoundError) as e:
        seconds, message = time.process_time() - start, str(e)
        assert str(path) in message and '\n' not in message and len(message) < 500 + 2 * len(str(path)), message
        assert seconds < MAX_SECONDS, f'refused after {seconds:.1f} s: {message}'
        return 'refused', message, seconds
    x = gen.sample(4, seed=0, missing='complete')[0] if gen.prior is not None else np.zeros((0, 0, 0))
    seconds = time.process_time() - start
    assert np.isfinite(x).all(), 'samples are not finite'
    if len(x): assert np.isfinite(gen.perturb(x)).all() and (gen.mapper is None or repr(gen.report())) and repr(gen)
    assert seconds < MAX_SECONDS, f'loaded after {seconds:.1f} s'
    return 'loaded', None, seconds


def tried(saved, folder, n):
    "Outcomes of n mutations, the same each time."
    outcomes, path, raw = [], Path(folder)/'mutated.nmvq', Path(saved).read_bytes()
    @settings(max_examples=n, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def try_one(data):
        kind = data.draw(st.sampled_from(KINDS))
        path.write_bytes(kind(data.draw, raw, *parts(saved)))
        outcomes.append((kind.__name__, *outcome(path)))
    try_one()
    return outcomes


def limit_memory():
    "No more than a gigabyte on top of what this process has."
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MAX_BYTES,) * 2)


def memory(what): # bytes, on Linux: 'VmRSS' now, 'VmHWM' at most
    return next(int(line.split()[1]) for line in Path('/proc/self/status').open() if line.startswith(what)) * 1024


def in_process(*args):
    "What `main` says of these arguments, in a process with little memory."
    done = subprocess.run([sys.executable, __file__, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def main(saved, *paths): # paths of files, or a number of mutations
    torch.set_num_threads(1)
    outcome(saved)
    Path('/proc/self/clear_refs').write_text('5')                        # the most from here on
    before, folder = memory('VmRSS'), Path(saved).parent
    limit_memory()
    if paths[0].isdigit(): outcomes = tried(saved, folder, int(paths[0]))
    else: outcomes = [(Path(path).stem, *outcome(path)) for path in paths]
    print(json.dumps(dict(outcomes=outcomes, more_bytes=memory('VmHWM') - before)))


if __name__ == '__main__': main(*sys.argv[1:])
