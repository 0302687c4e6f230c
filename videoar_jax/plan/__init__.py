"""What is predicted next.

unit        Unit and UnitPlan: one static description from which the training
            mask, the rotary positions, the cache size and the rollout order
            are derived
next_scale  next-scale-in-next-frame, VideoAR's order
"""
