"""What errors in a video's first frame do to the prediction of the next.

Real clips are coded, a share of the bits of their first latent frame is
flipped, and the generator predicts the true bits of the frames that follow, as
if it had made these errors itself. Later frames are read without errors, so
that the harm of one frame is measured. Without guidance, averaged weights.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.core.compiler import jit
from videoar_jax.core.mesh import MeshConfig
from videoar_jax.core.precision import HIGHEST
from videoar_jax.data.config import DataConfig
from videoar_jax.evaluate import provenance
from videoar_jax.evaluate.request import Request
from videoar_jax.evaluate.rules import Split
from videoar_jax.evaluate.task import resolve
from videoar_jax.evaluate.windows import Draw, open_split
from videoar_jax.objectives.bitwise import bitwise_cross_entropy
from videoar_jax.plan.pyramid import Pyramid
from videoar_jax.sample.sampler import Generator
from videoar_jax.tokenizer.autoencoder import to_float
from videoar_jax.tokenizer.quantizer import accumulate, encode_scales
from videoar_jax.transformer.inputs import token_inputs


def measure_checkpoint(request: Request, *, share: float) -> dict:
  """Measures a generator's checkpoint.

  Args:
    request: what is measured, and on which clips.
    share: as for `measure`.

  Returns:
    Plain values, for JSON: those of `measure`, and what they are of.

  Raises:
    ValueError: see `measure` and `request.resolve`; or it is a tokenizer.
  """
  # Its draws are of a batch, which no mesh may divide.
  task = resolve(dataclasses.replace(request, mesh=MeshConfig(data=1)))
  if task.generator is None:
    raise ValueError(
      f'{request.checkpoint} is a tokenizer, which predicts nothing; give a '
      'generator'
    )
  result = measure(
    task.generator,
    task.data,
    num_videos=task.num_videos,
    split=task.split,
    share=share,
    seed=request.seed,
  )
  config = task.loaded.config
  return {
    **result,
    'share': share,
    'num_videos': task.num_videos,
    'split': task.split.value,
    'source': task.data.source,
    'checkpoint': request.checkpoint,
    'step': task.loaded.step,
    'digest': task.loaded.digest,
    'corruption': config.corruption.to_dict(),
    'training_seed': config.seed,
    'seed': request.seed,
    'versions': provenance.versions(),
  }


def measure(
  generator: Generator,
  data: DataConfig,
  *,
  num_videos: int,
  split: Split,
  share: float,
  seed: int,
) -> dict[str, list[float]]:
  """Cross-entropy of the bits of all latent frames but the first.

  Args:
    generator: whose transformer predicts.
    data: source and size of the clips.
    num_videos: how many.
    split: which split.
    share: of the first latent frame's bits that are flipped, 0 to 0.5.
    seed: of windows and flips.

  Returns:
    By frame, means over bits and clips in nats: `clean`, after the true first
    frame; `flipped`, after the one with errors; `harm`, their difference.

  Raises:
    ValueError: share is out of range, the clips have one latent frame, or the
      generator's plan predicts all frames together.
  """
  plan = _plan(generator, data)
  if not 0.0 < share <= 0.5:
    raise ValueError(f'share={share}: wanted above 0, at most 0.5')
  source = open_split(
    data, num_videos=num_videos, split=split, prompts=generator.prompts
  )
  draw = Draw(source, num_videos, seed, split, data.max_bad_share)
  nats = make_measure(generator, plan)
  found, size = [], min(data.batch_size, num_videos)
  for number, block in enumerate(draw.blocks(np.arange(num_videos), size)):
    count = len(block.labels_n)
    rows = np.minimum(np.arange(size), count - 1)  # one program serves all
    conditions_nx = block.prompts_nx
    if conditions_nx is None:
      conditions_nx = generator.of_classes(block.labels_n)
    both = nats(
      generator.nets,
      block.videos_nTHWc[rows],
      conditions_nx[rows],
      jax.random.fold_in(jax.random.key(seed), number * size),
      share,
    )
    found.append(np.asarray(both)[:, :count])
  clean_t, flipped_t = np.concatenate(found, axis=1).mean(axis=1)[:, 1:]
  return {
    'clean': clean_t.tolist(),
    'flipped': flipped_t.tolist(),
    'harm': (flipped_t - clean_t).tolist(),
  }


def _plan(generator: Generator, data: DataConfig) -> Pyramid:
  frames = generator.tokenizer.latent_frames(data.num_frames)
  plan = generator.family.plan(frames, data.height, data.width)
  if plan.block_frames == frames:
    raise ValueError(
      f'num_frames={data.num_frames}, plan {plan.name}: nothing is predicted '
      'after the first latent frame'
    )
  return plan


def make_measure(generator: Generator, plan: Pyramid) -> Callable:
  """Builds nats(nets, video_bTHWc, condition_bx, key, share) -> (2, b, t).

  Mean cross-entropy of each latent frame's true bits, with the first frame as
  it is and with a share of its bits flipped.
  """
  family = generator.family.without_remat
  of_frame_tl = plan.frame_l == np.arange(plan.num_frames)[:, None]
  of_frame_tl = of_frame_tl / of_frame_tl.sum(axis=1, keepdims=True)

  def predict(nets, bits, targets_blq, condition_bx):
    totals = [
      jnp.zeros((*bits[0].shape[:2], *plan.scales[-1], bits[0].shape[-1]))
    ]
    for scale in bits:
      totals.append(accumulate(totals[-1], scale))
    logits = family.forward(
      nets[family.net],
      token_inputs(totals[1:], plan),
      condition_bx,
      plan=plan,
    )
    nats_bl = bitwise_cross_entropy(logits, targets_blq)
    return jnp.einsum('bl,tl->bt', nats_bl, of_frame_tl, precision=HIGHEST)

  @jit
  def nats(nets, video_bTHWc, condition_bx, key, share):
    f_bthwd = family.autoencoder.apply(
      {'params': nets['autoencoder']}, to_float(video_bTHWc), method='encode'
    )
    bits = [x.bits_bthwq for x in encode_scales(f_bthwd, plan.scales)]
    flipped = [
      flip_first_frame(x, jax.random.fold_in(key, k), share)
      for k, x in enumerate(bits)
    ]
    targets = plan.gather(bits)
    return jnp.stack(
      [predict(nets, x, targets, condition_bx) for x in (bits, flipped)]
    )

  return nats


def flip_first_frame(bits_bthwq: jax.Array, key, share) -> jax.Array:
  """Flips a share of the bits of the first latent frame of one scale."""
  first = bits_bthwq[:, 0]
  flips = jax.random.bernoulli(key, share, first.shape)
  return bits_bthwq.at[:, 0].set(jnp.abs(first - flips))
