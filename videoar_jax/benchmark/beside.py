"""Our sampling or training beside another's, turn by turn.

Each side is a process of its own that stays alive and computes only when it is
told to, so that neither memory nor threads of one disturb the other.
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

import videoar_jax
from videoar_jax.benchmark import worker
from videoar_jax.core.config import from_section, to_json
from videoar_jax.core.mesh import platform
from videoar_jax.objectives.frame_mask import FrameMaskConfig
from videoar_jax.sample.sampler import PreviewConfig
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.train.optimizer import OptimizerConfig
from videoar_jax.transformer.config import (
  Condition,
  Positions,
  Remat,
  TransformerConfig,
)

TORCH = 'torch'
SAMPLE_PARTS = ('sample', 'rollout', 'decoder', 'encoder')
_STEP = ('step',)
_HERE = pathlib.Path(videoar_jax.__file__).parents[1]
_END_S = 30.0  # for a side to end
# (part) -> seconds of a call
Turn = Callable[[str], float]


def make_request(
  other: str,
  action: str,
  config: Any,
  tokenizer: Any,
  batch_size: int,
  *,
  parts: Sequence[str] = _STEP,
  **options: str,
) -> dict:
  """What sides are asked to measure, see `worker.make_side`.

  Args:
    other: 'torch', or a folder with a checkout of this project.
    action: `sample` or `train`.
    config: of a generator's run.
    tokenizer: section `tokenizer` of a tokenizer's run.
    batch_size: videos at a time.
    parts: of `sample`, from `SAMPLE_PARTS`.
    **options: of `train`, `remat`.

  Raises:
    ValueError: there is no such side, or it has not what is asked for.
  """
  request = {
    'action': action,
    'config': json.loads(to_json(config)),
    'tokenizer': json.loads(to_json(tokenizer)),
    'batch_size': batch_size,
    'parts': list(parts),
    **options,
  }
  if other == TORCH:
    _check_torch()
    _check_twin(request)
  elif not (pathlib.Path(other) / 'videoar_jax' / '__init__.py').is_file():
    raise ValueError(
      f"--beside={other}: wanted 'torch', or a checkout of this project, a "
      'folder with videoar_jax in it'
    )
  return request


def _check_torch() -> None:
  try:
    importlib.metadata.version(TORCH)
  except importlib.metadata.PackageNotFoundError:
    raise ValueError(
      '--beside=torch: the package torch is not installed; run: '
      "pip install -e '.[parity]'"
    ) from None
  if platform() != 'cpu':
    raise ValueError(
      f'--beside=torch on {platform()}: it is of the CPU; set JAX_PLATFORMS=cpu'
    )


def _check_twin(request: dict) -> None:
  """Raises a ValueError for what PyTorch's side does not have."""
  config = request['config']
  transformer = from_section(TransformerConfig, config, 'transformer')
  has = [
    ('transformer.dtype', transformer.dtype, ('float32',)),
    ('transformer.condition', transformer.condition, (Condition.CLASS,)),
    ('transformer.positions', transformer.positions, (Positions.ROPE,)),
    ('transformer.plan', transformer.plan, ('next_scale',)),
  ]
  if request['action'] == 'sample':
    tokenizer = from_section(TokenizerConfig, request['tokenizer'])
    preview = from_section(PreviewConfig, config, 'sampling')
    has.append(('tokenizer.dtype', tokenizer.dtype, ('float32',)))
    if not preview.temperature:
      raise ValueError('sampling.temperature=0: beside torch it must be above')
  else:
    optimizer = from_section(OptimizerConfig, config, 'optimizer')
    mask = from_section(FrameMaskConfig, config, 'frame_mask')
    has.append(('optimizer.kind', optimizer.kind, ('adamw',)))
    has.append(('remat', request['remat'], (Remat.NONE, Remat.FULL)))
    has.append(('frame_mask.is_on', mask.is_on, (False,)))
  for name, value, known in has:
    if value not in known:
      wanted = ' or '.join(map(str, known))
      raise ValueError(f'{name}={value}: beside torch it must be {wanted}')


def measure(other: str, request: dict, rounds: int) -> tuple[list[dict], dict]:
  """Times our side and another, by turns.

  Args:
    other: see `check_request`.
    request: likewise.
    rounds: turns of each side, for each part.

  Returns:
    For each part a row of `summary`; and how far results agree, `agreement`.
    Both say what the sides have in common.

  Raises:
    ValueError: a side refuses what it is given, or ends.
    RuntimeError: any other error of a side, with its traceback.
  """
  twin = other == TORCH
  checkout = _HERE if twin else pathlib.Path(other)
  with (
    Side('here', _HERE) as here,
    Side(other, checkout) as beside,
    tempfile.TemporaryDirectory() as folder,
  ):
    here.ask({**request, 'twin': False})
    beside.ask({**request, 'twin': twin})
    files = [os.path.join(folder, f'{x}.npz') for x in ('here', 'beside')]
    for side, path in zip((here, beside), files):
      side.ask(['results', path])
    with np.load(files[0]) as ours, np.load(files[1]) as theirs:
      agreed = agreement(dict(ours), dict(theirs))
    times = interleave(
      [lambda part, x=x: x.ask(['time', part]) for x in (here, beside)],
      request['parts'],
      rounds,
    )
  common = {'batch_size': request['batch_size'], 'beside': other}
  if 'remat' in request:
    common['remat'] = request['remat']
  rows = [{**common, **summary(part, *x)} for part, x in times.items()]
  return rows, {**common, **agreed}


def interleave(
  sides: Sequence[Turn], parts: Iterable[str], rounds: int
) -> dict[str, list[list[float]]]:
  """Lets sides take turns: part -> for each side its seconds, in order."""
  times = {part: [[] for _ in sides] for part in parts}
  for _ in range(rounds):
    for part, found in times.items():
      for turn, seconds in zip(sides, found):
        seconds.append(turn(part))
  return times


def summary(part: str, here: list[float], beside: list[float]) -> dict:
  """Median, least and most of two sides' seconds, and ratios of the first two.

  A ratio below 1 says that our side is the faster. Where a neighbour disturbed
  some of the turns, the least tell more.
  """
  row: dict[str, Any] = {'part': part}
  for name, seconds in (('here', here), ('beside', beside)):
    row[f'{name}_s'] = statistics.median(seconds)
    row[f'{name}_least_s'] = min(seconds)
    row[f'{name}_most_s'] = max(seconds)
  row['ratio'] = row['here_s'] / row['beside_s']
  row['least_ratio'] = row['here_least_s'] / row['beside_least_s']
  return {**row, 'here_all_s': here, 'beside_all_s': beside}


def agreement(
  ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]
) -> dict[str, float]:
  """How far two sides' results are the same.

  Args:
    ours: bits by scale, `bits_…`, and perhaps the uint8 `video`; or `logits`.
    theirs: likewise.

  Returns:
    `equal_bits` and `equal_pixels`, shares, and `pixel_difference`, the
    greatest; or `logits_difference`, the greatest, and `logits_most`, the
    greatest logit.
  """
  if 'logits' in ours:
    difference = np.abs(ours['logits'] - theirs['logits']).max()
    return {
      'logits_difference': float(difference),
      'logits_most': float(np.abs(ours['logits']).max()),
    }
  same = [
    np.ravel(array == theirs[name])
    for name, array in ours.items()
    if name.startswith('bits_')
  ]
  agreed = {'equal_bits': float(np.concatenate(same).mean())}
  if 'video' not in ours:
    return agreed
  videos = [x['video'].astype(np.int32) for x in (ours, theirs)]
  return {
    **agreed,
    'equal_pixels': float((videos[0] == videos[1]).mean()),
    'pixel_difference': int(np.abs(videos[0] - videos[1]).max()),
  }


@dataclasses.dataclass
class Side(contextlib.AbstractContextManager):
  """A process that measures one side.

  Attributes:
    name: of the side, for messages.
    checkout: whose code is measured.
  """

  name: str
  checkout: pathlib.Path

  def __enter__(self) -> 'Side':
    environment = {
      **os.environ,
      'PYTHONPATH': str(self.checkout.resolve()),
      # On a GPU the sides share its memory.
      'XLA_PYTHON_CLIENT_PREALLOCATE': 'false',
    }
    kept = jax.config.jax_compilation_cache_dir
    if kept:
      environment['JAX_COMPILATION_CACHE_DIR'] = kept
    self._process = subprocess.Popen(
      # -P: modules beside the script are not to be found as its own.
      [sys.executable, '-P', worker.__file__],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      env=environment,
      text=True,
    )
    return self

  def __exit__(self, *_: Any) -> None:
    self._process.stdin.close()
    try:
      self._process.wait(_END_S)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
    self._process.stdout.close()

  def ask(self, told: Any) -> Any:
    """Sends a line and waits for its answer."""
    line = ''
    with contextlib.suppress(BrokenPipeError):
      print(json.dumps(told), file=self._process.stdin, flush=True)
      line = self._process.stdout.readline()
    if not line:
      raise ValueError(
        f'{self.name}: its process ended with status '
        f'{self._process.wait()}, perhaps for want of memory; ask for less'
      )
    reply = json.loads(line)
    if reply.get('refusal'):
      raise ValueError(f'{self.name}: {reply["refusal"]}')
    if 'fault' in reply:
      raise RuntimeError(f'{self.name}: {reply["fault"]}')
    return reply['answer']
