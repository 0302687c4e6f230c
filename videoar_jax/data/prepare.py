"""`python -m videoar_jax.data.prepare`; see videoar_jax/commands/prepare.py."""

from videoar_jax.core.command import launch

if __name__ == '__main__':
  launch('data.prepare')
