"""A run as one self-contained HTML page.

- `markup`: the page's frame and style, and what its parts are made of.
- `chart`: line charts as inline SVG, and those of a run.
- `videos`: moving pictures side by side, each over its label.
- `recorded`: figures of the project's own runs.
- `published`: figures that papers state, and how they measured.
- `records`: a measured figure with all that its row of a table says.
- `results`: tables of published figures and ours, one for each protocol.
- `figures`: tables of what evaluation measured, beside recorded figures.
- `copies`: classes that a probe names, and how near samples come to clips.
- `continuation`: how a generator goes on from real clips.
- `facts`: what a run is, on what machine, how far it has come.
- `sections`: the page, from the files of a run.
- `python -m videoar_jax.report`: the command.
"""
