"""What is predicted next, and what it sees.

unit          Unit and UnitPlan: one static description from which the order of
              tokens, the mask, positions and the rollout are derived
place         where a unit lies in the cache and in the video; blocks as loops
pyramid       plans of scale pyramids, in blocks of frames
next_scale    next-scale-in-next-frame, VideoAR's order
clip_pyramid  scale by scale, each over all frames
partition     plans that part one grid of latents
chunk         a frame, or several, at a time
key_detail    key frames, then those between them
cube          boxes of frames, rows and columns
teacher_forcing  a plan's units twice: clean, then noisy
kinds         plans by their names
schedules     scales of a frame by aspect ratio and number of pixels
"""
