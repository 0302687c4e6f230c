"""A GPU for minutes, perhaps without a network: bring, run, bring back.

slices   what is run in a slice of at most ten minutes, and what it needs
bundle   the folder that a slice brings along, and its size
running  the steps of a slice, within its time
returns  what comes back, within the limits of files, and opening it again
rows     what came back as tables

`python -m videoar_jax.lease` is the command, `launch/gpu_slices.sh` its shell.
"""
