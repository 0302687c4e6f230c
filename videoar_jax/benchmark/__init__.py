"""Speed and memory of the parts, measured where they run.

- `__main__`: `python -m videoar_jax.benchmark`, one word per part
- `streaming`: a tokenizer's streams: memory against length, time per frame
- `sampling`: the program of a whole video, and the stream of a long one
- `training`: a generator's step, and its share of the device's rate
- `optimizing`: an update of a tokenizer's parameters, by optimiser
- `inputs`: a run's batches; the network and the distance of FVD
- `reading`: records of prepared shards, in a bucket and on the disk
- `ceilings`: what the device can do at most
- `beside`: our side and another's, a PyTorch twin or an older checkout
- `worker`: the process of one side
- `twin`: the sampler and the training step in plain PyTorch
- `traffic`: bytes that the sampler's rollout moves, ahead of time
- `compiling`: a generator's step, compiled ahead of time
- `counting`: parameters of the networks that a config makes
- `ahead`: programs compiled for devices that need not be there
- `hlo`: bytes that a compiled program moves
- `origins`: where a program's arrays come from, how often its loops run
- `program`: a compiled program's text as instructions
- `sections`: what is taken from a config, and what is refused
- `rows`: rows of a measurement on the screen
- `process`: a measurement in a process of its own, and its peak memory
"""
