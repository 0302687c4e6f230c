"""The transformer that predicts bits, unit by unit.

config  TransformerConfig
block   attention and SwiGLU, pre-norm; scanned over layers, rematerialised
prefix  tokens before the first unit: the class, or "unconditional"
inputs  the features that tokens start from, in the order of a plan
model   the VideoAR model: a whole plan at once, or one unit with a KV cache
params  its parameters: the first ones, and those of a checkpoint
"""
