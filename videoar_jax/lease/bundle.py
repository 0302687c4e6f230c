"""The folder that a slice brings along, and its size beside the code.

`about.json` says what is in it. Clips come last and fill what is left: they
take turns over the classes in the order of a digest of their names, so that a
smaller choice is the beginning of a larger one.
"""

import dataclasses
import hashlib
import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence

from videoar_jax import zoo
from videoar_jax.core import export, files, pretrained, structure
from videoar_jax.core.cache import cache_dir
from videoar_jax.data import folder as folder_lib
from videoar_jax.evaluate import provenance, real_features
from videoar_jax.lease import returns
from videoar_jax.lease.slices import CONTENTS, TRAIN_LIST, Slice

ABOUT = 'about.json'
BACK = 'back'  # what came back from the slice before
MOST_BYTES = 64 * returns.MIB
_SHAPE = {
  'slice': str,
  'commit': (str, type(None)),
  'bytes': structure.Each(structure.at_least(0)),
}
_SPARE = returns.MIB // 2  # for names and rounding
_PLATFORMS = tuple(
  f'manylinux{name}_x86_64'
  for name in ('_2_28', '_2_24', '_2_17', '2014', '_2_12', '2010', '1')
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sources:
  """Where a bundle's contents are taken from; '' where they are not needed.

  Attributes:
    data: folder of classes of clips.
    split_file: official list of training clips; '' draws held-out ones.
    tokenizer: any checkpoint of one.
    generator: any checkpoint of one.
    features: a file of `evaluate features`.
    back: folder of what came back from this slice before.
    python: version of the GPU machine's Python.
    packages: to install, or None for those of the slice.
  """

  data: str = ''
  split_file: str = ''
  tokenizer: str = ''
  generator: str = ''
  features: str = ''
  back: str = ''
  python: str = '3.12'
  packages: tuple[str, ...] | None = None


def pack(
  name: str,
  slice_: Slice,
  sources: Sources,
  *,
  out: pathlib.Path,
  most_bytes: int = MOST_BYTES,
) -> dict[str, int]:
  """Makes a slice's bundle; a bundle there is replaced.

  Args:
    name: of the slice.
    slice_: what it brings.
    sources: of its contents.
    out: the folder.
    most_bytes: of bundle and code together.
  Returns:
    Bytes of each part, the code among them.
  Raises:
    ValueError: a source is missing or does not serve, or all together is too
      large; the message has the sizes.
  """
  _check_sources(name, slice_, sources)
  _clear(out)
  sizes = {'code': _code_bytes()}
  _install(slice_, sources, out / CONTENTS['site'])
  if 'i3d' in (*slice_.brings, *slice_.may_bring):
    _bring_i3d(out / CONTENTS['i3d'], needed='i3d' in slice_.brings)
  for half in ('tokenizer', 'generator'):
    if half in slice_.brings:
      loaded = export.load_weights(getattr(sources, half), expect=half)
      export.write_loaded(out / CONTENTS[half], loaded)
  if 'features' in slice_.brings:
    real_features.read(sources.features)
    shutil.copyfile(sources.features, out / CONTENTS['features'])
  _bring_back(slice_, sources.back, out / BACK)
  sizes |= {path.name: _bytes(path) for path in sorted(out.iterdir())}
  if 'clips' in slice_.brings:
    # Whether a state is there or not yet: the next slice sees the same clips.
    state = slice_.state_mib * returns.MIB
    sizes[BACK] = max(sizes.get(BACK, 0), state)
    room = most_bytes - sum(sizes.values()) - _SPARE
    sizes['clips'] = _bring_clips(sources, out, room, sizes)
  _check_size(name, sizes, most_bytes)
  about = {'slice': name, 'bytes': sizes}
  about['commit'] = provenance.versions()['commit']
  (out / ABOUT).write_text(json.dumps(about, indent=1) + '\n')
  return sizes


def read_about(bundle: pathlib.Path, name: str) -> dict:
  """What a bundle says of itself.

  Raises:
    ValueError: there is none, or it is of another slice.
  """
  fix = f'make it with: bash launch/gpu_slices.sh pack {name}'
  if not (bundle / ABOUT).is_file():
    raise ValueError(f'{bundle}: no bundle there; {fix}')
  about = files.read_json(bundle / ABOUT, _SHAPE, fix=fix)
  if about['slice'] != name:
    raise ValueError(f'{bundle}: of slice {about["slice"]}; {fix}')
  return about


def choose_clips(
  listings: Sequence[folder_lib.Listing], sizes: dict[str, int], room: int
) -> list[str]:
  """Names of clips that fit, classes in turn.

  Args:
    listings: of all splits, which are mixed.
    sizes: bytes of each clip.
    room: bytes for all of them.
  """
  turns: dict[str, list[str]] = {}
  for listing in listings:
    for clip in listing.names:
      turns.setdefault(clip.partition('/')[0], []).append(clip)
  for clips in turns.values():
    clips.sort(key=lambda clip: hashlib.sha256(clip.encode()).digest())
  order = [
    clips[i]
    for i in range(max(map(len, turns.values())))
    for _, clips in sorted(turns.items())
    if i < len(clips)
  ]
  chosen = []
  for clip in order:
    room -= sizes[clip]
    if room < 0:
      break
    chosen.append(clip)
  return chosen


def _check_sources(name: str, slice_: Slice, sources: Sources) -> None:
  flags = {'clips': 'data'}
  for part in slice_.brings:
    flag = flags.get(part, part)
    if part != 'i3d' and not getattr(sources, flag):
      raise ValueError(f'slice {name} brings {part}: give --{flag}')


def _clear(out: pathlib.Path) -> None:
  """Empties the folder, if what is in it is a bundle."""
  files.output_folder(out, local=True)
  if out.exists() and any(out.iterdir()):
    parts = {ABOUT, BACK, TRAIN_LIST, *CONTENTS.values()}
    others = [x.name for x in out.iterdir() if x.name not in parts]
    if others:
      raise ValueError(
        f'{out}: holds {others[0]}, which is of no bundle; give another '
        '--bundle'
      )
    shutil.rmtree(out)
  out.mkdir(parents=True, exist_ok=True)


def _code_bytes() -> int:
  """Bytes of the files that git knows or does not ignore, without the zoo's."""
  root = pathlib.Path(__file__).parents[2]
  command = ['git', '-C', str(root), 'ls-files', '-coz', '--exclude-standard']
  try:
    done = subprocess.run(command, capture_output=True, check=True)
  except (OSError, subprocess.CalledProcessError) as error:
    raise ValueError(f'{root}: no checkout of git ({error})') from None
  paths = [root / x for x in done.stdout.decode().split('\0') if x]
  # No slice needs a model that comes along.
  return sum(_bytes(x) for x in paths if zoo.ROOT not in x.parent.parents)


def _bytes(path: pathlib.Path) -> int:
  """Of a file, or of all files in a folder."""
  if path.is_dir():
    return sum(x.stat().st_size for x in path.rglob('*') if x.is_file())
  return path.stat().st_size if path.is_file() else 0


def _install(slice_: Slice, sources: Sources, target: pathlib.Path) -> None:
  """Packs the packages, unpacked as Python imports them, as one archive."""
  packages = sources.packages
  packages = slice_.packages if packages is None else packages
  with tempfile.TemporaryDirectory() as folder:
    if packages:
      run_installer(packages, python=sources.python, target=folder)
    # xz takes a quarter off what wheels take.
    with tarfile.open(target, 'w:xz') as tar:
      tar.add(folder, arcname='.')


def run_installer(packages: Sequence[str], *, python: str, target: str) -> None:
  """Installs packages, without what they depend on, for another machine.

  Raises:
    ValueError: neither pip nor uv is there, or it could not.
  """
  if importlib.util.find_spec('pip'):
    command = [sys.executable, '-m', 'pip', 'install', '--quiet']
    command += ['--implementation', 'cp', '--python-version', python]
    command += [f'--platform={name}' for name in _PLATFORMS]
    command += ['--no-compile', '--disable-pip-version-check']
  elif shutil.which('uv'):
    command = ['uv', 'pip', 'install', '--quiet', '--python-version', python]
    command += ['--python-platform', 'x86_64-manylinux_2_28']
  else:
    raise ValueError('neither pip nor uv is there; run: python -m ensurepip')
  command += ['--no-deps', '--only-binary=:all:', f'--target={target}']
  done = subprocess.run([*command, *packages], capture_output=True, text=True)
  if done.returncode:
    lines = done.stderr.strip().splitlines() or ['no message']
    raise ValueError(f'{" ".join(packages)}: not installed ({lines[-1]})')


def _bring_i3d(target: pathlib.Path, *, needed: bool) -> None:
  """Copies the cached weights of I3D, which carry their digest."""
  try:
    pretrained.load_weights(pretrained.I3D_KINETICS_400)
  except pretrained.MissingWeightsError:
    if needed:
      raise
    return
  name = pathlib.Path(pretrained.I3D_KINETICS_400.member).stem
  cached = cache_dir() / f'{name}.safetensors'
  if not cached.is_file():
    raise ValueError(f'{cached}: not written; set VIDEOAR_CACHE to a folder')
  target.mkdir()
  shutil.copyfile(cached, target / cached.name)


def _bring_back(slice_: Slice, back: str, target: pathlib.Path) -> None:
  """Copies rows and state of the slice before."""
  source = pathlib.Path(back)
  if not back or not source.is_dir():
    return
  state = (returns.STATE,) if slice_.state_mib else ()
  returns.copy_again(source, target, (returns.ROWS, *state))


def _bring_clips(
  sources: Sources, out: pathlib.Path, room: int, sizes: dict[str, int]
) -> int:
  """Copies clips, and the list of those to train on; their bytes."""
  root = pathlib.Path(sources.data)
  splits = folder_lib.list_splits(root, split_file=sources.split_file)
  all_bytes = {x: _bytes(root / x) for split in splits for x in split.names}
  # A line of the list, as well.
  costs = {x: size + len(x) + 4 for x, size in all_bytes.items()}
  chosen = choose_clips(splits, costs, room)
  training = [x for x in chosen if x in set(splits[0].names)]
  classes = splits[0].classes
  if {x.partition('/')[0] for x in training} != set(classes) or len(
    chosen
  ) == len(training):
    raise ValueError(
      f'{sources.data}: room for {len(chosen)} of {len(all_bytes)} clips '
      f'({max(room, 0) / returns.MIB:.1f} MiB beside {_shown(sizes)}); it must '
      'do for training clips of each class and a held-out one'
    )
  for clip in chosen:
    target = out / CONTENTS['clips'] / clip
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / clip, target)
  lines = ''.join(f'{clip}\n' for clip in training)
  (out / TRAIN_LIST).write_text(lines)
  print(
    f'{len(chosen)} of {len(all_bytes)} clips, {len(training)} of them to '
    'train on'
  )
  return _bytes(out / CONTENTS['clips']) + len(lines.encode())


def _check_size(name: str, sizes: dict[str, int], most_bytes: int) -> None:
  total = sum(sizes.values())
  if total > most_bytes:
    raise ValueError(
      f'slice {name} takes {total / returns.MIB:.1f} MiB, wanted at most '
      f'{most_bytes / returns.MIB:.1f}: {_shown(sizes)}; bring fewer packages '
      'or a smaller model'
    )


def _shown(sizes: dict[str, int]) -> str:
  return ', '.join(
    f'{part} {size / returns.MIB:.1f}' for part, size in sizes.items()
  )
