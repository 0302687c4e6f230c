"""The layout [clean | noisy]: every unit predicted at once from clean ones."""

import numpy as np

from videoar_jax.plan.unit import UnitPlan


def teacher_forcing(plan: UnitPlan) -> UnitPlan:
  """A plan's units twice: first as they are known, then as they are predicted.

  A clean unit sees what it sees in the plan; a noisy one sees itself and the
  clean units it sees in the plan, but not its own clean twin. So its prediction
  is that of a rollout whose cache holds the clean units before it. Both twins
  have the same positions. Source: Self-Forcing (arXiv:2506.08009).

  Args:
    plan: the order of prediction.

  Returns:
    A plan of twice as many units; `gather` lays an array out twice.
  """
  sees = plan.sees_uu
  others = sees & ~np.eye(len(sees), dtype=bool)
  own = np.eye(len(sees), dtype=bool)
  graph = np.block([[sees, np.zeros_like(sees)], [others, own]])
  return UnitPlan(
    f'{plan.name} [clean | noisy]',
    plan.grids,
    plan.units * 2,
    plan.period,
    tuple(map(tuple, graph.tolist())),
  )
