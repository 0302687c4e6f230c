"""A config file of tiny networks, as commands read it."""

_TEXT = """
'''Tiny networks.'''

import ml_collections

from videoar_jax.train import defaults


def get_config(variant=''):
  if variant == 'bare':
    return ml_collections.ConfigDict({{'recipe': 'tokenizer'}})
  if variant == 'half':
    return ml_collections.ConfigDict({{'recipe': 'generator', 'data': {{}}}})
  config = getattr(defaults, f'{{variant}}_config')()
  config.data.update({data})
  if variant == 'tokenizer':
    config.tokenizer.update({tokenizer})
  else:
    config.transformer.update({transformer})
  return config.lock()
"""
_TOKENIZER = {
  'base_width': 4,
  'latent_width': 4,
  'scales': ((1, 1), (2, 2)),
  'norm_groups': 1,
  'dtype': 'float32',
}
_TRANSFORMER = {'num_heads': 2, 'num_classes': 3, 'dtype': 'float32'}


def write_config(path, *, data, tokenizer, transformer):
  """Writes a file with the variants generator and tokenizer.

  Two more are no whole configs: bare, of a tokenizer, and half, of a generator.

  Args:
    path: of the file.
    data: what its section differs in from the defaults.
    tokenizer: likewise, besides being tiny.
    transformer: likewise.
  """
  text = _TEXT.format(
    data=data,
    tokenizer=_TOKENIZER | tokenizer,
    transformer=_TRANSFORMER | transformer,
  )
  path.write_text(text)
  return path
