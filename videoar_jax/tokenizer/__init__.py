"""Video to bits and back.

config      TokenizerConfig and what it implies (compression, latent size)
conv        causal 3D convolution, per-frame norm, and their streaming state
autoencoder encoder and decoder; whole clips and chunk by chunk
quantizer   multi-scale residual bit quantiser, each latent frame alone
perceptual  LPIPS, a distance between pictures
features    a trained tokenizer as a function on uint8 clips
"""
