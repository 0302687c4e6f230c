"""Do videos show their class? I3D, trained on Kinetics-400, names it.

About half of UCF-101's classes are among those of Kinetics-400; videos of
others are not counted.
"""

from collections.abc import Sequence

import numpy as np

# Class of UCF-101 -> logits of Kinetics-400, whose classes are in alphabetical
# order, that name the same thing.
_LABELS = {
  'Archery': (5,),
  'BabyCrawling': (77,),
  'BandMarching': (192,),
  'BaseballPitch': (48,),
  'Basketball': (296, 220, 99),
  'BasketballDunk': (107,),
  'BenchPress': (19,),
  'Biking': (267,),
  'Bowling': (31,),
  'BlowDryHair': (128,),
  'BlowingCandles': (27,),
  'BrushingTeeth': (37,),
  'CleanAndJerk': (59,),
  'CliffDiving': (93,),
  'Diving': (329,),
  'Drumming': (230,),
  'GolfSwing': (142,),
  'Haircut': (138,),
  'HammerThrow': (148,),
  'HighJump': (151,),
  'HorseRiding': (273,),
  'HulaHoop': (159,),
  'IceDancing': (164,),
  'JavelinThrow': (166,),
  'JugglingBalls': (169,),
  'JumpRope': (311,),
  'Kayaking': (42,),
  'Knitting': (178,),
  'LongJump': (182,),
  'Lunges': (183,),
  'MoppingFloor': (198,),
  'PlayingCello': (223,),
  'PlayingFlute': (231,),
  'PlayingGuitar': (232,),
  'PlayingPiano': (241,),
  'PlayingViolin': (250,),
  'PoleVault': (253,),
  'PullUps': (255,),
  'PushUps': (260,),
  'RockClimbingIndoor': (278,),
  'RopeClimbing': (66,),
  'SalsaSpin': (283,),
  'ShavingBeard': (365,),
  'Shotput': (298,),
  'SkateBoarding': (306,),
  'Skiing': (308,),
  'Skijet': (167,),
  'SkyDiving': (312,),
  'SoccerJuggling': (171,),
  'SoccerPenalty': (297,),
  'Surfing': (337,),
  'TaiChi': (346,),
  'ThrowDiscus': (358,),
  'TrampolineJumping': (30,),
  'Typing': (373,),
  'VolleyballSpiking': (251,),
  'WritingOnBoard': (396,),
}
_TOP = 5


def class_accuracy(
  logits_nd: np.ndarray, labels_n: np.ndarray, classes: Sequence[str]
) -> dict | None:
  """How often I3D names the class that a video is of.

  Args:
    logits_nd: of I3D, (n, 400).
    labels_n: class of each video, an index into `classes`.
    classes: names.

  Returns:
    Over the videos of classes that Kinetics has: `top1` and `top5`, the shares
    whose class is the first or among the first five of 400; `among`, the share
    whose class is the first among the set's own classes that Kinetics has, and
    `chance`, one over their number; `num_videos`, and `among_by_class`. None
    where it has fewer than two of the classes.
  """
  known = {
    label: list(_LABELS[name])
    for label, name in enumerate(classes)
    if name in _LABELS
  }
  counted_n = np.isin(labels_n, list(known))
  if len(known) < 2 or not counted_n.any():
    return None
  logits_nd, labels_n = logits_nd[counted_n], labels_n[counted_n]
  rank_nd = np.argsort(np.argsort(-logits_nd, axis=1), axis=1)
  rank_n = np.array(
    [rank[known[label]].min() for rank, label in zip(rank_nd, labels_n)]
  )
  best_nc = np.stack(
    [logits_nd[:, own].max(axis=1) for own in known.values()], axis=1
  )
  named_n = np.array(list(known))[best_nc.argmax(axis=1)]
  right_n = named_n == labels_n
  return {
    'top1': float((rank_n == 0).mean()),
    'top5': float((rank_n < _TOP).mean()),
    'among': float(right_n.mean()),
    'chance': 1.0 / len(known),
    'num_videos': int(counted_n.sum()),
    'among_by_class': {
      classes[label]: float(right_n[labels_n == label].mean())
      for label in known
      if (labels_n == label).any()
    },
  }
