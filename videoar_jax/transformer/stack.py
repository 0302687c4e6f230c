"""Layers of one kind in a scan, rematerialised."""

from collections.abc import Callable

import flax.linen as nn
import jax

from videoar_jax.transformer.config import Remat


def stack(
  block: type[nn.Module], *, remat: str, length: int, shared: int
) -> Callable[..., nn.Module]:
  """A module of so many layers, whose parameters are stacked.

  Args:
    block: module of a layer, called with the tokens, what all layers share, and
      the layer's number.
    remat: what the backward pass computes again, see `Remat`.
    length: how many layers.
    shared: how many arguments they share.

  Returns:
    What makes the module, of `block`'s attributes. It is called as `block` is,
    with the numbers of all layers, and returns the tokens, and what else
    `block` returned, stacked.
  """
  if remat != Remat.NONE:
    policy = None
    if remat == Remat.DOTS:
      policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    block = nn.remat(block, prevent_cse=False, policy=policy)
  return nn.scan(
    block,
    variable_axes={'params': 0},
    split_rngs={'params': True},
    in_axes=(*(nn.broadcast,) * shared, 0),
    out_axes=0,
    length=length,
    metadata_params={nn.PARTITION_NAME: 'layers'},
  )
