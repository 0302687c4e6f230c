"""`python -m videoar_jax.demo`; see videoar_jax/commands/demo.py."""

from videoar_jax.core.command import launch

if __name__ == '__main__':
  launch('demo')
