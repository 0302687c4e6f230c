"""Operations of a program's products: of matrices, and convolutions.

They are counted in the traced program, before any compiler sees it: a loop's
as often as it runs, what is computed again in a backward pass not at all, and
nothing but products, which are all but a few operations of a network. Of the
branches of a condition the largest counts; of a loop of unknown length one
round.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend import core as jex
from jax.sharding import AbstractDevice, AbstractMesh

_AGAIN = 'rematted_computation'  # how JAX marks what is computed again


def count(function: Callable[..., Any], *arguments: Any) -> float:
  """Operations of a function's products; nothing is computed.

  The function is traced as for one CPU, so that the figure is one of the model
  and the shapes alone: neither of the mesh nor of a platform's kernels. So
  masked attention counts the keys that any query of a run sees, see
  `attention.AttentionKernel.PREFIX`, unless another kernel is named.

  Args:
    function: of arrays.
    *arguments: its arguments, of shapes and dtypes.
  """
  shapes = jax.tree.map(_shape, arguments)
  with _one_cpu():
    return of_jaxpr(jax.make_jaxpr(function)(*shapes).jaxpr)


def of_jaxpr(jaxpr: Any) -> float:
  """Operations of the products of a jaxpr, and of those that it calls."""
  return sum(_of_equation(one) for one in jaxpr.eqns)


def _of_equation(equation: Any) -> float:
  if _AGAIN in str(equation.source_info.name_stack):
    return 0.0
  name, params = equation.primitive.name, equation.params
  if name == 'dot_general':
    return _of_product(equation)
  if name == 'conv_general_dilated':
    return _of_convolution(equation)
  if name == 'cond':
    return max(of_jaxpr(branch.jaxpr) for branch in params['branches'])
  inside = sum(map(of_jaxpr, _called(params)))
  if name == 'scan':
    return params['length'] * inside
  if name == 'pallas_call':
    return math.prod(params['grid_mapping'].grid) * inside
  return inside


def _of_product(equation: Any) -> float:
  left = equation.invars[0].aval.shape
  (summed, _), _ = equation.params['dimension_numbers']
  return (
    2.0
    * math.prod(equation.outvars[0].aval.shape)
    * math.prod(left[i] for i in summed)
  )


def _of_convolution(equation: Any) -> float:
  """Two for each weight and output that meet, borders taken as inside."""
  params, kernel = equation.params, equation.invars[1].aval.shape
  out_axis = params['dimension_numbers'].rhs_spec[0]
  met = math.prod(kernel) // kernel[out_axis]
  # Zeros between inputs, in the gradient of a strided one, meet nothing.
  dilation = math.prod(params['lhs_dilation'])
  return 2.0 * math.prod(equation.outvars[0].aval.shape) * met / dilation


def _called(params: dict[str, Any]) -> Iterator[Any]:
  """The jaxprs among an equation's parameters."""
  for value in params.values():
    if isinstance(value, jex.ClosedJaxpr):
      yield value.jaxpr
    elif isinstance(value, jex.Jaxpr):
      yield value


def _shape(x: Any) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _one_cpu() -> contextlib.AbstractContextManager:
  device = AbstractDevice(device_kind='cpu', num_cores=None, platform='cpu')
  mesh = AbstractMesh((1,), ('data',), abstract_device=device)
  return jax.sharding.use_abstract_mesh(mesh)
