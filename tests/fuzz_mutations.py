"""Damage to files and values for flags, drawn from a seeded generator."""

import json
import pathlib
import struct

import numpy as np

# What any flag may be given.
VALUES = (
  *('', ' ', '-1', '0', '1', '2', '-0.0', '0.5', '1.5', '1e-9', '1e309'),
  *('nan', 'inf', '-inf', '2147483648', '9223372036854775808', '1' + 40 * '0'),
  *('x', '.', '..', '/', '/proc/x', '/dev/null', '~', '-', '--', '%s%d%n'),
  *('../etc', 'a' * 5000, 'ä\u202e', '\udcff', 'a,b', '[]', '{}', 'None'),
  *('true', '1,8', '16x16', '0x0', '99999x99999', 'synthetic', 'folder:/'),
  *('features:', 'array_record:/nowhere', 'ucf', '1:2:3', 'nan:1:1'),
)
_JSON_VALUES = (
  *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, -1e308, '', 'x'),
  *('../outside', '/outside', 'a/b', 'nan', [], {}, [[]], [None], {'x': []}),
  *('\ud800', 'a' * 10_000, [10**9, 10**9], float('nan'), float('inf')),
)


def damage(path: pathlib.Path, rng: np.random.Generator) -> str:
  """Damages a file in place; says how."""
  kinds = [flip, flip, cut, empty, fill, insert, repeat]
  if path.suffix in ('.json', '.jsonl'):
    kinds += [change_json] * 6
  elif path.suffix == '.safetensors':
    kinds += [change_header] * 3
  kind = kinds[rng.integers(len(kinds))]
  return f'{kind.__name__} {path.name}{kind(path, rng)}'


def flip(path: pathlib.Path, rng: np.random.Generator) -> str:
  """One to eight bits, often near an end, where headers are."""
  data = bytearray(path.read_bytes())
  places = []
  for _ in range(int(rng.integers(1, 9)) if data else 0):
    reach = len(data) if rng.random() < 0.5 else min(len(data), 256)
    place = int(rng.integers(reach))
    place = place if rng.random() < 0.7 else len(data) - 1 - place
    data[place] ^= 1 << int(rng.integers(8))
    places.append(place)
  path.write_bytes(data)
  return f' at {places}'


def cut(path: pathlib.Path, rng: np.random.Generator) -> str:
  data = path.read_bytes()
  size = int(rng.integers(len(data) + 1))
  path.write_bytes(data[:size])
  return f' to {size} of {len(data)} bytes'


def empty(path: pathlib.Path, rng: np.random.Generator) -> str:
  del rng
  path.write_bytes(b'')
  return ''


def fill(path: pathlib.Path, rng: np.random.Generator) -> str:
  """The same length, of noise or of zeros."""
  size = path.stat().st_size
  noise = rng.bytes(size) if rng.random() < 0.5 else bytes(size)
  path.write_bytes(noise)
  return ''


def insert(path: pathlib.Path, rng: np.random.Generator) -> str:
  data = path.read_bytes()
  place = int(rng.integers(len(data) + 1))
  path.write_bytes(data[:place] + rng.bytes(7) + data[place:])
  return f' at {place}'


def repeat(path: pathlib.Path, rng: np.random.Generator) -> str:
  del rng
  path.write_bytes(2 * path.read_bytes())
  return ''


def change_json(path: pathlib.Path, rng: np.random.Generator) -> str:
  """One value, key or item of a JSON file, or the whole of it."""
  text = path.read_text()
  if path.suffix == '.jsonl':
    lines = text.splitlines()
    row = int(rng.integers(len(lines)))
    lines[row], how = _changed(lines[row], rng)
    path.write_text('\n'.join(lines) + '\n', errors='surrogatepass')
    return f' line {row}{how}'
  text, how = _changed(text, rng)
  path.write_text(text)
  return how


def change_header(path: pathlib.Path, rng: np.random.Generator) -> str:
  """The JSON header of a safetensors file, its length stated rightly."""
  data = path.read_bytes()
  (size,) = struct.unpack('<Q', data[:8])
  text, how = _changed(data[8 : 8 + size].decode(), rng)
  header = text.encode()
  path.write_bytes(struct.pack('<Q', len(header)) + header + data[8 + size :])
  return how


def _changed(text: str, rng: np.random.Generator) -> tuple[str, str]:
  root = json.loads(text)
  places = list(_places(root))
  value = _JSON_VALUES[rng.integers(len(_JSON_VALUES))]
  if not places or rng.random() < 0.1:
    return json.dumps(value), f' is {value!r:.40}'
  parent, key = places[rng.integers(len(places))]
  if rng.random() < 0.2:
    del parent[key]
    return json.dumps(root), f' without {key}'
  parent[key] = value
  return json.dumps(root), f' {key}={value!r:.40}'


def _places(value):
  """Every (container, key) below a JSON value."""
  pairs = (
    value.items()
    if isinstance(value, dict)
    else enumerate(value)
    if isinstance(value, list)
    else ()
  )
  for key, inner in list(pairs):
    yield value, key
    yield from _places(inner)
