"""Random inputs of the parity tests, the same for both implementations."""

import math

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


# Shapes of the networks of Wan 2.1, far smaller, in diffusers' words.
VAE = {
  'base_dim': 8,
  'z_dim': 4,
  'dim_mult': [1, 2, 2, 2],
  'num_res_blocks': 1,
  'attn_scales': [],
  'temperal_downsample': [False, True, True],
  'latents_mean': [0.5, -0.25, 0.0, 1.5],
  'latents_std': [2.0, 0.5, 1.25, 3.0],
}
# Frames, height and width: a whole clip, and sides that no halving divides.
VAE_CLIPS = {'even': (13, 16, 24), 'odd': (5, 21, 35)}
VAE_LATENTS = {'even': (4, 2, 3), 'odd': (2, 3, 3)}
UMT5 = {
  'vocab_size': 64,
  'd_model': 16,
  'd_kv': 8,
  'd_ff': 32,
  'num_layers': 2,
  'num_heads': 2,
  'feed_forward_proj': 'gated-gelu',
}
# Of prompts in one batch; positions are told apart up to a distance of 128.
UMT5_LENGTHS = (150, 7, 1)
RAW_TEXTS = (
  'A  cat \t on\na mat. ',
  'plain words, with (brackets) and 12 digits',
  'Tom &amp;amp;amp; Jerry &lt;b&gt;',
  'schÃ¶n — “quoted” ﬁne\u200b…',
  '静止，整体发灰，最差质量',
  'half ＦＵＬＬ width ｶﾅ',
  'e\u0301 combining',
)


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
  """The weights of a name in a state dict: none of them trivial, float32."""
  x = np.random.default_rng(list(name.encode())).standard_normal(shape)
  if name.endswith('gamma') or (len(shape) == 1 and name.endswith('weight')):
    x = 1 + 0.3 * x
  elif len(shape) == 1:
    x = 0.2 * x
  else:
    x = x / math.sqrt(math.prod(shape[1:]))
  if name.endswith('.q.weight'):  # as umT5's, whose scores are not scaled
    x = x / math.sqrt(UMT5['d_kv'])
  return x.astype(np.float32)


def vae_clip(which: str) -> np.ndarray:
  """Pixels, bTHWc float32 in [-1, 1], of one of VAE_CLIPS."""
  rng = np.random.default_rng([29, len(which)])
  return rng.uniform(-1, 1, (1, *VAE_CLIPS[which], 3)).astype(np.float32)


def vae_latents(which: str) -> np.ndarray:
  """Latents, bthwd float32, of one of VAE_LATENTS."""
  rng = np.random.default_rng([31, len(which)])
  shape = (1, *VAE_LATENTS[which], VAE['z_dim'])
  return rng.standard_normal(shape).astype(np.float32)


def umt5_tokens() -> np.ndarray:
  """Tokens of a batch of prompts, (b, l) int32; 1 ends them, 0 pads them."""
  rng = np.random.default_rng(37)
  shape = (len(UMT5_LENGTHS), max(UMT5_LENGTHS))
  tokens = rng.integers(2, UMT5['vocab_size'], shape, np.int32)
  for row, length in zip(tokens, UMT5_LENGTHS):
    row[length - 1], row[length:] = 1, 0
  return tokens
