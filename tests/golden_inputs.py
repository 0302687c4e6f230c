"""Random inputs of the parity tests, the same for both implementations."""

import numpy as np

# Coarse to fine; square and not, divisible by the finest and not.
SCHEDULES = (
  ((1, 1), (2, 2), (4, 4), (8, 8)),
  ((1, 1), (2, 2), (3, 3), (4, 4), (6, 6), (8, 8)),
  ((1, 1), (2, 2), (4, 4), (5, 5), (6, 6), (8, 8)),
  ((1, 1), (3, 3), (5, 5), (7, 7)),
  ((5, 5),),
  ((1, 1), (2, 3), (4, 6)),
  ((1, 1), (2, 2), (3, 3), (4, 7), (6, 11)),
  ((1, 2), (3, 5), (9, 16)),
  ((2, 1), (5, 3), (13, 7)),
  ((1, 1), (3, 5), (8, 14), (12, 21)),
)
LATENT_WIDTH = 11
LPIPS_SIZES = ((64, 64), (37, 50), (128, 96))


def features(index: int) -> np.ndarray:
  """Latents for schedule `index`, bthwd float32, lengths of about 3."""
  rng = np.random.default_rng([17, index])
  shape = (2, 3, *SCHEDULES[index][-1], LATENT_WIDTH)
  return rng.standard_normal(shape).astype(np.float32)


def pictures(index: int) -> tuple[np.ndarray, np.ndarray]:
  """Two pairs of pictures, nHWc float32 in [-1, 1]: one close, one not."""
  rng = np.random.default_rng([23, index])
  shape = (2, *LPIPS_SIZES[index], 3)
  a = np.cumsum(rng.uniform(-0.3, 0.3, shape), axis=1)
  b = a + rng.normal(size=shape) * np.float64([0.02, 0.5])[:, None, None, None]
  return np.tanh(a).astype(np.float32), np.tanh(b).astype(np.float32)


# A tiny Wan: sizes as diffusers calls them. Of 5 pairs of a head 3 are of time.
WAN = {
  'patch_size': (1, 2, 2),
  'num_attention_heads': 3,
  'attention_head_dim': 10,
  'in_channels': 4,
  'out_channels': 4,
  'text_dim': 12,
  'freq_dim': 16,
  'ffn_dim': 36,
  'num_layers': 2,
}
WAN_TEXT_LENGTH = 7
# (t, h, w) of latents.
WAN_CLIPS = ((3, 6, 10), (1, 10, 2), (5, 2, 6))
# (t, h, w) of patches.
WAN_GRID = (3, 3, 5)
_BATCH = 2


def wan_text(index: int) -> np.ndarray:
  """Rows of two texts, bmd float32; the second is short."""
  rng = np.random.default_rng([29, index])
  text = rng.standard_normal((_BATCH, WAN_TEXT_LENGTH, WAN['text_dim']))
  text[1, 3:] = 0
  return text.astype(np.float32)


def wan_clip(index: int) -> tuple[np.ndarray, np.ndarray]:
  """Latents bthwc and a time for each clip, float32."""
  rng = np.random.default_rng([31, index])
  latents = rng.standard_normal((_BATCH, *WAN_CLIPS[index], WAN['in_channels']))
  return latents.astype(np.float32), np.float32([937.5, 41.25 + index])


def wan_tokens(length: int, times: int) -> tuple[np.ndarray, np.ndarray]:
  """Patches blc, and so many times for each example, float32."""
  rng = np.random.default_rng([37, length, times])
  width = WAN['in_channels'] * int(np.prod(WAN['patch_size']))
  patches = rng.standard_normal((_BATCH, length, width)).astype(np.float32)
  return patches, rng.uniform(0, 1000, (_BATCH, times)).astype(np.float32)


def wan_scales() -> np.ndarray:
  """Places (t, h, w) of two scales of a clip, between whole numbers: (l, 3)."""
  places = []
  for sides in ((2, 1, 2), (2, 2, 3)):
    axes = [np.arange(sides[0]) * 1.5]
    axes += [(np.arange(n) + 0.5) * 30 / n - 0.5 for n in sides[1:]]
    places.append(
      np.stack(np.meshgrid(*axes, indexing='ij'), -1).reshape(-1, 3)
    )
  return np.concatenate(places)
