"""The transformer that predicts bits, unit by unit.

config  TransformerConfig
block   attention and SwiGLU, pre-norm; scanned over layers, rematerialised
prefix  tokens before the first unit: the class, or "unconditional"
inputs  the features that tokens start from, in the order of a plan
model   the VideoAR model: a whole plan at once, or one unit with a KV cache
params  its parameters: the first ones, and those of a checkpoint

The text encoder of the second family:

umt5          umT5's encoder: layers, and all of them
umt5_weights  its weights by the names of Hugging Face and of Wan's file
umt5_text     prompts as its tokens
umt5_stream   prompts to states, layer by layer from files
"""
