"""Videos from a trained generator.

program   what a user chooses, and the program that samples by it
sampler   a checkpoint as a function from labels and indices to videos
memory    what sampling takes, held against what there is
streaming a video's frames while they are made, of any length
output    the folder of samples, by one process or several, made once
wanted    what videos are asked for: classes, labels, prompts
given     the frames that a video is to begin with
"""
