"""Losses, each a function of (params, batch, context).

context         what an objective reads besides parameters and batch
reconstruction  the tokenizer's: pixels, commitment, entropy
corruption      cross-frame error correction: flipped histories, their targets
frame_mask      the random frame mask
bitwise         the transformer's: cross-entropy of bits
"""
