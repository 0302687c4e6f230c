"""`python -m videoar_jax.evaluate`; see videoar_jax/commands/evaluate.py."""

from videoar_jax.core.command import launch

if __name__ == '__main__':
  launch('evaluate')
