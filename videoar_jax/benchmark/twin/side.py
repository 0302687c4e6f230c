"""What is measured of the twin, part by part."""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from videoar_jax.benchmark.twin.autoencoder import Decoder, Encoder
from videoar_jax.benchmark.twin.training import Step
from videoar_jax.benchmark.twin.transformer import Rollout, Transformer
from videoar_jax.benchmark.twin.weights import load_network, load_transformer
from videoar_jax.families.bits import BitsFamily
from videoar_jax.rollout.bits import draw_uniform, sample_keys
from videoar_jax.rollout.guidance import parse_guidance
from videoar_jax.sample.program import SamplingConfig

Parts = dict[str, Callable[[], Any]]
Results = dict[str, np.ndarray]


def make_sampling(
  family: BitsFamily,
  nets: Any,
  sampling: SamplingConfig,
  condition_b: np.ndarray,
  video_bTHWc: np.ndarray,
  *,
  decodes: bool = True,
) -> tuple[Parts, Callable[[], Results]]:
  """The parts of sampling.

  Args:
    family: of the generator.
    nets: its parameters, float32.
    sampling: what is sampled.
    condition_b: classes.
    video_bTHWc: what the encoder reads.
    decodes: whether results have the video.

  Returns:
    `sample`, `rollout`, `decoder` and `encoder`; what gives the `bits_…`, and
    the `video`, that our numbers in [0, 1) decide.
  """
  use_all_cores()
  plan = family.plan(
    family.tokenizer.latent_frames(sampling.num_frames), *sampling.size
  )
  gamma_ts = parse_guidance(
    sampling.guidance, num_frames=plan.num_frames, num_scales=len(plan.scales)
  )
  model = Transformer(family.transformer, plan, family.tokenizer.latent_width)
  load_transformer(model, nets[family.net])
  encoder, decoder = Encoder(family.tokenizer), Decoder(family.tokenizer)
  load_network(encoder, nets['autoencoder']['encoder'])
  load_network(decoder, nets['autoencoder']['decoder'])
  batch = len(condition_b)
  rollout = Rollout(model, batch, gamma_ts)
  condition, video = (
    torch.from_numpy(condition_b),
    torch.from_numpy(video_bTHWc),
  )
  shape = plan.offsets[len(plan.scales)], model.num_bits
  drawing = {'temperature': sampling.temperature, 'top_p': sampling.top_p}

  def own(t: int) -> torch.Tensor:
    return torch.rand(batch, *shape)

  def ours(t: int) -> torch.Tensor:
    keys = sample_keys(0, np.arange(batch, dtype=np.uint32))
    return torch.from_numpy(np.array(draw_uniform(keys, t, shape)))

  def sample() -> tuple[list[torch.Tensor], torch.Tensor]:
    bits, f_bthwd = rollout(condition, own, **drawing)
    return bits, decoder(f_bthwd)

  def results() -> Results:
    bits, f_bthwd = rollout(condition, ours, **drawing)
    found = {f'bits_{s}': x.numpy() for s, x in enumerate(bits)}
    if decodes:
      found['video'] = decoder(f_bthwd).numpy()
    return found

  features = torch.randn(batch, *plan.grids[-1].shape, model.num_bits)
  parts = {
    'sample': sample,
    'rollout': lambda: rollout(condition, own, **drawing),
    'decoder': lambda: decoder(features),
    'encoder': lambda: encoder(video),
  }
  return parts, results


def make_training(
  family: BitsFamily,
  nets: Any,
  sections: dict[str, Any],
  num_steps: int,
  features_bthwd: np.ndarray,
  condition_b: np.ndarray,
  inputs_blq: np.ndarray,
) -> tuple[Parts, Callable[[], Results]]:
  """The training step, with the faster of two ways to split its attention.

  Args:
    family: of the generator.
    nets: its parameters, float32.
    sections: `corruption` and `optimizer`.
    num_steps: of the run.
    features_bthwd: of a batch.
    condition_b: classes.
    inputs_blq: what tokens of the plan start from, to compare logits.

  Returns:
    `step`; what gives the `logits` of the first parameters.
  """
  use_all_cores()
  plan = family.plan_of(features_bthwd.shape[1:4])
  model = Transformer(family.transformer, plan, family.tokenizer.latent_width)
  load_transformer(model, nets[family.net])
  condition = torch.from_numpy(condition_b)
  with torch.inference_mode():
    inputs = torch.from_numpy(inputs_blq)
    logits = model(inputs, condition[: len(inputs)]).numpy()
  step = Step(model, num_steps=num_steps, **sections)
  features = torch.from_numpy(features_bthwd)

  def run() -> dict[str, float]:
    return step(features, condition)

  run()
  times = {}
  for split in (True, False):
    model.split_attention(split)
    times[split] = min(_seconds(run) for _ in range(2))
  model.split_attention(times[True] < times[False])
  return {'step': run}, lambda: {'logits': logits}


def _seconds(part: Callable[[], Any]) -> float:
  started = time.perf_counter()
  part()
  return time.perf_counter() - started


def use_all_cores() -> None:
  """Gives PyTorch as many threads as JAX has."""
  told = getattr(os, 'sched_getaffinity', None)
  torch.set_num_threads(len(told(0)) if told else os.cpu_count())
