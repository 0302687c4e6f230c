"""Videos from a trained generator.

guidance  strength of classifier-free guidance by frame and scale
bits      drawing bits from logits, each sample by its own key
rollout   the only unit-by-unit loop: scan over frames, scales inside
program   what a user chooses, and the program that samples by it
sampler   a checkpoint as a function from labels and indices to videos
memory    what sampling takes, held against what there is
streaming a video's frames while they are made, of any length
wanted    what videos are asked for: classes, labels, prompts
given     the frames that a video is to begin with
"""
