"""Unit by unit, from a prefix to a video's latents.

guidance  strength of classifier-free guidance by frame and scale
bits      drawing bits from logits, each sample by its own key
walk      the only unit-by-unit loop, for any plan and any family
"""
