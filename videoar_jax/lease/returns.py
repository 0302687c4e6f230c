"""What comes back from a slice, within the limits of files.

A file that is too large comes back in parts, `NAME.00`, `NAME.01`, …;
`returns.json` says what there was, with sizes and digests. The state of a run
is its newest checkpoint with config and metrics, as a tar file.
"""

import hashlib
import json
import pathlib
import re
import shutil
import tarfile
import tempfile
from collections.abc import Sequence

from videoar_jax.core import export, files, manifest, structure
from videoar_jax.core.export import CHECKPOINTS, CONFIG

MIB = 2**20
MOST_FILES = 8
MOST_BYTES = 16 * MIB  # of a file
ALL_BYTES = 64 * MIB
STATE, ROWS, LOG = 'state.tar', 'rows.jsonl', 'log.txt'
_LIST = 'returns.json'
_SHAPE = structure.Each(
  {
    'bytes': structure.at_least(0),
    'sha256': str,
    'parts': structure.at_least(1),
  },
  key=structure.file_name,
)
_NAME = re.compile(r'[A-Za-z0-9._-]{1,100}')
_MOST_STATE = 2**32


class TooLargeError(ValueError):
  """Something did not fit into what may come back."""


def bring_back(
  paths: Sequence[pathlib.Path],
  out: pathlib.Path,
  *,
  most_bytes: int = MOST_BYTES,
) -> None:
  """Copies files to where they are fetched from, the first ones first.

  Args:
    paths: of the files, in order of what matters most.
    out: a folder, made where it does not exist.
    most_bytes: of a file; larger ones are split.
  Raises:
    TooLargeError: some do not fit; it names them, the others were copied.
  """
  out.mkdir(parents=True, exist_ok=True)
  told, left_out = {}, []
  count, spent = 1, 0  # the list is a file, too
  for path in paths:
    size = path.stat().st_size
    parts = max(1, -(-size // most_bytes))
    if not _NAME.fullmatch(path.name):
      raise ValueError(f'{path}: its name may not come back; rename it')
    if count + parts > MOST_FILES or spent + size > ALL_BYTES:
      left_out.append(f'{path.name} ({size / MIB:.1f} MiB in {parts} files)')
      continue
    count, spent = count + parts, spent + size
    told[path.name] = _copy(path, out, parts, most_bytes)
  (out / _LIST).write_text(json.dumps(told, indent=1) + '\n')
  if left_out:
    raise TooLargeError(
      f'{", ".join(left_out)}: left out, at most {MOST_FILES} files of '
      f'{most_bytes / MIB:.0f} MiB and {ALL_BYTES / MIB:.0f} MiB in all come '
      'back; take a smaller model'
    )


def _copy(path: pathlib.Path, out: pathlib.Path, parts: int, most: int) -> dict:
  """Writes a file, in parts if there are several; what the list says of it."""
  digest = hashlib.sha256()
  with open(path, 'rb') as source:
    for i in range(parts):
      data = source.read(most)
      digest.update(data)
      (out / _part(path.name, i, parts)).write_bytes(data)
  about = {'bytes': path.stat().st_size, 'sha256': digest.hexdigest()}
  return {**about, 'parts': parts}


def _part(name: str, index: int, parts: int) -> str:
  return name if parts == 1 else f'{name}.{index:02d}'


def returned(folder: pathlib.Path) -> dict[str, dict]:
  """What came back into a folder: name -> bytes, sha256, parts.

  Raises:
    ValueError: its list is damaged.
  """
  if not (folder / _LIST).is_file():
    return {}
  return files.read_json(folder / _LIST, _SHAPE, fix='fetch it again')


def part_files(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
  """The files that a returned file lies in; none if it did not come back."""
  parts = returned(folder).get(name, {}).get('parts', 0)
  return [folder / _part(name, i, parts) for i in range(parts)]


def copy_again(
  folder: pathlib.Path, target: pathlib.Path, names: Sequence[str]
) -> None:
  """Copies some of what came back, as it lies there, to another folder."""
  told = {k: v for k, v in returned(folder).items() if k in names}
  target.mkdir(parents=True)
  for name in told:
    for path in part_files(folder, name):
      if not path.is_file():
        raise ValueError(f'{path}: missing; fetch all parts of {name}')
      shutil.copyfile(path, target / path.name)
  (target / _LIST).write_text(json.dumps(told, indent=1) + '\n')


def join(folder: pathlib.Path, name: str, target: pathlib.Path) -> None:
  """Puts a returned file together.

  Raises:
    ValueError: it did not come back, or not as it was.
  """
  about, digest = returned(folder).get(name), hashlib.sha256()
  if about is None:
    raise ValueError(f'{folder}: no {name} came back into it')
  with files.replacing(target) as partial, open(partial, 'wb') as whole:
    for path in part_files(folder, name):
      if not path.is_file():
        raise ValueError(f'{path}: missing; fetch all parts of {name}')
      data = path.read_bytes()
      digest.update(data)
      whole.write(data)
    if digest.hexdigest() != about['sha256']:
      raise ValueError(f'{folder}: {name} is damaged; fetch it again')


def pack_state(workdir: pathlib.Path, target: pathlib.Path) -> bool:
  """Writes a run's state as a tar file; False where nothing was saved."""
  steps = manifest.list_steps(workdir / CHECKPOINTS)
  if not steps:
    return False
  # Of a generator's tokenizer the digests alone: its weights are brought.
  tokenizer = f'{export.TOKENIZER}/{CONFIG}'
  names = [CONFIG, 'metrics.jsonl', tokenizer, f'{CHECKPOINTS}/{steps[-1]}']
  with tarfile.open(target, 'w') as tar:
    for name in names:
      if (workdir / name).exists():
        tar.add(workdir / name, arcname=name)
  return True


def open_state(
  folder: pathlib.Path, workdir: pathlib.Path, *, tokenizer: str = ''
) -> None:
  """Makes a workdir of a state that came back; it replaces what is there.

  Args:
    folder: of what came back.
    workdir: of the run.
    tokenizer: of a generator: the checkpoint that it was trained over.
  Raises:
    ValueError: none came back, it is damaged, it is no such tar file, or the
      tokenizer is missing or another.
  """
  workdir.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=workdir.parent) as scratch:
    joined, opened = pathlib.Path(scratch, STATE), pathlib.Path(scratch, 'run')
    join(folder, STATE, joined)
    try:
      with tarfile.open(joined) as tar:
        if sum(member.size for member in tar) > _MOST_STATE:
          raise ValueError(f'{folder}: {STATE} unpacks to more than 4 GiB')
        tar.extractall(opened, filter='data')
    except tarfile.TarError as error:
      raise ValueError(
        f'{folder}: {STATE} is no such tar file: {error}'
      ) from None
    _put_tokenizer(folder, opened, tokenizer)
    shutil.rmtree(workdir, ignore_errors=True)
    opened.rename(workdir)


def _put_tokenizer(folder: pathlib.Path, workdir: pathlib.Path, path: str):
  """Puts a generator's tokenizer into its workdir, if it is the right one."""
  wanted = export.tokenizer_digests(workdir)
  if wanted is None:
    return
  shutil.rmtree(workdir / export.TOKENIZER)
  if not path:
    raise ValueError(
      f'{folder}: the state of a generator; give --tokenizer, the checkpoint '
      'that it was trained over'
    )
  loaded = export.load_weights(path, expect='tokenizer')
  found = loaded.digests['autoencoder']
  if found != wanted['autoencoder']:
    raise ValueError(
      f'{path}: the tokenizer with digest {found}; the generator was trained '
      f'over {wanted["autoencoder"]}; give that one'
    )
  export.write_loaded(workdir / export.TOKENIZER, loaded)
