"""Schedules of scales by aspect ratio."""

import pytest

from videoar_jax.plan.pyramid import check_scales
from videoar_jax.plan.schedules import all_ratios, nearest, schedule


@pytest.mark.parametrize(
  ('pixels', 'scales', 'area'),
  [('0.06M', 7, 0.06), ('0.25M', 10, 0.25), ('0.60M', 12, 0.6), ('1M', 13, 1)],
)
def test_buckets_grow_to_about_their_number_of_pixels(pixels, scales, area):
  found = all_ratios(pixels)
  assert len(found) == 15 and len({s[-1] for s in found}) == 15
  for sizes in found:
    check_scales(sizes)
    assert len(sizes) == scales
    height, width = sizes[-1]
    assert 0.97 < height * width * 16**2 / 1e6 / area < 1.4


def test_the_papers_resolutions_are_buckets():
  # 384×672 at 16× is 24×42: its ten scales and 2,628 tokens (docs/paper.md).
  wide = schedule('0.25M', 1.75)
  assert wide[-1] == (24, 42) and len(wide) == 10
  assert sum(h * w for h, w in wide) == 2628
  assert nearest('0.25M', height=1080, width=1920) == wide
  upright = nearest('0.25M', height=1920, width=1080)
  assert upright == tuple((w, h) for h, w in wide)
  assert nearest('0.06M', height=240, width=250)[-1] == (16, 16)
  assert all_ratios('0.06M')[0] == schedule('0.06M', 1.0)


def test_an_unknown_bucket_is_refused():
  with pytest.raises(ValueError, match="pixels='2M'"):
    schedule('2M', 1.0)
  with pytest.raises(ValueError, match='ratio=1.6'):
    schedule('1M', 1.6)
