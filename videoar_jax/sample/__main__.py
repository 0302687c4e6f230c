"""`python -m videoar_jax.sample`; see videoar_jax/commands/sample.py."""

from videoar_jax.core.command import launch

if __name__ == '__main__':
  launch('sample')
