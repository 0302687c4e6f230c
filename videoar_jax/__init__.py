"""VideoAR in JAX: video tokenizer, video transformer, sampler, evaluation.

    import videoar_jax as va

    model = va.load('runs/ucf9/generator')
    model.sample('Archery', num_videos=4, seed=0)

`load`, `load_tokenizer`, `fvd` and what they return are in `videoar_jax.api`,
whose modules are imported when something of them is first used.
"""

import importlib

__version__ = '0.1.0'
_PUBLIC = {
  'Model': 'model',
  'Tokenizer': 'tokenizer',
  'Videos': 'videos',
  'fvd': 'distance',
  'load': 'model',
  'load_tokenizer': 'tokenizer',
}
__all__ = list(_PUBLIC)


def __getattr__(name: str):
  if name not in _PUBLIC:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  module = importlib.import_module(f'{__name__}.api.{_PUBLIC[name]}')
  return getattr(module, name)


def __dir__() -> list[str]:
  return sorted({*globals(), *_PUBLIC})
