"""Operations of programs, against figures worked out by hand."""

import jax
import jax.numpy as jnp
import pytest
import tiny
import toy

from videoar_jax.core import flops
from videoar_jax.core.mesh import make_mesh
from videoar_jax.plan.next_scale import next_scale_plan
from videoar_jax.train.state import abstract_state
from videoar_jax.train.step import step_flops


def _float(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def _layers(again):
  def layer(x, w):
    return jnp.tanh(jnp.tanh(x @ w) @ w)

  layer = jax.checkpoint(layer, prevent_cse=False) if again else layer
  return lambda x, w_stack: jax.lax.scan(
    lambda x, w: (layer(x, w), None), x, w_stack
  )[0].sum()


def test_loops_count_as_often_as_they_run_and_nothing_counts_twice():
  x, w = _float(5, 7), _float(3, 7, 7)
  forward = 3 * 2 * (2 * 5 * 7 * 7)
  gradient = jax.grad(_layers(False), (0, 1))
  assert flops.count(_layers(False), x, w) == forward
  assert flops.count(gradient, x, w) == 3 * forward
  assert flops.count(jax.grad(_layers(True), (0, 1)), x, w) == 3 * forward
  assert flops.count(jax.grad(_layers(True)), x, w) == 2 * forward


def test_of_branches_the_largest_counts():
  def either(x):
    return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

  assert flops.count(either, _float(5, 5)) == 2 * 2 * 5**3


@pytest.mark.parametrize('stride', [1, 2])
def test_convolution_and_its_gradients(stride):
  def convolve(x, kernel):
    out = jax.lax.conv_general_dilated(
      x,
      kernel,
      (stride, stride),
      'SAME',
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=2,
    )
    return out.sum()

  shapes = _float(2, 12, 8, 6), _float(3, 5, 3, 10)
  forward = 2 * (2 * 12 * 8 // stride**2 * 10) * (3 * 5 * 3)
  assert flops.count(convolve, *shapes) == forward
  assert flops.count(jax.grad(convolve, (0, 1)), *shapes) == 3 * forward


@pytest.mark.parametrize('remat', ['none', 'full', 'dots'])
def test_transformer_counts_weights_tokens_and_pairs(remat):
  plan = next_scale_plan(2, tiny.SCALES)
  model = tiny.transformer(remat=remat)
  params = tiny.transformer_params(plan=plan)

  def loss(params, inputs_blq, label_b):
    out = model.apply(
      {'params': params}, inputs_blq, label_b, plan=plan, method='forward'
    )
    return sum(jnp.sum(x) for x in jax.tree.leaves(out))

  inputs = _float(3, plan.num_tokens, tiny.input_width(plan))
  label = jax.ShapeDtypeStruct((3,), jnp.int32)
  config = model.config
  tokens = config.prefix_length + plan.num_tokens
  layers = sum(x.size for x in jax.tree.leaves(params['layers']) if x.ndim > 2)
  pairs = sum(
    (run.stop - run.start) * sum(b - a for a, b in run.keys)
    for run in plan.mask(config.prefix_length).runs
  )
  # The first matrix has no gradient of its inputs.
  by_hand = 3 * (
    6 * (layers * tokens + params['head'].size * plan.num_tokens)
    + 4 * params['project'].size * plan.num_tokens
    + 12 * config.num_layers * config.width * pairs
  )
  assert flops.count(jax.grad(loss), params, inputs, label) == by_hand


def test_step_counts_those_whose_turn_it_is_in_all_parts():
  one = toy.make_update(net='a')
  updates = [one, toy.make_update(net='b', every=2, start=3)]
  state = abstract_state(updates, seed=0, num_steps=20, mesh=make_mesh())
  batch = jax.tree.map(_shape, toy.make_batch(0))
  # Of the first matrix no gradient of its inputs.
  rows, weights = batch['x'].shape[0], toy.HIDDEN * (2 * toy.FEATURES + 3 * 3)
  for step, nets in ((2, 1), (3, 2), (4, 1), (5, 2)):
    for parts in (1, 4):
      found = step_flops(updates, state, batch, {}, step=step, accumulate=parts)
      assert found == nets * 2 * rows * weights


def _shape(x):
  return _float(*x.shape)
