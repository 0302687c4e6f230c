"""AdamW or Muon: warm-up, cosine decay, clipping, decay of matrices alone."""

import dataclasses
from typing import Annotated, Any

import jax
import optax

from videoar_jax.core import fields
from videoar_jax.train.muon import Axes, matrix_of, muon

# Logical axes whose arrays never decay: norm gains, embeddings of a scale.
UNDECAYED = frozenset({'norm', 'scales'})


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """How one network's parameters are updated.

  Attributes:
    kind: 'adamw', or 'muon': the momentum of every inner matrix (kernels of
      convolutions, attention, SwiGLU) made orthogonal, and AdamW for the rest.
    learning_rate: the peak, reached after the warm-up.
    warmup_steps: updates (of this network) of linear warm-up from 0.
    end_value: learning rate at the end of the cosine, as a share of the peak.
    beta1: decay of the first moment; Muon's own is 0.95.
    beta2: decay of the second moment.
    epsilon: added to the root of the second moment.
    weight_decay: decoupled decay of matrices; vectors and scalars (norms,
      biases, scales) have none.
    clip_norm: largest global norm of the gradient; 0 turns clipping off.
    ema_decay: decay of the averaged parameters; 0 keeps none, and the last
      parameters stand for them.
  """

  kind: Annotated[str, fields.Choice(('adamw', 'muon'))] = 'adamw'
  learning_rate: fields.NonNegative = 1e-4
  warmup_steps: fields.Natural = 100
  end_value: fields.Share = 0.1
  beta1: fields.Decay = 0.9
  beta2: fields.Decay = 0.95
  epsilon: fields.Positive = 1e-8
  weight_decay: fields.NonNegative = 0.05
  clip_norm: fields.NonNegative = 1.0
  ema_decay: fields.Decay = 0.999

  def __post_init__(self):
    fields.check(self)


def make_schedule(
  config: OptimizerConfig, *, num_updates: int
) -> optax.Schedule:
  """Linear warm-up to the peak, then a cosine to the end value.

  Raises:
    ValueError: warmup_steps is not below num_updates.
  """
  if config.warmup_steps >= max(num_updates, 1):
    raise ValueError(
      f'warmup_steps={config.warmup_steps}: wanted less than the '
      f'{num_updates} updates; shorten the warm-up or train longer'
    )
  return optax.schedules.warmup_cosine_decay_schedule(
    init_value=0.0 if config.warmup_steps else config.learning_rate,
    peak_value=config.learning_rate,
    warmup_steps=config.warmup_steps,
    decay_steps=num_updates,
    end_value=config.end_value * config.learning_rate,
  )


def make_optimizer(
  config: OptimizerConfig, *, num_updates: int, axes: Any
) -> optax.GradientTransformation:
  """AdamW or Muon over a whole run of `num_updates` updates.

  The first update already has a rate above 0 (the schedule is read one ahead).

  Source: Loshchilov & Hutter (arXiv:1711.05101); for Muon see `train.muon`.

  Args:
    config: rates and decays.
    num_updates: length of the schedule.
    axes: tree of the parameters' logical axes (`mesh.logical_axes`).
  """
  schedule = make_schedule(config, num_updates=num_updates)
  clip = (
    optax.clip_by_global_norm(config.clip_norm)
    if config.clip_norm
    else optax.identity()
  )

  def rate(count):
    return schedule(count + 1)

  rule = optax.adamw(
    rate,
    b1=config.beta1,
    b2=config.beta2,
    eps=config.epsilon,
    weight_decay=config.weight_decay,
    mask=_map(is_decayed, axes),
  )
  if config.kind == 'muon':
    rule = muon(
      learning_rate=rate,
      weight_decay=config.weight_decay,
      matrices=_map(matrix_of, axes),
      others=rule,
    )
  return optax.chain(clip, rule)


def is_decayed(names: Axes) -> bool:
  """Whether weight decay applies to a parameter: to matrices.

  A matrix has two or more axes, the stack of layers (`scan`) not counted,
  and none of the axes that never decay.

  Args:
    names: its logical axes.
  """
  axes = [name for name in names if name != 'layers']
  return len(axes) >= 2 and UNDECAYED.isdisjoint(axes)


def _map(function, axes: Any) -> Any:
  return jax.tree.map(function, axes, is_leaf=lambda x: isinstance(x, tuple))
