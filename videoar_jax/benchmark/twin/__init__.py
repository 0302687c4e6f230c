"""A plain PyTorch twin of the sampler and of the training step, on CPU.

What a PyTorch engineer would write: modules with weights in `nn.Linear`'s
layout, `scaled_dot_product_attention`, a cache written in place, oneDNN's 3D
convolutions on channels-last memory. Nothing of it is compiled. It reads our
weights and our plans, so that results can be compared number by number. Needs
the extra `parity`; float32, classes, rotary positions, plan `next_scale`.

- `transformer`: the transformer, and the guided rollout with its cache
- `features`: bits to features and what units start from; flipped histories
- `autoencoder`: the tokenizer's encoder and decoder
- `training`: loss, AdamW, clipping and the average, as a step
- `weights`: our parameters in the twin's modules
- `side`: what of it is measured, part by part
"""
