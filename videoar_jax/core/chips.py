"""What accelerators have, as their makers state it."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Chip:
  """What a chip has.

  Attributes:
    hbm_bytes: of its main memory.
    copy_bytes_per_s: to and from that memory.
    flops_per_s: of products of bfloat16 matrices, dense.
    link_bytes_per_s: to all neighbours, sent and received together; of a TPU.
    slice_bytes_per_s: sent to other slices, of a TPU.
    devices: that JAX lists for it.
  """

  hbm_bytes: float
  copy_bytes_per_s: float
  flops_per_s: float
  link_bytes_per_s: float | None = None
  slice_bytes_per_s: float | None = None
  devices: int = 1


# Sources: Google Cloud's pages "TPU v4", "TPU v5e", "TPU v5p", "TPU v6e" and
# "TPU7x" (cloud.google.com/tpu/docs); NVIDIA's data sheets of A100, H100 and
# H200, without sparsity. November 2026.
CHIPS = {
  'v4': Chip(32e9, 1200e9, 275e12),
  'v5e': Chip(16e9, 819e9, 197e12, 400e9, 3.1e9),
  'v5p': Chip(95e9, 2765e9, 459e12, 1200e9, 6.2e9),
  'v6e': Chip(32e9, 1640e9, 918e12, 800e9, 12.5e9),
  'tpu7x': Chip(192e9, 7380e9, 2307e12, 1200e9, 12.5e9, devices=2),
  'A100 40GB': Chip(40e9, 1555e9, 312e12),
  'A100 80GB': Chip(80e9, 2039e9, 312e12),
  'H100': Chip(80e9, 3350e9, 989e12),
  'H100 PCIe': Chip(80e9, 2000e9, 756e12),
  'H200': Chip(141e9, 4800e9, 989e12),
}

# How JAX calls them.
_KINDS = {
  'TPU v4': 'v4',
  'TPU v5 lite': 'v5e',
  'TPU v5e': 'v5e',
  'TPU v5': 'v5p',
  'TPU v5p': 'v5p',
  'TPU v6 lite': 'v6e',
  'TPU v6e': 'v6e',
  'TPU7x': 'tpu7x',
  'NVIDIA A100-SXM4-40GB': 'A100 40GB',
  'NVIDIA A100-SXM4-80GB': 'A100 80GB',
  'NVIDIA H100 80GB HBM3': 'H100',
  'NVIDIA H100 PCIe': 'H100 PCIe',
  'NVIDIA H200': 'H200',
}


def chip_of(device: Any) -> Chip | None:
  """The chip of a device of JAX; None: of a kind that is not known here."""
  return CHIPS.get(name_of(device.device_kind))


def name_of(device_kind: str) -> str:
  """The name in `CHIPS` of a kind of device, as JAX calls it, or ''."""
  return _KINDS.get(device_kind, '')
