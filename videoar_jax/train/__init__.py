"""Training: a list of updates, one step builder, one loop.

- `optimizer`: AdamW or Muon, the schedule, and which parameters decay.
- `muon`: the momentum of every inner matrix, made orthogonal.
- `state`: `Update`, `TrainState`, and the birth of a sharded state.
- `step`: one jitted step over a list of updates.
- `tracking`: Weights & Biases, where a run names a project.
- `metrics`: metrics.jsonl, TensorBoard, the console line.
- `boards`: TensorBoard's files in a bucket.
- `starts`: on what machine a run was begun, and begun again.
- `preemption`: a signal asks the loop to finish its step and save.
- `runner`: steps, logs, evaluations and saves of a run.
- `heldout`: held-out metrics from the averaged weights.
- `initial`: a run that starts from the weights of another.
- `loop`: restore or begin, then run; the same call resumes.
- `sections`: what a run's config consists of, checked all at once.
- `defaults`: whole configs with every key.
- `recipe`: what a recipe is.
- `tokenizer_recipe`: trains the autoencoder.
- `frozen`: the tokenizer of a generator's run, and its copy.
- `condition`: what a generator's data and last stage say of its conditions.
- `generator_recipe`: trains the transformer over a frozen tokenizer.
- `python -m videoar_jax.train`: the command.
"""
