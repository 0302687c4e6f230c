"""`python -m videoar_jax.report`; see videoar_jax/commands/report.py."""

from videoar_jax.core.command import launch

if __name__ == '__main__':
  launch('report')
