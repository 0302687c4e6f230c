"""What launchers ask that bash does not know; answers by its exit status.

  python launch/look.py newer RESULT RUN   # 0: newer than all its checkpoints
  python launch/look.py exists PATH        # 0: a file is there
  python launch/look.py process            # prints which this is of how many

Paths may be in a bucket. The last is for jobs of several processes, as JAX
finds them: "0 1" is one alone.
"""

import sys

from etils import epath

from videoar_jax.core import buckets, job, manifest, start

_COMMITTED = 'commit_success.txt'  # Orbax's, in buckets


def is_newer(result: str, run: str) -> bool:
  """Whether a result is there, and newer than each of a run's checkpoints."""
  buckets.check(result)
  path, folder = epath.Path(result), epath.Path(run) / 'checkpoints'
  if not path.exists():
    return False
  made = path.stat().mtime
  steps = [folder / str(step) for step in manifest.list_steps(folder)]
  return all(_written(step).stat().mtime < made for step in steps)


def _written(step: epath.Path) -> epath.Path:
  """What of a checkpoint is written last; in a bucket no folder has a time."""
  mark = step / _COMMITTED
  return mark if mark.exists() else step


def main(words: list[str]) -> int:
  try:
    match words:
      case ['newer', result, run]:
        return 0 if is_newer(result, run) else 1
      case ['exists', path]:
        buckets.check(path)
        return 0 if epath.Path(path).exists() else 1
      case ['process']:
        place = start.detect(job.START_TIMEOUT_S)
        print(*((place.process, place.count) if place else (0, 1)))
        return 0
  except (ValueError, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  print(__doc__, file=sys.stderr)
  return 2


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
