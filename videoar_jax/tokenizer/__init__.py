"""Video to bits and back.

config         TokenizerConfig and what it implies (compression, latent size)
conv           causal 3D convolution, per-frame norm, their streaming state
autoencoder    encoder and decoder; whole clips and chunk by chunk
quantizer      multi-scale residual bit quantiser, each latent frame alone
discriminator  tells reconstructed clips from real ones, in training
perceptual     LPIPS, a distance between pictures
features       a trained tokenizer as a function on uint8 clips
stream         videos of any length to bits and back, in constant memory
token_file     a video's bits in a file
infinity       weights of Infinity's public image tokenizer, layer by layer

`python -m videoar_jax.tokenizer` is the command.
"""
