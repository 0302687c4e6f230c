"""Rewrites a PyTorch state dict as safetensors; needs PyTorch (extra `parity`).

  pip install -e '.[parity]'
  python launch/torch_to_safetensors.py infinity_vae_d32.pth vae_d32.safetensors
  python -m videoar_jax.tokenizer import --weights=vae_d32.safetensors \
    --config=configs/tokenizer_ucf101.py --out=EXPORT
  python launch/torch_to_safetensors.py Wan2.1_VAE.pth wan_vae.safetensors

  python launch/torch_to_safetensors.py self_forcing_dmd.pt \
    student.safetensors generator_ema

Only tensors are read (`weights_only`): a file that asks for anything else is
refused. A checkpoint with several state dicts needs the name of one, as in
`… vae.pth vae.safetensors trainer.vae_ema`. State dicts within a state dict are
written with their names before those of the tensors: `generator.patch.weight`.
"""

import sys
import zipfile
from typing import Any

import safetensors.torch
import torch


def main(source: str, target: str, key: str = '') -> None:
  # Only what is written is read, of files that allow it.
  state = torch.load(
    source,
    map_location='cpu',
    weights_only=True,
    mmap=zipfile.is_zipfile(source),
  )
  for name in filter(None, key.split('.')):
    if not isinstance(state, dict) or name not in state:
      known = list(map(str, state))[:5] if isinstance(state, dict) else []
      only = ', '.join(known) or 'an array'
      sys.exit(f'error: no {name!r} in {source}, only {only}')
    state = state[name]
  found = flatten(state)
  others = [name for name, x in found.items() if not torch.is_tensor(x)]
  if others or not found:
    sys.exit(
      f'error: {", ".join(others[:5]) or "nothing"} of {source} hold no '
      'tensors; name the state dict among them as third argument'
    )
  taken: set[int] = set()
  tensors = {name: _own(x, taken) for name, x in found.items()}
  safetensors.torch.save_file(tensors, target)
  print(f'{len(tensors)} tensors written to {target}')


def flatten(state: Any, prefix: str = '') -> dict[str, Any]:
  """Tensors, and what else is no dict, by their names joined with dots."""
  if not isinstance(state, dict):
    return {prefix.removesuffix('.'): state}
  found = {}
  for name, value in state.items():
    found |= flatten(value, f'{prefix}{name}.')
  return found


def _own(x: torch.Tensor, taken: set[int]) -> torch.Tensor:
  """A tensor that shares its memory with none before, which `taken` lists."""
  place = x.untyped_storage().data_ptr()
  alone = x.untyped_storage().nbytes() == x.nbytes and place not in taken
  taken.add(place)
  return x if alone and x.is_contiguous() else x.contiguous().clone()


if __name__ == '__main__':
  if len(sys.argv) not in (3, 4):
    sys.exit(__doc__)
  main(*sys.argv[1:])
