"""Families of generators: what is predicted, learnt and drawn, in one object.

family  what all of them have in common
bits    VideoAR: the bits of scale pyramids
kinds   a family from a config, or from a checkpoint
"""
