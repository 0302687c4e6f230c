"""Which results may stand beside each other."""

from collections.abc import Mapping
from typing import Any

from videoar_jax.evaluate import protocols

# What moves a distance, by the names that results have.
_KEYS = (
  'protocol',
  'num_real',
  'num_generated',
  'frames',
  'resolution',
  'split',
  'weights_sha256',
)
# Of the rules: words that move nothing, and what stands beside them already.
_LEFT_OUT = {
  'name',
  'source',
  'num_videos',
  'num_frames',
  'resolution',
  'split',
}


def check_comparable(results: Mapping[str, Mapping[str, Any]]) -> None:
  """Raises a ValueError where distances of some results do not compare.

  Args:
    results: what `evaluate` wrote, by what a message is to call it.
  Raises:
    ValueError: it names what differs: protocol, numbers of videos, frames,
      resolution, split, rules or digest of I3D.
  """
  found = differences(results)
  if found:
    raise ValueError(
      'results of different rules do not compare: '
      + '; '.join(
        f'{key} '
        + ', '.join(f'{_shown(value)} in {name}' for name, value in said)
        for key, said in found.items()
      )
      + '; measure them under one protocol'
    )


def differences(
  results: Mapping[str, Mapping[str, Any]],
) -> dict[str, list[tuple[str, Any]]]:
  """What results differ in, as far as they say it.

  Args:
    results: by name.
  Returns:
    By what differs, the name and value of each result that says it.
  """
  facts = {name: _facts(result) for name, result in results.items()}
  found = {}
  for key in dict.fromkeys(key for own in facts.values() for key in own):
    said = [(name, own[key]) for name, own in facts.items() if key in own]
    if any(value != said[0][1] for _, value in said):
      found[key] = said
  return found


def _facts(result: Mapping[str, Any]) -> dict[str, Any]:
  """What moves its distances; what it does not say is left out."""
  facts = {key: result[key] for key in _KEYS if result.get(key) is not None}
  if 'protocol' in facts:
    name = str(facts['protocol'])
    facts['protocol'] = protocols.ALIASES.get(name, name)
  rules = result.get('rules')
  return facts | _flat(rules if isinstance(rules, dict) else {}, 'rules')


def _flat(values: Mapping[str, Any], where: str) -> dict[str, Any]:
  facts = {}
  for key, value in values.items():
    if isinstance(value, dict):
      facts |= _flat(value, f'{where}.{key}')
    elif key not in _LEFT_OUT:
      facts[f'{where}.{key}'] = value
  return facts


def _shown(value: Any) -> str:
  text = '×'.join(map(str, value)) if isinstance(value, list) else str(value)
  return text if len(text) <= 80 else f'{text[:12]}…'
