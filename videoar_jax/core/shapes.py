"""Glossary of the letters that array names end in.

    b  batch                      c  channels
    t  latent time (frames)       d  model width, or width of a feature
    h  latent height              l  tokens, in the order of the UnitPlan
    w  latent width               m  tokens that are attended to
    T  pixel time (frames)        n  heads
    H  pixel height               k  width of one head
    W  pixel width                s  scale
                                  q  bits of a token

`video_bTHWc` is pixels, `f_bthwd` latent features, `x_bld` a token sequence,
`logits_blq2` two logits for each bit, `q_blnk` queries by head.
"""
