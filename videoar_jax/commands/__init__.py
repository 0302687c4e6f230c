"""What users type: flags, checks of them, and calls into the rooms below.

prepare     python -m videoar_jax.data.prepare
train       python -m videoar_jax.train
sample      python -m videoar_jax.sample
evaluate    python -m videoar_jax.evaluate
tokenizer   python -m videoar_jax.tokenizer
benchmark   python -m videoar_jax.benchmark
lease       python -m videoar_jax.lease
demo        python -m videoar_jax.demo
report      python -m videoar_jax.report

Each has `FLAGS`, and `main(words)` for what is left of the command line. They
are imported by `core.command.launch` alone, after it has said that it begins.
"""
