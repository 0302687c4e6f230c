"""One side of a comparison: a process that measures when it is told to.

It is run as a script, with the checkout that it measures first on PYTHONPATH:
of that it uses only what has long been there. It reads lines of JSON: the
request, then `["time", PART]` or `["results", FILE]`; each has a line as its
answer. See `beside`.
"""

import dataclasses
import functools
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from videoar_jax.benchmark.sampling import made_up
from videoar_jax.core import command
from videoar_jax.core.config import from_dict, from_section
from videoar_jax.core.mesh import MeshConfig, make_mesh, unbox
from videoar_jax.objectives.corruption import CorruptionConfig
from videoar_jax.objectives.frame_mask import FrameMaskConfig
from videoar_jax.sample.program import make_sample_program
from videoar_jax.tokenizer.autoencoder import to_uint8
from videoar_jax.train.optimizer import OptimizerConfig
from videoar_jax.train.state import Update, create_state
from videoar_jax.train.step import make_step
from videoar_jax.transformer.prefix import blank_condition

try:
  from videoar_jax.core.compiler import jit
except ImportError:  # an older checkout
  jit = jax.jit
try:
  from videoar_jax.core.placement import shard_batch
except ImportError:  # an older checkout
  from videoar_jax.core.mesh import shard_batch

_TURN_S = 0.5  # a shorter part is called again until so much time has passed
_MOVED = 0.02  # of each initial weight, so that none is zero

_COMPARED = 2  # videos whose logits of training are compared

Parts = dict[str, Callable[[], Any]]


def main() -> None:
  """Answers until there are no more lines."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
  answers = os.fdopen(os.dup(1), 'w', buffering=1)
  os.dup2(2, 1)  # nothing else may speak in between
  parts, results = {}, None
  for line in sys.stdin:
    try:
      told = json.loads(line)
      if isinstance(told, dict):
        parts, results = make_side(told)
        answer = {name: timed(part) for name, part in parts.items()}
      elif told[0] == 'time':
        answer = turn(parts[told[1]])
      else:
        np.savez(told[1], **results())
        answer = None
      reply = {'answer': answer}
    except Exception as error:
      refusal = command.describe(error)
      reply = {'refusal': refusal, 'fault': traceback.format_exc()}
    print(json.dumps(reply), file=answers)


def timed(part: Callable[[], Any]) -> float:
  """Seconds of a call."""
  started = time.perf_counter()
  jax.block_until_ready(part())
  return time.perf_counter() - started


def turn(part: Callable[[], Any]) -> float:
  """Seconds of a call, the mean of as many as fill a turn."""
  times = [timed(part)]
  while sum(times) < _TURN_S:
    times.append(timed(part))
  return sum(times) / len(times)


def make_side(request: dict) -> tuple[Parts, Callable[[], dict]]:
  """What is measured, and what gives the results that are compared.

  Args:
    request: `twin`, whether it is PyTorch's side; `action`, `sample` or
      `train`; `config` of a generator's run, `tokenizer`, a section; `parts`
      and `batch_size`; of `train` also `remat`.
  """
  config = from_dict(request['config'])
  generator = made_up(config, from_dict(request['tokenizer']))
  make = _sampling if request['action'] == 'sample' else _training
  parts, results = make(request, generator)
  return {name: parts[name] for name in request['parts']}, results


def _sampling(request: dict, generator: Any) -> tuple[Parts, Callable]:
  batch, family = request['batch_size'], generator.family
  sampling = generator.sampling(batch_size=batch)
  nets = random_nets(family)
  condition = blank_condition(family.transformer, batch)
  rng = np.random.default_rng(0)
  size = (batch, sampling.num_frames, *sampling.size, 3)
  video = rng.standard_normal(size, np.float32)
  # A decoder may take longer than all else: compared where it is asked for.
  decodes = bool({'sample', 'decoder'} & set(request['parts']))
  if request['twin']:
    from videoar_jax.benchmark.twin import side

    return side.make_sampling(
      family, nets, sampling, condition, video, decodes=decodes
    )
  nets[family.net] = family.inference_params(nets[family.net])
  nets, video = jax.device_put((nets, video))
  program = make_sample_program(family, sampling)
  arguments = (nets, condition, np.arange(batch, dtype=np.uint32), np.uint32(0))
  model = family.autoencoder

  def apply(nets, x, method):
    return model.apply({'params': nets['autoencoder']}, x, method=method)

  roll = jit(lambda *arguments: program(*arguments)[1].bits)
  decode = jit(lambda nets, f: to_uint8(apply(nets, f, 'decode')))
  encode = jit(lambda nets, video: apply(nets, video, 'encode'))
  latent = jax.eval_shape(program, *arguments)[1].f_bthwd.shape
  features = jax.device_put(rng.standard_normal(latent, np.float32))

  def results() -> dict:
    if not decodes:
      return _named(roll(*arguments))
    decoded, sampled = program(*arguments)
    return {**_named(sampled.bits), 'video': decoded}

  parts = {
    'sample': lambda: program(*arguments),
    'rollout': lambda: roll(*arguments),
    'decoder': lambda: decode(nets, features),
    'encoder': lambda: encode(nets, video),
  }
  return parts, results


def _named(bits: Any) -> dict:
  return {f'bits_{s}': x for s, x in enumerate(bits)}


def _training(request: dict, generator: Any) -> tuple[Parts, Callable]:
  batch, config = request['batch_size'], generator.config
  shape = dataclasses.replace(
    generator.family.transformer, remat=request['remat']
  )
  family = dataclasses.replace(generator.family, transformer=shape)
  grid = family.tokenizer.latent_frames(config.data.num_frames)
  plan = family.plan(grid, config.data.height, config.data.width)
  rng = np.random.default_rng(0)
  width = family.tokenizer.latent_width
  size = (batch, *plan.grids[-1].shape, width)
  features = rng.standard_normal(size, np.float32)
  condition = blank_condition(shape, batch)
  few = min(batch, _COMPARED)
  inputs = rng.standard_normal((few, plan.num_tokens, width), np.float32)
  sections = {
    'corruption': from_section(CorruptionConfig, config, 'corruption'),
    'optimizer': from_section(OptimizerConfig, config, 'optimizer'),
  }
  num_steps = config.train.num_steps
  if request['twin']:
    from videoar_jax.benchmark.twin import side

    return side.make_training(
      family,
      random_nets(family),
      sections,
      num_steps,
      features,
      condition,
      inputs,
    )
  update = Update(
    net=family.net,
    init=family.init,
    objective=family.objective(
      sections['corruption'],
      from_section(FrameMaskConfig, config, 'frame_mask'),
    ),
    optimizer=sections['optimizer'],
  )
  mesh = make_mesh(from_section(MeshConfig, config, 'mesh'))
  step = make_step([update], num_steps=num_steps, mesh=mesh)
  state = create_state([update], seed=0, num_steps=num_steps, mesh=mesh)
  name = 'prompt' if condition.ndim > 1 else 'label'
  data = shard_batch({'features': features, name: condition}, mesh)

  def run() -> Any:
    nonlocal state
    state, metrics = step(state, data, {})
    return metrics

  def results() -> dict:
    forward = jit(functools.partial(family.forward, plan=plan))
    params = random_nets(family)[family.net]
    return {'logits': forward(params, inputs, condition[:few])}

  return {'step': run}, results


def random_nets(family: Any) -> dict[str, Any]:
  """Initial parameters, each moved a little; the same for every side."""
  side = family.tokenizer.space_factor
  clip = np.zeros((1, 1, side, side, 3), np.float32)
  keys = jax.random.split(jax.random.key(0))
  first = {
    'autoencoder': jax.jit(family.autoencoder.init)(keys[0], clip)['params'],
    family.net: jax.jit(family.init)(keys[1]),
  }
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: x + _MOVED * rng.standard_normal(x.shape, np.float32),
    jax.device_get(unbox(first)),
  )


if __name__ == '__main__':
  main()
