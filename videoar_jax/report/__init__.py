"""A run as one self-contained HTML page.

- `markup`: the page's frame and style, and what its parts are made of.
- `chart`: line charts as inline SVG, and those of a run.
- `videos`: moving pictures side by side, each over its label.
- `recorded`: figures of the project's own runs and of the paper.
- `figures`: tables of what evaluation measured, beside recorded figures.
- `copies`: classes that a probe names, and how near samples come to clips.
- `continuation`: how a generator goes on from real clips.
- `facts`: what a run is, on what machine, how far it has come.
- `sections`: the page, from the files of a run.
- `python -m videoar_jax.report`: the command.
"""
