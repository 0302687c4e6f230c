"""`python -m videoar_jax.train`; see videoar_jax/commands/train.py."""

from videoar_jax.core.command import launch

if __name__ == '__main__':
  launch('train')
