"""The package in Python: a few lines from a checkpoint to videos.

    import videoar_jax as va

    model = va.load('runs/ucf9/generator')
    videos = model.sample('Archery', num_videos=4, seed=0)
    videos.save('archery.gif')
    for frame in model.stream('Archery', num_frames=101, window=4):
      ...
    va.load_tokenizer('runs/ucf9/tokenizer').reconstruct('clip.mp4').show()

Whatever is wrong is a ValueError with the text that the commands print.

model      `load`: a generator that samples, streams and goes on from a video
tokenizer  `load_tokenizer`: videos to bits and back
videos     what both return: an array that shows and saves itself
distance   `fvd`: how far one set of videos is from another
arguments  kinds of arguments, and what is wrong with others
"""
