"""What a run needs on devices that need not be there, ahead of time.

The real program is compiled for a named topology of TPUs, by their own compiler
(extra `plan`), and read: no data, weights or devices are needed.

- `flags`: those of `--plan_only`, which commands share
- `plan_only`: what they ask for
- `training`: a step of any recipe
- `sampling`: a batch of videos
- `collectives`: what a compiled program sends between devices, and when
- `roofline`: the least time that a program can take, by stated rates
- `knobs`: what to turn where a step does not fit
- `table`: what was found, for readers
"""
