"""`python -m videoar_jax.tokenizer`; see videoar_jax/commands/tokenizer.py."""

from videoar_jax.core.command import launch

if __name__ == '__main__':
  launch('tokenizer')
