"""Speed and memory of the parts, measured where they run.

- `__main__`: `python -m videoar_jax.benchmark`, one word per part
- `streaming`: a tokenizer's streams: memory against length, time per frame
- `process`: a measurement in a process of its own, and its peak memory
"""
