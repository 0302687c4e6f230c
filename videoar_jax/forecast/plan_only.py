"""`--plan_only`: what a command needs on TPUs that need not be there."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ml_collections

from videoar_jax.benchmark import ahead, process
from videoar_jax.core import command, files, topology
from videoar_jax.core.mesh import MeshConfig
from videoar_jax.evaluate import compare, provenance
from videoar_jax.forecast import sampling, table, training
from videoar_jax.forecast.knobs import knobs
from videoar_jax.train import sections


def plan_training(
  config: ml_collections.ConfigDict,
  tokenizer: ml_collections.ConfigDict | None,
  *,
  name: str,
  slices: int,
  out: str | None,
) -> None:
  """Compiles a run's step for a topology, and says what it needs.

  Args:
    config: of the run.
    tokenizer: of a tokenizer's run; a generator needs one.
    name: of the topology, see `core.topology`.
    slices: how many of them.
    out: JSON file of the result, or None.

  Raises:
    UsageError: a generator's tokenizer is missing.
    ValueError: the topology is not known, libtpu is missing, or the config
      does not fit the devices.
  """
  sections.check_config(config)
  shape = None
  if config.recipe == sections.GENERATOR:
    shape = _tokenizer_section(tokenizer)
  _check(name, out)
  found = _step(config, shape, name, slices)
  if not found['fits']:
    found.update(_first_that_fits(config, shape, name, slices, found))
  _tell(found, table.of_step, out)


def plan_sampling(
  config: ml_collections.ConfigDict,
  tokenizer: ml_collections.ConfigDict | None,
  *,
  name: str,
  sizes: MeshConfig,
  batch_size: int,
  changes: Mapping[str, Any],
  out: str | None,
) -> None:
  """Compiles the program of a batch of videos, and says what it needs.

  Args:
    config: of a generator's run.
    tokenizer: of a tokenizer's run.
    name: of the topology that the devices of one process make up.
    sizes: of its mesh.
    batch_size: videos at a time.
    changes: fields of `SamplingConfig` to set.
    out: JSON file of the result, or None.

  Raises:
    UsageError: the tokenizer is missing.
    ValueError: as `plan_training`.
  """
  sections.check_config(config)
  if config.recipe != sections.GENERATOR:
    raise ValueError(
      f'--config: its recipe is {config.recipe!r}, and a generator samples'
    )
  shape = _tokenizer_section(tokenizer)
  _check(name, out)
  arguments = (config, shape, name, sizes, batch_size, dict(changes))
  found = process.run_alone(
    _sampling, *arguments, environment=ahead.environment(name)
  )
  _tell(found, table.of_sampling, out)


def _check(name: str, out: str | None) -> None:
  topology.check_name(name)
  topology.check_installed()
  if out:
    files.output_file(out, inputs=[], flag='out')


def _tokenizer_section(config: ml_collections.ConfigDict | None) -> Any:
  if config is None:
    raise command.UsageError('--tokenizer is missing')
  sections.check_config(config)
  if config.recipe != sections.TOKENIZER:
    raise ValueError(
      f'--tokenizer: its recipe is {config.recipe!r}; give the config of a '
      'tokenizer, as configs/tokenizer_ucf101.py'
    )
  return config.tokenizer


def _tell(
  found: dict, lines: Callable[[dict], Iterator[str]], out: str | None
) -> None:
  for line in lines(found):
    print(line, flush=True)
  if out:
    compare.write_json(out, {**found, **provenance.versions()})


def _step(config: Any, tokenizer: Any, name: str, slices: int) -> dict:
  """Its own process, as nothing may have asked JAX for devices before."""
  return process.run_alone(
    _forecast,
    config,
    tokenizer,
    name,
    slices,
    environment=ahead.environment(name),
  )


def _forecast(config: Any, tokenizer: Any, name: str, slices: int) -> dict:
  return training.forecast_step(config, tokenizer, name=name, slices=slices)


def _sampling(
  config: Any,
  tokenizer: Any,
  name: str,
  sizes: MeshConfig,
  batch_size: int,
  changes: dict[str, Any],
) -> dict:
  return sampling.forecast_sampling(
    config,
    tokenizer,
    name=name,
    sizes=sizes,
    batch_size=batch_size,
    changes=changes,
  )


def _first_that_fits(
  config: Any, tokenizer: Any, name: str, slices: int, found: dict
) -> dict:
  """The first knob that lets a step fit, and those that did not."""
  tried = []
  for flags, changed in knobs(config, found['mesh'], slices):
    print(f'does not fit; trying {flags} …', flush=True)
    try:
      new = _step(changed, tokenizer, name, slices)
    except ValueError as error:  # a mesh or batch that cannot be
      command.note(f'{flags}: {error}')
      continue
    if new['fits']:
      knob = {'flags': flags, 'peak_bytes': new['peak_bytes']}
      return {'knob': knob, 'knobs_tried': tried}
    tried.append(flags)
  return {'knob': None, 'knobs_tried': tried}
