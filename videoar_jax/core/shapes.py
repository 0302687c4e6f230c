"""Glossary of the letters that array names end in.

In models, their losses and the rollout:

    b  batch                      c  channels
    t  latent time (frames)       d  model width, or width of a feature
    h  latent height              l  tokens, in the order of the UnitPlan
    w  latent width               m  tokens that are attended to
    T  pixel time (frames)        n  heads
    H  pixel height               k  width of one head
    W  pixel width                p  pairs of a head that rotary angles turn
    s  scale                      q  bits of a token
    u  units of a plan
    a  axes of a position         g  groups of tokens, such as frames
    x  axes left open, or none

Where there are no tokens (data, evaluation), some stand for something else:

    n  videos or pictures of a set, or rows and columns of a matrix with m
    m  those of a second set      k  those of a third; draws of a bootstrap
    u  units of a bootstrap       v  those of a second set; windows of a clip
    c  classes                    d  features, or parameters of a fit
    l  pixels in any order        g  frames that are stored together
    t  time, height and width of any grid, with h and w

A digit is an axis of that size. `video_bTHWc` is pixels, `f_bthwd` latent
features, `x_bld` a token sequence, `logits_blq2` two logits for each bit,
`q_blnk` queries by head, `position_l3` (t, h, w) of each token.

Of what is no array, `_s` is a unit, seconds.
"""
