"""What to compare a figure with, at the same number of videos.

`real against real`  a second draw of real clips: the least to be expected
`first frame`        the first frame of each real clip, repeated: no motion
`random bits`        the tokenizer's decoder on bits drawn one by one with the
                     frequencies they have in real clips: no structure
`reconstructions`    of a generator: what its tokenizer makes of the real clips

FVD depends on the number of videos, and paired sets lie nearer than
independent ones. So each entry says whether it is paired, and carries under
`halves` the kernel distance of the first half of the real clips from the
second half of the other set, which is unpaired for all. Under `farther` it
carries how much farther than the checkpoint's own videos it lies.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.core.compiler import jit
from videoar_jax.evaluate import compare, frechet, intervals
from videoar_jax.rollout.bits import sample_keys
from videoar_jax.tokenizer.autoencoder import make_tokenizer, to_uint8
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.quantizer import Scales, decode_scales

_DIVISIONS = 35  # ways to halve groups; up to seven have no more
REAL = 'real against real'
FIRST_FRAME = 'first frame'
RANDOM_BITS = 'random bits'
RECONSTRUCTIONS = 'reconstructions'


class Features(NamedTuple):
  """I3D's features of a set of videos."""

  rows_nd: np.ndarray
  paired: bool  # row i belongs to real row i
  units: Sequence[str] | None = None  # of the clips; None: each is its own


def distances(
  real_nd: np.ndarray,
  other: Features,
  *,
  covariance: frechet.Covariance,
  seed: int,
) -> dict:
  """The distances of `compare.compare_features`, and between halves.

  Returns:
    Its entries, `paired`, and `halves`: `kvd`, `kvd_stderr`, `num_videos` of
    the first half of one set against the second half of the other; None below
    four videos.
  """
  result = compare.compare_features(
    real_nd,
    other.rows_nd,
    covariance=covariance,
    paired=other.paired,
    seed=seed,
  )
  half = len(real_nd) // 2
  halves = None
  if half >= 2:
    kernel = frechet.kvd(real_nd[:half], other.rows_nd[half : 2 * half])
    halves = {**_named(kernel), 'num_videos': half}
  return {**result, 'paired': other.paired, 'halves': halves}


def farther(real_nd: np.ndarray, near: Features, far: Features) -> dict:
  """How much farther `far` lies from the real clips than `near`.

  Returns:
    `kvd` and `kvd_stderr`, see `frechet.kvd_gap`.
  """
  return _named(
    frechet.kvd_gap(
      real_nd,
      near.rows_nd,
      far.rows_nd,
      near_paired=near.paired,
      far_paired=far.paired,
    )
  )


def between_groups(
  rows_nd: np.ndarray,
  *,
  units_n: np.ndarray,
  groups_n: np.ndarray,
  covariance: frechet.Covariance,
  seed: int,
) -> dict:
  """Real against real where both sets are of other groups (see `clips`).

  Groups are divided into halves in every way there is, or in 35 drawn ones.

  Args:
    rows_nd: features of real clips.
    units_n: unit of each.
    groups_n: group of each, at least two.
    covariance: divide by N - 1 or by N.
    seed: draws these ways.
  Returns:
    Of `fvd` and `kvd` (that of `intervals.distances`) the `median`, `least`
    and `most`; `groups`, `divisions`, `windows`, and `windows_least` of a half:
    FVD is to be compared at its size alone.
  Raises:
    ValueError: fewer than two groups, or units.
  """
  names = np.unique(groups_n)
  if len(names) < 2:
    raise ValueError(
      'real clips of one group: nothing to hold against each other; leave '
      'intervals out, or add videos'
    )
  found, sizes = [], []
  for chosen in _halves(names, np.random.default_rng(seed)):
    first_n = np.isin(groups_n, chosen)
    near, far = rows_nd[first_n], rows_nd[~first_n]
    kvd = intervals.kvd(
      near, far, units_n=units_n[first_n], other_units_m=units_n[~first_n]
    )
    found.append((frechet.fvd(near, far, covariance=covariance), kvd))
    sizes.append(min(len(near), len(far)))
  return {
    **{
      name: {
        'median': float(np.median(values)),
        'least': float(np.min(values)),
        'most': float(np.max(values)),
      }
      for name, values in zip(('fvd', 'kvd'), np.transpose(found))
    },
    'groups': len(names),
    'divisions': len(found),
    'windows': len(rows_nd),
    'windows_least': min(sizes),
  }


def _halves(names: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
  """Halves of groups, each way of dividing them once."""
  size = len(names) // 2
  if math.comb(len(names), size) <= _DIVISIONS:
    ways = [np.array(way) for way in itertools.combinations(names, size)]
    # Of an even number, a half and the rest are one way.
    return ways[: len(ways) // 2] if len(names) % 2 == 0 else ways
  return [rng.choice(names, size, replace=False) for _ in range(_DIVISIONS)]


def _named(kernel: frechet.KernelDistance) -> dict:
  return {'kvd': kernel.value, 'kvd_stderr': kernel.stderr}


def repeat_first_frame(videos_nTHWc: np.ndarray) -> np.ndarray:
  """The first frame of each clip in place of all its frames; a view."""
  return np.broadcast_to(videos_nTHWc[:, :1], videos_nTHWc.shape)


def count_ones(bits: Sequence[np.ndarray]) -> np.ndarray:
  """How often each bit of a clip's tokens is one, by scale.

  Args:
    bits: per scale (b, t, h_k, w_k, q), {0, 1}.
  Returns:
    int32 (b, s, q).
  """
  found = [np.sum(x, axis=(1, 2, 3), dtype=np.float64) for x in bits]
  return np.stack(found, axis=1).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class BitCounts:
  """How often each bit of a token is one, by scale, over all places.

  Attributes:
    ones_sq: counts, float64.
    tokens_s: tokens that were counted.
  """

  ones_sq: np.ndarray
  tokens_s: np.ndarray

  @classmethod
  def of(
    cls, ones_nsq: np.ndarray, *, scales: Scales, latent_frames: int
  ) -> 'BitCounts':
    """The sum of what `count_ones` said of each of n clips."""
    each = [latent_frames * h * w for h, w in scales]
    ones_sq = ones_nsq.sum(axis=0, dtype=np.float64)
    return cls(ones_sq, len(ones_nsq) * np.asarray(each))

  def marginals(self) -> list[np.ndarray]:
    """Share of ones per scale, float64 (q,), 0..1."""
    return [ones_q / n for ones_q, n in zip(self.ones_sq, self.tokens_s)]

  def entropies(self) -> list[np.ndarray]:
    """Entropy of the marginals per scale, (q,); bits, 0..1."""
    return [_entropy(share_q) for share_q in self.marginals()]


def draw_bits(
  marginals: Sequence[jax.Array],
  index_b: jax.Array,
  seed: jax.Array | int,
  *,
  scales: Scales,
  latent_frames: int,
) -> list[jax.Array]:
  """Draws every bit alone, a one with the share that its marginal gives.

  Args:
    marginals: per scale (q,), 0..1.
    index_b: index of each video, which with the seed decides it.
    seed: of all.
    scales: sizes of a frame.
    latent_frames: t.
  Returns:
    Per scale (b, t, h_k, w_k, q), {0, 1}, float32.
  """
  key_b, bits = sample_keys(seed, index_b), []
  for k, share_q in enumerate(marginals):
    shape = (latent_frames, *scales[k], len(share_q))
    keys = jax.vmap(jax.random.fold_in, (0, None))(key_b, k)
    draw = functools.partial(jax.random.uniform, shape=shape)
    bits.append((jax.vmap(draw)(keys) < share_q).astype(jnp.float32))
  return bits


def make_random_decoder(
  config: TokenizerConfig, *, latent_frames: int, scales: Scales
) -> Callable:
  """Builds decode(params, marginals, index_b, seed) -> video_bTHWc uint8.

  The decoder's video of the bits of `draw_bits`.
  """
  model = make_tokenizer(config)

  @jit
  def decode(params, marginals, index_b, seed) -> jax.Array:
    bits = draw_bits(
      marginals, index_b, seed, scales=scales, latent_frames=latent_frames
    )
    f_bthwd = decode_scales(bits, scales)
    return to_uint8(model.apply({'params': params}, f_bthwd, method='decode'))

  return decode


def random_bits(
  decode: Callable,
  params: Any,
  marginals: Sequence[np.ndarray],
  *,
  index_n: np.ndarray,
  batch_size: int,
  seed: int,
) -> Iterator[np.ndarray]:
  """Yields videos of random bits, uint8 (b, T, H, W, 3), batch by batch.

  Args:
    decode: from `make_random_decoder`.
    params: of the autoencoder.
    marginals: from `BitCounts`.
    index_n: of the videos; the last batch is cut to them.
    batch_size: videos at a time; has no influence on what a video is.
    seed: with its index it decides a video.
  """
  marginals = [np.float32(share_q) for share_q in marginals]
  count = len(index_n)
  for start in range(0, count, batch_size):
    rows = np.minimum(np.arange(start, start + batch_size), count - 1)
    index_b = np.asarray(index_n)[rows].astype(np.uint32)
    video = decode(params, marginals, index_b, np.uint32(seed))
    yield np.asarray(video)[: count - start]


def _entropy(share_q: np.ndarray) -> np.ndarray:
  both = np.stack([share_q, 1 - share_q])
  logs = np.log2(both, out=np.zeros_like(both), where=both > 0)
  return -(both * logs).sum(0)
