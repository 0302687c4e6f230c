"""Video to latents and back: bits, or a Gaussian.

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

The Wan VAE, whose latents are numbers, not bits:

wan_config     WanVaeConfig and what it implies
wan_layers     norm, residual block, attention, halving, doubling
wan_vae        encoder and decoder; whole clips and chunk by chunk
wan_stream     videos of any length to latents and back, in constant memory
wan_weights    weights by the names of Wan's files and of diffusers

`python -m videoar_jax.tokenizer` is the command.
"""
