"""A few-parameter network and its data, to test training without video."""

import dataclasses
import json
import resource
import sys
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from videoar_jax.core.config import from_dict, section
from videoar_jax.core.mesh import MeshConfig, make_mesh
from videoar_jax.train.cadence import LoopConfig
from videoar_jax.train.loop import run
from videoar_jax.train.optimizer import OptimizerConfig
from videoar_jax.train.state import Update

CACHE = {
  'jax_compilation_cache_dir': None,
  'jax_persistent_cache_min_compile_time_secs': 0,
  'jax_persistent_cache_min_entry_size_bytes': -1,
}
FEATURES = 8
HIDDEN = 16


class Toy(nn.Module):
  """Two matrices and a gain, with the logical axes of a real network."""

  @nn.compact
  def __call__(self, x_bd: jax.Array) -> jax.Array:
    boxed = nn.with_logical_partitioning
    normal = nn.initializers.lecun_normal()
    w_in = self.param(
      'w_in', boxed(normal, ('embed', 'mlp')), (FEATURES, HIDDEN)
    )
    gain = self.param('gain', boxed(nn.initializers.ones, ('norm',)), (HIDDEN,))
    w_out = self.param('w_out', boxed(normal, ('mlp', 'embed')), (HIDDEN, 3))
    return jnp.tanh(x_bd @ w_in) * gain @ w_out


def make_update(*, net: str = 'toy', noise: float = 0.1, **options) -> Update:
  """An update with a per-example mean loss; `noise` makes it use its key."""

  def objective(params, batch, context):
    out = Toy().apply({'params': params}, batch['x'])
    error = out - batch['y']
    for name in sorted(context.nets):
      error = error + 0.1 * context.nets[name]['w_out'][:, 0].mean()
    error = error + noise * jax.random.normal(context.rng, ())
    loss = jnp.mean(jnp.square(error))
    return loss, {'error': jnp.mean(jnp.abs(error))}

  def init(key):
    return Toy().init(key, jnp.zeros((1, FEATURES)))['params']

  names = ('every', 'start', 'averages', 'origin')
  when = {name: options.pop(name) for name in names if name in options}
  settings = {'learning_rate': 1e-2, 'warmup_steps': 2, 'ema_decay': 0.9}
  return Update(
    net=net,
    init=init,
    objective=objective,
    optimizer=OptimizerConfig(**{**settings, **options}),
    **when,
  )


def make_batch(step: int, *, size: int = 16) -> dict[str, np.ndarray]:
  """The batch of a step: a pure function of its number."""
  rng = np.random.default_rng(step)
  x = rng.normal(size=(size, FEATURES)).astype(np.float32)
  return {'x': x, 'y': np.stack([x.sum(1), x[:, 0], x[:, 1] ** 2], 1)}


@pytest.fixture(scope='module', autouse=True)
def compile_cache(tmp_path_factory):
  """Compiles each program once for a module's tests and their processes."""
  folder = tmp_path_factory.getbasetemp() / 'compiled'
  before = {name: getattr(jax.config, name) for name in CACHE}
  for name, value in {**CACHE, 'jax_compilation_cache_dir': folder}.items():
    jax.config.update(name, str(folder) if value is folder else value)
  compilation_cache.reset_cache()
  yield folder
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


def make_batches(step: int, *, size: int = 16):
  """The batches from a step onwards, with a source index that failed."""
  while True:
    failed = np.full((size,), -1, np.int32)
    yield {**make_batch(step, size=size), 'failed': failed}
    step += 1


def train(workdir, *, mesh=None, updates=None, config=None, **options):
  """Runs the loop on the toy; `options` are of LoopConfig or of `run`."""
  updates = [make_update()] if updates is None else updates
  fields = {field.name for field in dataclasses.fields(LoopConfig)}
  settings = {k: options.pop(k) for k in list(options) if k in fields}
  loop = LoopConfig(**{'num_steps': 12, 'log_every': 3, **settings})
  values = {
    'recipe': 'tokenizer',
    'seed': 5,
    'init_from': '',
    'inflation': 'zeros',
    'train': section(loop).to_dict(),
  }
  return run(
    workdir=workdir,
    config=from_dict({**values, **(config or {})}),
    loop=loop,
    updates=updates,
    seed=5,
    mesh=mesh or make_mesh(MeshConfig(), jax.devices()[:1]),
    **{'batches_from': make_batches, **options},
  )


def main() -> None:
  """`python toy.py WORKDIR JSON`: trains in a process that can be killed."""
  workdir, options = sys.argv[1], json.loads(sys.argv[2])
  pause = options.pop('pause_s', 0.0)
  file_bytes = options.pop('file_bytes', None)
  full_at = options.pop('full_at', None)
  hang_at = options.pop('hang_at', None)

  def batches_from(step):
    for batch in make_batches(step):
      time.sleep(3600 if step == hang_at else pause)
      if step == full_at:
        # Files can grow no further, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
      yield batch
      step += 1

  try:
    train(workdir, batches_from=batches_from, **options)
  except ValueError as error:
    sys.exit(f'ERROR {error}')


if __name__ == '__main__':
  main()
