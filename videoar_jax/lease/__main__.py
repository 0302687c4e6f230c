"""`python -m videoar_jax.lease`; see videoar_jax/commands/lease.py."""

from videoar_jax.core.command import launch

if __name__ == '__main__':
  launch('lease')
