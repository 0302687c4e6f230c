"""What is predicted next.

unit          Unit and UnitPlan: one static description from which the training
              mask, the rotary positions, the cache size and the rollout order
              are derived
next_scale    next-scale-in-next-frame, VideoAR's order
clip_pyramid  scale by scale, each over all frames
kinds         plans by their names
schedules     scales of a frame by aspect ratio and number of pixels
"""
