"""One of two processes that save and restore the same checkpoints together.

`python checkpoint_pair.py PROCESS PORT FOLDER`: prints one JSON object, the
step or the failed saves that it saw in each of the cases.
"""

import contextlib
import functools
import json
import pathlib
import sys

import disk
import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from videoar_jax.core import manifest
from videoar_jax.core.checkpoint import Checkpoints
from videoar_jax.core.mesh import MeshConfig, make_mesh

LARGE = (64, 70)  # half of it in a file of either process
FULL = 300  # bytes


def make_tree(mesh, step):
  rng = np.random.default_rng(step)
  sharded, whole = (NamedSharding(mesh, P(*x)) for x in (('fsdp',), ()))
  arrays = {
    'large': (rng.normal(size=LARGE).astype(np.float32), sharded),
    'small': (rng.normal(size=3).astype(np.float32), whole),
  }
  return {
    name: jax.make_array_from_callback(x.shape, place, lambda i, x=x: x[i])
    for name, (x, place) in arrays.items()
  }


def cut(path):
  data = path.read_bytes()
  path.write_bytes(data[: len(data) // 2])


class Pair:
  """What both processes do, case by case."""

  def __init__(self, process, folder):
    self.process = process
    self.folder = pathlib.Path(folder)
    self.mesh = make_mesh(MeshConfig(fsdp=2))
    self.abstract = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
      make_tree(self.mesh, 0),
    )

  def saved(self, name, *steps):
    checkpoints = Checkpoints(self.folder / name, keep=9)
    for step in steps:
      checkpoints.save(step, make_tree(self.mesh, step), {}, wait=True)
    return checkpoints

  def restored(self, name, damage):
    """The step after the first process's damage, and which steps it left."""
    self.saved(name, 1, 2, 3).close()
    if self.process == 0:
      damage(self.folder / name / '3')
    multihost_utils.sync_global_devices(name)
    restored = Checkpoints(self.folder / name).restore(self.abstract)
    for key, x in make_tree(self.mesh, restored.step).items():
      for a, b in zip(
        x.addressable_shards, restored.tree[key].addressable_shards
      ):
        np.testing.assert_array_equal(a.data, b.data)
    return restored.step, manifest.list_steps(self.folder / name)

  def failed(self, name, fault, *, where):
    """Saves that failed in all, and the steps after one more that does not."""
    checkpoints = self.saved(name, 1)
    with fault() if self.process == where else contextlib.nullcontext():
      checkpoints.save(2, make_tree(self.mesh, 2), {})
      with contextlib.suppress(manifest.CheckpointError):
        checkpoints.save(2, make_tree(self.mesh, 2), {}, wait=True)
    checkpoints.save(3, make_tree(self.mesh, 3), {}, wait=True)
    checkpoints.close()
    return checkpoints.failed_saves, manifest.list_steps(self.folder / name)


@contextlib.contextmanager
def no_start():
  """A save fails before it writes in the background."""
  before = ocp.PyTreeCheckpointHandler.async_save

  async def fail(*args, **kwargs):
    raise OSError('no memory for it')

  ocp.PyTreeCheckpointHandler.async_save = fail
  yield
  ocp.PyTreeCheckpointHandler.async_save = before


def main() -> None:
  process, port, folder = int(sys.argv[1]), *sys.argv[2:]
  jax.distributed.initialize(f'127.0.0.1:{port}', 2, process)
  pair = Pair(process, folder)
  full = functools.partial(disk.full, FULL)

  def largest(step):
    """The file that the second process alone reads."""
    files = (step / 'arrays' / 'ocdbt.process_1' / 'd').iterdir()
    return max(files, key=lambda path: path.stat().st_size)

  found = {
    'shard': pair.restored('shard', lambda step: cut(largest(step))),
    'manifest': pair.restored(
      'manifest', lambda step: cut(step / 'manifest' / 'metadata')
    ),
    'names': pair.restored('names', lambda x: cut(x / 'arrays' / '_METADATA')),
    'full first': pair.failed('full_0', full, where=0),
    'full second': pair.failed('full_1', full, where=1),
    'no start': pair.failed('start_1', no_start, where=1),
  }
  print(json.dumps(found))


if __name__ == '__main__':
  main()
