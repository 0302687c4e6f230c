"""Lines of a chart lie where its axes say."""

import re

import numpy as np
import pytest

from videoar_jax.report import chart


def drawn(svg: str) -> list[np.ndarray]:
  """Points of each line, (n, 2)."""
  lines = re.findall(r'<polyline points="([^"]*)"', svg)
  return [
    np.array([p.split(',') for p in line.split()], float) for line in lines
  ]


@pytest.mark.parametrize('log', [False, True])
@pytest.mark.parametrize(
  'values', [[1e-7, 3e5], [-3, 4], [0.7], [2, 2], [5, 5.0001], [1, 7]]
)
def test_lines_lie_within_their_chart(values, log):
  series = [chart.Series('a', list(enumerate(values, 1)))]
  svg = chart.line_chart(series, title='t', y_label='y', log=log)
  _, _, wide, tall = map(float, re.search('viewBox="([^"]*)', svg)[1].split())
  (points,) = drawn(svg)
  assert len(points) == len(values)
  assert (points >= 0).all() and (points <= [wide, tall]).all()
  assert 'nan' not in svg
  rises = np.diff(values) > 0
  assert (np.diff(points[:, 1])[rises] < 0).all()


def test_equal_ratios_are_equal_steps_on_a_logarithmic_axis():
  series = [chart.Series('a', [(0, 1.0), (1, 10.0), (2, 100.0)])]
  up_log, up = (
    np.diff(
      drawn(chart.line_chart(series, title='', y_label='', log=log))[0][:, 1]
    )
    for log in (True, False)
  )
  assert up_log[0] == pytest.approx(up_log[1], abs=0.2)
  assert up[1] == pytest.approx(10 * up[0], rel=0.02)


def test_a_point_lies_where_the_ticks_say():
  series = [chart.Series('a', [(0, 0.0), (30, 4.0), (100, 8.0)])]
  svg = chart.line_chart(series, title='t', y_label='y')
  (points,) = drawn(svg)
  labels = re.findall(r'x="([\d.]+)" y="([\d.]+)"[^>]*>([\d.]+)</text>', svg)
  where = {text: (float(x), float(y)) for x, y, text in labels}
  assert where['4'][1] - 4 == pytest.approx(points[1][1], abs=0.2)
  assert where['100'][0] == pytest.approx(points[2][0], abs=0.2)
