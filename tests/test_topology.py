"""TPUs by name."""

import importlib.util
import math
import types

import pytest

from videoar_jax.core import topology
from videoar_jax.core.chips import CHIPS, chip_of


@pytest.mark.parametrize(
  ('name', 'words'),
  [
    ('v5p-128', "wanted 'v5e:4x4'.*; for v5p-128 write 'v5p:4x4x4'$"),
    ('v5p-8', "write 'v5p:2x2x1'$"),
    ('v5litepod-16', "write 'v5e:4x4'$"),
    ('v6e-8', "write 'v6e:2x4'$"),
    ('v5p-7', r"or 'tpu7x:2x2x2'$"),
    ('v5e:4x4x4', r"topology=v5e:4x4x4: wanted 'v5e:4x4'"),
    ('v5p:4x4', 'wanted'),
    ('v5e:0x4', 'wanted'),
    ('v7x:2x2x1', 'wanted'),
    ('v5e', 'wanted'),
  ],
)
def test_what_is_no_topology_is_refused_with_what_to_write(name, words):
  with pytest.raises(ValueError, match=words):
    topology.check_name(name)
  with pytest.raises(ValueError, match=words):
    topology.chip(name)


def test_a_hint_names_a_topology_of_as_many_chips():
  for kind, cores in (('v5p', 2), ('v5e', 1), ('v6e', 1)):
    for number in (1, 4, 8, 16, 32, 64, 128, 256):
      with pytest.raises(ValueError) as error:
        topology.check_name(f'{kind}-{number * cores}')
      name = str(error.value).rpartition('write ')[2].strip("'")
      topology.check_name(name)
      sides = [int(x) for x in name.partition(':')[2].split('x')]
      assert math.prod(sides) == number


def test_a_missing_compiler_is_told(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ValueError, match=r"libtpu.*pip install -e '\.\[plan\]'"):
    topology.devices('v5e:4x4')


def test_every_kind_states_its_memory():
  assert topology.chip('v5e:16x16') == CHIPS['v5e']
  assert topology.chip('v5p:1x1x1').hbm_bytes == 95e9


def test_a_device_has_its_chip():
  def of(kind):
    return chip_of(types.SimpleNamespace(device_kind=kind))

  assert of('TPU v5 lite') == CHIPS['v5e']
  assert of('NVIDIA H100 80GB HBM3').flops_per_s == 989e12
  assert of('TPU7x').devices == 2
  assert of('cpu') is None
