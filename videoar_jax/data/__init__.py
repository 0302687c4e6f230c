"""Where clips come from.

config        DataConfig: where clips come from and what a batch looks like
source        what records are, what can be decoded, what a kind says of itself
kinds         SOURCES, the kinds by their names; `NAME:PATH`
synthetic     moving shapes rendered on the fly; the class is the motion
folder        class folders of videos (UCF-101's layout) or of pictures
ucf101        UCF-101 as it is published, held to its lists
ucf101_lists  these lists, found and read
stores        where files of videos lie: a folder, a zip or a RAR archive
tfds          builders that TensorFlow Datasets prepared, without TensorFlow
tfds_folder   their folder: found, and looked through before it is opened
decode        a random window of a video file, by PyAV; damage is noticed here
pictures      a picture file as a clip of one frame
clips         a user's video, a file or an array, brought to a size
transforms    resize with antialias, centre crop, mirror
array_record  videos decoded once to the training resolution, lossless
features      a trained tokenizer's features of such videos
prompts       prompts as tokens of a byte-level BPE
captions      a file of captions; records that carry a prompt
embeddings    states of prompts by a text encoder, cached by prompt
shards        sharded records with a manifest, for the two above
shard_cache   copies them from a bucket to this machine, once
shard_writer  writes them, and goes on where it was stopped
pipeline      make_source, make_clips, make_batches: functions of (seed, step)
mixture       several streams of batches in one run, turn by turn
failures      what may fail, what is then said, and when it is too much
work          parallel work in order, with progress and a bound on failures
preparation   writes array_record and features directories
prepare       `python -m`; see videoar_jax/commands/prepare.py
"""
