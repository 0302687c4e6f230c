"""Training: a list of updates, one step builder, one loop.

- `optimizer`: AdamW, its schedule, and which parameters decay.
- `state`: `Update`, `TrainState`, and the birth of a sharded state.
- `step`: one jitted step over a list of updates.
- `metrics`: metrics.jsonl, TensorBoard, the console line.
- `preemption`: a signal asks the loop to finish its step and save.
- `runner`: steps, logs, evaluations and saves of a run.
- `heldout`: held-out metrics from the averaged weights.
- `loop`: restore or begin, then run; the same call resumes.
- `recipes`: what the tokenizer's and the generator's updates are.
- `python -m videoar_jax.train`: the command.
"""
