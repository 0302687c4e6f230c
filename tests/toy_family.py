"""A family in continuous latents, to try the rollout on any plan with.

A unit is drawn in two passes: the network looks at noise and says what the unit
becomes; then it reads that, and this pass alone stays in the cache.
"""

import dataclasses

import jax
import jax.numpy as jnp
import tiny

from videoar_jax.plan.place import block_units
from videoar_jax.transformer.prefix import prefix_lengths, unconditional


@dataclasses.dataclass(frozen=True)
class ToyFamily:
  """Latents of tiny.NUM_BITS channels by the tiny transformer."""

  changes: tuple = ()

  @property
  def model(self):
    return tiny.transformer(**dict(self.changes))

  def prefill(self, params, condition_bx, *, plan):
    cache = self.model.apply(
      {'params': params}, condition_bx, plan=plan, method='prefill'
    )
    return cache, prefix_lengths(self.model.config, condition_bx)

  def unconditional(self, condition_bx):
    return unconditional(self.model.config, condition_bx)

  def decode(self, params, inputs_blx, cache, *, place, length_b):
    logits, own = self.model.apply(
      {'params': params},
      inputs_blx,
      cache,
      place=place,
      length_b=length_b,
      has_start=False,
      method='decode',
    )
    return prediction(logits), own

  def blank(self, plan, batch):
    return ()

  def sources(self, key_b, block, *, plan, loop):
    def noise(key, number, unit):
      key = jax.random.fold_in(jax.random.fold_in(key, block), number)
      return jax.random.normal(key, (unit.num_tokens, tiny.NUM_BITS))

    return tuple(
      jax.vmap(lambda key, i=i, unit=unit: noise(key, i, unit))(key_b)
      for i, unit in enumerate(block_units(plan, loop.first))
    )

  def draw(self, predict, canvas, source, *, plan, unit, given):
    made = given
    if given is None:
      made, _ = predict(source)
    _, own = predict(made)
    drawn = made if source is None else jnp.stack([source, made], axis=1)
    return drawn, own, canvas

  def made(self, canvas):
    return canvas


def prediction(logits_blq2):
  """What a unit becomes, (b, l, q)."""
  return jnp.tanh(logits_blq2[..., 1] - logits_blq2[..., 0])
