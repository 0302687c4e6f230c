"""Our parameters in the modules of the twin."""

from typing import Any

import numpy as np
import torch
from torch import nn

from videoar_jax.benchmark.twin.transformer import Transformer


def load_transformer(model: Transformer, params: Any) -> None:
  """Fills a transformer; arrays are laid out anew as `nn.Linear` has them.

  Args:
    model: the twin's.
    params: float32 parameters of our transformer.
  """
  stacked = params['layers']
  for i, layer in enumerate(model.layers):
    pairs = _pairs(layer.shape[1])
    gain = [stacked[f'{x}_norm']['scale'][i] for x in ('query', 'key')]
    _fill(layer.attention_norm.weight, stacked['attention_norm']['scale'][i])
    qkv = np.asarray(stacked['qkv'][i])  # (3, d, n, k)
    turned = np.concatenate([qkv[:2][..., pairs], qkv[2:]])
    _fill(layer.qkv.weight, turned.transpose(0, 2, 3, 1))
    _fill(layer.gain, np.stack(gain)[:, pairs])
    _fill(layer.out.weight, np.moveaxis(stacked['out'][i], -1, 0))
    _fill(layer.mlp_norm.weight, stacked['mlp_norm']['scale'][i])
    gate_up = np.asarray(stacked['mlp']['gate_up'][i])
    _fill(layer.gate_up.weight, gate_up.transpose(0, 2, 1))
    _fill(layer.down.weight, np.transpose(stacked['mlp']['down'][i]))
  _fill(model.table.weight, params['prefix']['table'])
  _fill(model.project.weight, np.transpose(params['project']))
  _fill(model.start, params['start'])
  _fill(model.scales, params['scales'])
  _fill(model.norm_out.weight, params['norm_out']['scale'])
  _fill(model.head.weight, np.moveaxis(params['head'], 0, -1))


def load_network(model: nn.Module, params: Any) -> None:
  """Fills an encoder or a decoder, whose names are ours."""
  for name, values in params.items():
    body = name in model.body
    _load(model.body[name] if body else getattr(model, name), values)


def _load(module: nn.Module, values: Any) -> None:
  if 'kernel' in values:
    kernel = np.asarray(values['kernel'])
    _fill(module.weight, kernel.transpose(4, 3, 0, 1, 2))
    _fill(module.bias, values['bias'])
  elif 'scale' in values:
    _fill(module.weight, values['scale'])
    if module.bias is not None:
      _fill(module.bias, values['bias'])
  else:
    for name, inner in values.items():
      _load(getattr(module, name), inner)


def _pairs(head_width: int) -> np.ndarray:
  """Order of a head's elements that brings p and p + k/2 together."""
  return np.arange(head_width).reshape(2, -1).T.reshape(-1)


@torch.no_grad()
def _fill(parameter: torch.Tensor, array: Any) -> None:
  """Copies an array, of as many elements, into a parameter."""
  source = torch.from_numpy(np.array(array, np.float32, order='C'))
  parameter.copy_(source.reshape(parameter.shape))
