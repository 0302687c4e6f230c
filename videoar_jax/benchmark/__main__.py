"""`python -m videoar_jax.benchmark`; see videoar_jax/commands/benchmark.py."""

from videoar_jax.core.command import launch

if __name__ == '__main__':
  launch('benchmark')
