"""Losses, each a function of (params, batch, context).

context         what an objective reads besides parameters and batch
forward         the autoencoder's forward pass, which two updates share
reconstruction  terms of the tokenizer's loss: pixels, LPIPS, bits
adversarial     its play against a discriminator
tokenizer       the autoencoder's objective, of all these
corruption      cross-frame error correction: flipped histories, their targets
frame_mask      the random frame mask
bitwise         the transformer's: cross-entropy of bits
"""
