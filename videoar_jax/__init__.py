"""VideoAR in JAX: video tokenizer, video transformer, sampler, evaluation."""

__version__ = '0.1.0'
