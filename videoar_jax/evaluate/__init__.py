"""How good are the videos: Fréchet video distance and reconstruction metrics.

i3d             the I3D network of FVD: videos to 400 Kinetics logits
i3d_weights     its weights, normalisation folded in; checks them against it
frechet         FVD, its extrapolation to infinite sets, the kernel distance
rules           what a protocol fixes
protocols       named sets of rules, so that two figures can be compared
comparable      which results may stand beside each other
reconstruction  PSNR and SSIM between paired videos
video_sets      reads a set of videos from a folder or an .npz file
compare         two sets of videos to one dictionary of metrics
checkpoint      a trained tokenizer or generator to one dictionary of metrics
request         what of a checkpoint is measured
task            the same, resolved and checked
windows         the real clips of a data source, as a seed draws them
makers          samples and reconstructions, made some at a time
draws           one draw of both: rows of numbers, block by block
follow          a run's checkpoints as they appear
repeats         the figures of several draws as one
kept            what takes long, in files until a result is written
real_features   I3D's features of real clips, in files and in the cache
apart           real clips measured on one machine, samples on another
clips           all disjoint windows of a split; which clips belong together
splits          those of both splits, and I3D's features of them
measure         the distances of a draw's sets
intervals       95% intervals of shares and distances, over units of clips
probe           the class of a video, by a linear probe on I3D's features
memorisation    how near samples come to training clips
further         probe and memorisation of a checkpoint
continuation    how a generator goes on from the first frames of real clips
baselines       what to compare a figure with, at the same number of videos
h264            clips as H.264 at a tokenizer's number of bits
pictures        the first videos of an evaluation, saved
summary         the figures that a reader looks for, printed
stages          seconds and progress of the parts of an evaluation
facts           what a result file says besides its figures
provenance      what a figure was computed with: versions, commit
kinetics        the class of a clip, as I3D names it
motion          the class of a synthetic clip, measured without a network
distortions     real clips made worse by degrees
exposure        what errors in a video's first frame do to the next ones

`python -m videoar_jax.evaluate` is the command.
"""
