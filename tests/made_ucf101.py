"""A made-up UCF-101: the official layout and naming, tiny videos."""

import dataclasses
import pathlib
import zipfile
from collections.abc import Iterable

import av
import numpy as np

LISTS = 'ucfTrainTestlist'
SPLITS_ZIP = 'UCF101TrainTestSplits-RecognitionTask.zip'
TEST_GROUPS = 7  # g01 to g07 are of split 1's test
# One class's videos are spelled otherwise than its folder; the order of the
# numbers is not that of the names.
ODD = 'HandstandPushups'
CLASSES = ('Archery', ODD, 'Hammering', 'HammerThrow')


@dataclasses.dataclass(frozen=True)
class Made:
  """Names of the videos of both splits, and of the classes.

  Attributes:
    classes: in the order of their numbers.
    training: as the list names them.
    test: as the list names them.
  """

  classes: tuple[str, ...]
  training: tuple[str, ...]
  test: tuple[str, ...]

  @property
  def names(self) -> tuple[str, ...]:
    return (*self.training, *self.test)

  def write_lists(self, folder: pathlib.Path) -> None:
    """The lists as they are published: with the line ends of Windows."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {name: i + 1 for i, name in enumerate(self.classes)}
    lines = {
      'classInd.txt': [f'{i} {name}' for name, i in numbers.items()],
      'trainlist01.txt': [
        f'{x} {numbers[x.partition("/")[0]]}' for x in self.training
      ],
      'testlist01.txt': list(self.test),
    }
    for name, text in lines.items():
      (folder / name).write_bytes('\r\n'.join([*text, '']).encode())


def make(
  classes: Iterable[str] = CLASSES, *, num_training: int = 24, num_test: int = 9
) -> Made:
  """Deals so many videos to the classes, as even as can be."""
  classes = tuple(classes)
  training = _deal(classes, num_training, groups=range(TEST_GROUPS + 1, 26))
  test = _deal(classes, num_test, groups=range(1, TEST_GROUPS + 1))
  return Made(classes, training, test)


def _deal(
  classes: tuple[str, ...], total: int, *, groups: range
) -> tuple[str, ...]:
  names = []
  for i in range(total):
    place, name = divmod(i, len(classes))
    clip, group = divmod(place, len(groups))
    own = classes[name].replace(ODD, 'HandStandPushups')
    names.append(
      f'{classes[name]}/v_{own}_g{groups[group]:02d}_c{clip + 1:02d}.avi'
    )
  return tuple(sorted(names))


def tiny_video(path: pathlib.Path, frames: int = 17) -> bytes:
  """An AVI of MPEG-4, 32x24, as XviD's; its bytes may be followed by others."""
  rng = np.random.default_rng(3)
  with av.open(str(path), 'w', format='avi') as container:
    stream = container.add_stream('mpeg4', rate=25)
    stream.width, stream.height, stream.pix_fmt = 32, 24, 'yuv420p'
    for _ in range(frames):
      coarse = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
      frame = coarse.repeat(8, 0).repeat(8, 1)
      container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
    container.mux(stream.encode())
  return path.read_bytes()


def contents(made: Made, video: bytes) -> dict[str, bytes]:
  """Name -> the video and a comment behind it, so that no two are the same."""
  return {x: video + f'JUNK{x}'.encode() for x in made.names}


def damage(
  made: Made, files: dict[str, bytes], *, bad: int, gone: int, renamed: int
) -> tuple[dict[str, bytes], list[str], list[str], list[str]]:
  """Files with so many damaged, left out and under another name.

  Returns:
    The files, and the names of the damaged, the missing and the unknown.
  """
  files, names = dict(files), made.names
  step = len(names) // (bad + gone + renamed)
  chosen = list(names[::step][: bad + gone + renamed])
  damaged, lost, moved = chosen[:bad], chosen[bad : bad + gone], []
  for i, name in enumerate(damaged):
    whole = files[name]
    files[name] = (b'', whole[: len(whole) // 2], b'no video' * 99)[i % 3]
  for name in chosen[bad:]:
    moved.append((name.replace('_c', '_c9'), files.pop(name)))
  moved = moved[gone:]
  files.update(moved)
  lost = sorted(chosen[bad:])
  return files, sorted(damaged), lost, sorted(name for name, _ in moved)


def write_folder(root: pathlib.Path, files: dict[str, bytes]) -> None:
  for name, data in files.items():
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)


def write_zip(
  path: pathlib.Path, files: dict[str, bytes], *, inner: str = 'UCF-101'
) -> None:
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
    for name, data in files.items():
      file.writestr(f'{inner}/{name}' if inner else name, data)
