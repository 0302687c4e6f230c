"""The device mesh and the one table from logical axes to mesh axes.

No other file knows mesh axes. Parameters name their dimensions beside the
initialiser (`nn.with_logical_partitioning(init, ('embed', 'mlp'))`),
activations through `constrain(x_bld, 'batch', 'length', 'channels')`.

- data: each part computes a share of the batch;
- fsdp: so it does, and holds a share of each weight and of its optimiser;
- tensor: each part computes a share of the heads and of the hidden width;
- sequence: each part computes a share of the tokens, and in attention, which
  needs all of them, a share of the heads (DeepSpeed-Ulysses, arXiv:2309.14509).

Convolutions go over data and fsdp alone: the parts of the others compute the
same.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import jax
from absl import logging
from flax import linen as nn
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from videoar_jax.core import console, fields

AXES = ('data', 'fsdp', 'tensor', 'sequence')

# logical axis -> mesh axes that its dimension is split over, in order.
RULES: dict[str, tuple[str, ...]] = {
  'batch': ('data', 'fsdp'),
  # Activations, besides 'heads' and 'mlp'.
  'length': ('sequence',),
  'attention_heads': ('tensor', 'sequence'),
  'time': (),
  # Rows are not split: where another mesh axis has copies of them, XLA adds a
  # convolution's gradient up once for each copy (jax 0.10.2).
  'height': (),
  'width': (),
  'channels': (),
  # Parameters.
  'layers': (),
  'embed': ('fsdp',),
  'heads': ('tensor',),
  'head_dim': (),
  'mlp': ('tensor',),
  'scales': (),
  'bits': (),
  'norm': (),
  # Convolutions: kernel taps, then channels in and out. Sharding the outputs
  # alone keeps a kernel's memory split with one all-gather before its use.
  'taps': (),
  'conv_in': (),
  'conv_out': ('fsdp',),
}
# Where these do not divide, all would compute what was to be shared out.
_MUST_DIVIDE = ('heads', 'attention_heads', 'mlp')
# A compiler pads the last part: tokens come in any number.
_MAY_PAD = ('length',)


_LARGE = 2**24  # bytes, of which a warning is worth its line

_Axis = Annotated[int, fields.Range(least=-1, most=2**20)]


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """Sizes of the mesh axes; one of them may be -1, the devices left over."""

  data: _Axis = -1
  fsdp: _Axis = 1
  tensor: _Axis = 1
  sequence: _Axis = 1

  def __post_init__(self):
    fields.check(self)


def make_mesh(
  config: MeshConfig | None = None, devices: Sequence[Any] | None = None
) -> Mesh:
  """Arranges devices in a mesh with the axes `AXES`.

  With several slices (multislice TPU) the data axis runs over the slices, so
  that only gradients cross the slower network between them.

  Args:
    config: axis sizes; default: all devices on the data axis.
    devices: default `jax.devices()`; a topology's devices for ahead-of-time
      compilation.
  Raises:
    ValueError: the sizes do not multiply to the number of devices.
  """
  devices = list(jax.devices() if devices is None else devices)
  shape = _sizes(config or MeshConfig(), len(devices))
  slices = len({_slice(device) for device in devices})
  if slices == 1:
    grid = mesh_utils.create_device_mesh(
      shape, devices, allow_split_physical_axes=True
    )
  elif shape[0] % slices:
    raise ValueError(
      f'mesh data={shape[0]} does not divide over {slices} slices; '
      f'use a multiple of {slices}'
    )
  else:
    within = (shape[0] // slices, *shape[1:])
    grid = mesh_utils.create_hybrid_device_mesh(
      within, (slices, 1, 1, 1), devices, allow_split_physical_axes=True
    )
  return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def _slice(device: Any) -> int:
  """Which slice a TPU is of; GPUs of several hosts have such numbers, too."""
  if device.platform != 'tpu':
    return 0
  found = getattr(device, 'slice_index', None)
  return getattr(device, 'partition_index', 0) if found is None else found


def _sizes(config: MeshConfig, num_devices: int) -> tuple[int, ...]:
  sizes = [getattr(config, axis) for axis in AXES]
  given = ', '.join(f'{axis}={size}' for axis, size in zip(AXES, sizes))
  known = math.prod(size for size in sizes if size != -1)
  if sizes.count(-1) > 1 or 0 in sizes:
    raise ValueError(
      f'mesh {given}: wanted sizes of at least 1, at most one of them -1 '
      f'(the rest of the {num_devices} devices)'
    )
  if num_devices % known or (-1 not in sizes and known != num_devices):
    raise ValueError(
      f'mesh {given} covers {known} devices and there are {num_devices}; use '
      f'sizes whose product is {num_devices}, or -1 on one axis with the '
      f'others dividing {num_devices}'
    )
  return tuple(num_devices // known if size == -1 else size for size in sizes)


def partition_spec(
  names: Sequence[str | None], shape: Sequence[int], mesh: Any
) -> PartitionSpec:
  """Translates a dimension's logical names to the mesh axes it is split over.

  A dimension that its mesh axes do not divide is split over fewer of them
  (the last dropped first), in the end over none: such a dimension is
  replicated, which costs memory and changes no result. Tokens are split
  unevenly, if there is one for each part. A mesh axis serves one dimension,
  the first that names it.

  Args:
    names: one logical axis for each dimension, or None for replication.
    shape: the array's shape.
    mesh: a Mesh or AbstractMesh with the axes of this file.
  Raises:
    ValueError: a name that RULES does not list, another number of names than
      dimensions, or heads or a hidden width that the mesh does not divide.
  """
  if len(names) != len(shape):
    raise ValueError(
      f'logical axes {tuple(names)} name {len(names)} dimensions of an array '
      f'of shape {tuple(shape)}; give one name for each dimension'
    )
  used: set[str] = set()
  spec = []
  for name, size in zip(names, shape):
    axes = tuple(axis for axis in _rule(name) if axis not in used)
    axes = _dividing(name, size, axes, mesh)
    used.update(axes)
    spec.append(axes[0] if len(axes) == 1 else axes or None)
  while spec and spec[-1] is None:
    spec.pop()
  return PartitionSpec(*spec)


def _dividing(
  name: str | None, size: int, axes: tuple[str, ...], mesh: Any
) -> tuple[str, ...]:
  """Those of some mesh axes, from the first on, that a dimension goes over."""
  parts = math.prod(mesh.shape[axis] for axis in axes)
  if size % parts == 0 or (name in _MAY_PAD and size >= parts):
    return axes
  if name in _MUST_DIVIDE:
    given = ' × '.join(f'{axis}={mesh.shape[axis]}' for axis in axes)
    sizes = ', '.join(str(x) for x in range(1, size + 1) if size % x == 0)
    what = 'hidden channels' if name == 'mlp' else 'heads'
    raise ValueError(
      f'mesh {given} does not divide {size} {what}; use sizes whose product '
      f'is one of {sizes}'
    )
  return _dividing(name, size, axes[:-1], mesh)


def _rule(name: str | None) -> tuple[str, ...]:
  if name is None:
    return ()
  if name not in RULES:
    raise ValueError(
      f'logical axis {name!r} has no rule; use one of {", ".join(RULES)}, or '
      'add it to RULES in core/mesh.py'
    )
  return RULES[name]


def shardings(abstract_boxed_tree: Any, mesh: Mesh) -> Any:
  """NamedShardings for a tree of shapes with logical axes.

  Args:
    abstract_boxed_tree: ShapeDtypeStructs, some inside flax
      `LogicallyPartitioned` boxes (as `jax.eval_shape` of an init gives).
      A leaf without a box is replicated.
    mesh: the mesh.
  Returns:
    The tree without boxes, a NamedSharding at each leaf. Where `fsdp` divides
    no dimension of large arrays, which are then whole on each device, that is
    said once.
  """
  whole = []

  def sharding(leaf: Any) -> Any:
    if not _is_box(leaf):
      return NamedSharding(mesh, PartitionSpec())
    if not jax.tree.leaves(leaf.value):
      # An optimiser of some parameters alone leaves the others' boxes empty.
      return leaf.value
    spec = partition_spec(leaf.names, leaf.value.shape, mesh)
    if not any(spec) and any('fsdp' in _rule(name) for name in leaf.names):
      whole.append(leaf.value.size * leaf.value.dtype.itemsize)
    return NamedSharding(mesh, spec)

  placed = jax.tree.map(sharding, abstract_boxed_tree, is_leaf=_is_box)
  if sum(whole) >= _LARGE and mesh.shape['fsdp'] > 1:
    _warn(
      f'mesh fsdp={mesh.shape["fsdp"]} divides no dimension of {len(whole)} '
      f'arrays: all of their {sum(whole) / 2**20:.0f} MiB are on each device'
    )
  return placed


@functools.cache
def _warn(text: str) -> None:
  logging.warning(text)


def copies(mesh: Mesh) -> int:
  """How many parts of a mesh compute the same of convolutions."""
  return mesh.size // batch_ways(mesh)


def unbox(tree: Any) -> Any:
  """Takes the arrays out of their logical-axis boxes, without constraints."""
  return jax.tree.map(
    lambda leaf: leaf.value if _is_box(leaf) else leaf, tree, is_leaf=_is_box
  )


def logical_axes(boxed_tree: Any) -> Any:
  """The names of each array's dimensions; None for each where unnamed.

  Args:
    boxed_tree: as for `shardings`.
  Returns:
    The tree without boxes, a tuple of names at each leaf.
  """
  return jax.tree.map(
    lambda x: tuple(x.names) if _is_box(x) else (None,) * x.ndim,
    boxed_tree,
    is_leaf=_is_box,
  )


def _is_box(leaf: Any) -> bool:
  return isinstance(leaf, nn.LogicallyPartitioned)


def constrain(x: jax.Array, *logical_axes: str | None) -> jax.Array:
  """Pins an activation's sharding; does nothing without a mesh in context.

  Args:
    x: any array.
    *logical_axes: one name for each dimension, or None to leave it whole.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1:
    for name in logical_axes:
      _rule(name)
    return x
  spec = partition_spec(logical_axes, x.shape, mesh)
  return jax.lax.with_sharding_constraint(x, spec)


def over_shards(
  function: Callable[..., jax.Array],
  arrays: Sequence[jax.Array | None],
  *,
  axes: Sequence[Sequence[str | None]],
  out_axes: Sequence[str | None],
) -> jax.Array:
  """Calls a function on each device's own part of some arrays.

  For kernels that the compiler cannot split; without a mesh in context, or on
  one device, it is an ordinary call.

  Args:
    function: of the arrays' parts; gives an array.
    arrays: its arguments; None is passed on.
    axes: logical axes of each array, given or not.
    out_axes: of what it gives, whose shape is that of the first array.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1:
    return function(*arrays)
  given = [i for i, x in enumerate(arrays) if x is not None]

  def call(*parts: jax.Array) -> jax.Array:
    found = dict(zip(given, parts))
    return function(*(found.get(i) for i in range(len(arrays))))

  return jax.shard_map(
    call,
    mesh=mesh,
    in_specs=tuple(
      partition_spec(axes[i], arrays[i].shape, mesh) for i in given
    ),
    out_specs=partition_spec(out_axes, arrays[0].shape, mesh),
    check_vma=False,
  )(*(arrays[i] for i in given))


def platform() -> str:
  """What the program that is being traced is for: 'cpu', 'gpu' or 'tpu'.

  It is the platform of the mesh in context, whose devices need not be there
  (ahead-of-time compilation); without a mesh, of JAX's default backend.
  """
  kind = device_kind().lower()
  return next((name for name in ('cpu', 'tpu') if kind.startswith(name)), 'gpu')


def device_kind() -> str:
  """What JAX calls the devices that the program being traced is for."""
  device = jax.sharding.get_abstract_mesh().abstract_device
  return (jax.devices()[0] if device is None else device).device_kind


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """The sharding of arrays whose first dimension is the batch."""
  return NamedSharding(mesh, PartitionSpec(RULES['batch']))


def replicated(mesh: Mesh) -> NamedSharding:
  """The sharding of arrays that every device holds whole."""
  return NamedSharding(mesh, PartitionSpec())


def batch_ways(mesh: Mesh) -> int:
  """Over how many parts the batch is split."""
  return math.prod(mesh.shape[axis] for axis in RULES['batch'])


def count_parameters(tree: Any) -> str:
  """How many numbers the arrays of a tree hold, for a reader: `926 M`."""
  return console.count(sum(x.size for x in jax.tree.leaves(tree)))


def describe(mesh: Mesh | None = None) -> str:
  """The devices, for a reader: `4 × NVIDIA H100 (data 2, fsdp 2)`.

  Args:
    mesh: where something runs; None: all devices of this process.
  """
  devices = jax.devices() if mesh is None else list(mesh.devices.flat)
  text = f'{len(devices)} × {devices[0].device_kind}'
  sizes = {} if mesh is None else {k: v for k, v in mesh.shape.items() if v > 1}
  parts = [f'{axis} {size}' for axis, size in sizes.items()]
  if jax.process_count() > 1:
    parts.append(f'{jax.process_count()} processes')
  return text + (f' ({", ".join(parts)})' if parts else '')
