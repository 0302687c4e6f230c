"""The transformers: VideoAR's predicts bits, Wan's a velocity; unit by unit.

config  TransformerConfig
block   attention and SwiGLU, pre-norm
stack   layers of one kind in a scan, rematerialised
prefix  tokens before the first unit: the class, or "unconditional"
inputs  the features that tokens start from, in the order of a plan
model   the VideoAR model: a whole plan at once, or one unit with a KV cache
params  its parameters: the first ones, and those of a checkpoint

wan_config   WanConfig
wan_block    attention, cross-attention to the text and an MLP, told the time
wan          Wan's model of tokens anywhere, at any time, under any mask
wan_names    names and shapes of its arrays, here and elsewhere
wan_card     the `config.json` that lies beside its weights elsewhere
wan_weights  its weights from files of others, and back

umt5          umT5's encoder: layers, and all of them
umt5_weights  its weights by the names of Hugging Face and of Wan's file
umt5_text     prompts as its tokens
umt5_stream   prompts to states, layer by layer from files
"""
