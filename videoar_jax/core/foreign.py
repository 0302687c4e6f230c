"""Weights of other projects: other names, and axes in another order.

A `Naming` says of each of our arrays how it is called there and how it lies.
Names and shapes are compared before any weight is read.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

_SHOWN = 8  # arrays that an error names


@dataclasses.dataclass(frozen=True)
class Foreign:
  """An array of ours in another project's file.

  Attributes:
    name: there.
    axes: of ours, in the order in which they lie there.
    shape: there; axes may be merged, or have axes of length one beside them.
  """

  name: str
  axes: tuple[int, ...]
  shape: tuple[int, ...]

  def taken(self, x: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Their array as ours, of a shape; a view."""
    apart = x.reshape([shape[axis] for axis in self.axes])
    return apart.transpose(np.argsort(self.axes))

  def given(self, x: np.ndarray) -> np.ndarray:
    """Our array as theirs."""
    return x.transpose(self.axes).reshape(self.shape)


Naming = Mapping[str, Foreign]


@dataclasses.dataclass(frozen=True)
class ImportReport:
  """What became of each array.

  Attributes:
    mapped: ours -> theirs.
    skipped: theirs -> why it was not taken.
    missing: ours that keep their initial values, or have none -> why.
  """

  mapped: dict[str, str]
  skipped: dict[str, str]
  missing: dict[str, str]

  def lines(self) -> list[str]:
    """The report as text, a line for each array that was not mapped."""
    found = [f'{len(self.mapped)} arrays mapped']
    for title, entries in (
      ('skipped', self.skipped),
      ('missing', self.missing),
    ):
      found.append(f'{len(entries)} arrays {title}')
      found += [f'  {name}: {reason}' for name, reason in entries.items()]
    return found


def choose(namings: Sequence[Naming], names: Sequence[str], *, where: str):
  """The naming that most names of a file are of.

  Raises:
    ValueError: none of them is.
  """
  given = set(names)
  found = [sum(x.name in given for x in way.values()) for way in namings]
  if not any(found):
    firsts = [next(iter(way.values())).name for way in namings]
    raise ValueError(
      f'{where}: holds {", ".join(sorted(given)[:3]) or "nothing"}; wanted '
      f'arrays like {" or ".join(firsts)}'
    )
  return namings[int(np.argmax(found))]


def compare(
  naming: Naming, shapes: Mapping[str, Sequence[int]], *, where: str
) -> ImportReport:
  """What of a file is ours.

  Args:
    naming: of each of our arrays.
    shapes: of the arrays there, by their names.
    where: what to call the file.
  Raises:
    ValueError: an array there has another shape than ours; the first ones are
      shown.
  """
  mapped, missing, wrong = {}, {}, []
  for name, other in naming.items():
    if other.name not in shapes:
      missing[name] = f'there is no {other.name}'
      continue
    found = tuple(shapes[other.name])
    if found != other.shape:
      wrong.append(f'  {other.name} is {found}, wanted {other.shape}')
    mapped[name] = other.name
  if wrong:
    more = [f'  and {len(wrong) - _SHOWN} more'] * (len(wrong) > _SHOWN)
    raise ValueError(
      f'{where}: {len(wrong)} of {len(shapes)} arrays are of another network '
      'than its config makes; give the config of these weights\n'
      + '\n'.join(wrong[:_SHOWN] + more)
    )
  others = shapes.keys() - set(mapped.values())
  skipped = dict.fromkeys(sorted(others), 'no counterpart')
  return ImportReport(mapped, skipped, missing)


def check_whole(report: ImportReport, *, where: str) -> None:
  """Raises a ValueError where one of our arrays is not in a file."""
  if report.missing:
    reasons = list(report.missing.values())
    more = f', and {len(reasons) - 1} more are missing' * (len(reasons) > 1)
    raise ValueError(f'{where}: {reasons[0]}{more}; get the whole file')


def take(
  naming: Naming,
  report: ImportReport,
  read: Callable[[str], np.ndarray],
  shapes: Mapping[str, Sequence[int]],
) -> dict[str, np.ndarray]:
  """Reads what was mapped.

  Args:
    naming: of each of our arrays.
    report: what `compare` returned.
    read: an array of theirs, by its name there.
    shapes: of ours.
  Returns:
    Ours by name, in the dtype of theirs; views, of another order in memory.
  """
  return {
    name: naming[name].taken(read(theirs), shapes[name])
    for name, theirs in report.mapped.items()
  }
