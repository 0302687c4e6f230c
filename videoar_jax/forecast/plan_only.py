"""`--plan_only`: what a run needs on TPUs that need not be there."""

from typing import Any

import ml_collections

from videoar_jax.benchmark import ahead, process
from videoar_jax.core import files, topology
from videoar_jax.evaluate import compare, provenance
from videoar_jax.forecast import table, training
from videoar_jax.forecast.knobs import knobs


def plan_training(
  config: ml_collections.ConfigDict,
  tokenizer: Any,
  *,
  name: str,
  slices: int,
  out: str | None,
) -> None:
  """Compiles a run's step for a topology, and says what it needs.

  Args:
    config: of the run.
    tokenizer: section `tokenizer` of a tokenizer's run, for a generator.
    name: of the topology, see `core.topology`.
    slices: how many of them.
    out: JSON file of the result, or None.

  Raises:
    ValueError: the topology is not known, libtpu is missing, or the config
      does not fit the devices.
  """
  topology.check_name(name)
  topology.check_installed()
  if out:
    files.output_file(out, inputs=[], flag='out')
  found = _alone(config, tokenizer, name, slices)
  if not found['fits']:
    found.update(_first_that_fits(config, tokenizer, name, slices, found))
  for line in table.lines(found):
    print(line, flush=True)
  if out:
    compare.write_json(out, {**found, **provenance.versions()})


def _alone(config: Any, tokenizer: Any, name: str, slices: int) -> dict:
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


def _first_that_fits(
  config: Any, tokenizer: Any, name: str, slices: int, found: dict
) -> dict:
  """The first knob that lets a step fit, and those that did not."""
  tried = []
  for flags, changed in knobs(config, found['mesh']):
    print(f'does not fit; trying {flags} …', flush=True)
    new = _alone(changed, tokenizer, name, slices)
    if new['fits']:
      knob = {'flags': flags, 'peak_bytes': new['peak_bytes']}
      return {'knob': knob, 'knobs_tried': tried}
    tried.append(flags)
  return {'knob': None, 'knobs_tried': tried}
