"""Collects what a run measured, and makes the tables of docs/results.md of it.

  python launch/results.py collect RUN HALF=CONFIG … --command=COMMAND
  python launch/results.py page docs/results docs/results.md

The first writes RUN/results/, a file for each HALF (tokenizer, generator,
text_generator) of which RUN holds HALF.json, with the command that makes the
run again. A file that is copied to docs/results/ becomes a row of the second.
"""

import pathlib
import sys
import tempfile

from etils import epath

from videoar_jax.core import buckets
from videoar_jax.report import records, results

_COMMAND = '--command='


def collect(run: str, halves: dict[str, str], command: str) -> None:
  """Writes the records of a run, which may be in a bucket."""
  with tempfile.TemporaryDirectory() as folder:
    copy = pathlib.Path(run)
    if buckets.is_bucket(run):
      buckets.check(run)
      copy = buckets.copy_results(run, pathlib.Path(folder))
    for half, config in halves.items():
      record = records.make(copy, half, config=config, command=command)
      path = records.write(record, epath.Path(run) / 'results')
      kind = records.kind_of(record)
      protocol = record['result']['protocol']
      print(f'{path}: {kind} {record["result"]["fvd"]:.4g} ({protocol})')


def page(folder: str, path: str) -> None:
  """Rewrites the tables of a page."""
  file = pathlib.Path(path)
  found = records.read_all(pathlib.Path(folder))
  file.write_text(results.rewrite(file.read_text(), found))


def main(words: list[str]) -> int:
  try:
    match words:
      case ['collect', run, *halves, command] if (
        halves
        and all('=' in half for half in halves)
        and command.startswith(_COMMAND)
      ):
        pairs = dict(half.split('=', 1) for half in halves)
        collect(run, pairs, command.removeprefix(_COMMAND))
        return 0
      case ['page', folder, path]:
        page(folder, path)
        return 0
  except (ValueError, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  print(__doc__, file=sys.stderr)
  return 2


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
