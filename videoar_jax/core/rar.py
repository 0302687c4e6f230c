"""RAR archives that nobody vouches for, read member by member.

What an archive holds is read here; what is compressed in it goes through a
program of this machine, one member at a time and into memory, so that nothing
the archive says decides where something is written.
"""

import importlib
import os
import shutil
from typing import Any

from videoar_jax.core import archive, buckets
from videoar_jax.core.lazy import Lazy

rarfile = Lazy('rarfile')

# Programs that unpack RAR, the surest first, and how rarfile calls them.
_TOOLS = {
  'unrar': 'unrar',
  'unar': 'unar',
  '7zz': 'sevenzip2',
  '7z': 'sevenzip',
  'bsdtar': 'bsdtar',
}
_TRIED = 3  # members that a program may fail at, before it is no good
_INSTALL = (
  'install unrar or unar (apt install unar, dnf install unar, brew install '
  'unar), or unpack it elsewhere and give the folder'
)


class RarArchive:
  """A RAR file, of version 3 to 5, with the methods of `archive.Archive`.

  Attributes:
    path: of the file.
    members: all of them.
  """

  def __init__(self, path: Any, *, fix: str):
    """Reads what it holds, and finds a program that unpacks it.

    Args:
      path: of the file.
      fix: what the user can do if it is damaged, for messages.
    Raises:
      ValueError: in a bucket, missing, damaged, cut short, encrypted, in
        volumes, solid; or there is no program that can unpack it.
    """
    self.path, self._fix = path, fix
    buckets.check_on_disk(path)
    if not os.path.isfile(path):
      raise ValueError(f'{path}: no such file')
    reader, blocks = rarfile.RarFile, []
    try:
      self._rar = reader(
        os.fspath(path), errors='strict', info_callback=blocks.append
      )
    except Exception as error:  # whatever a damaged header may cause
      raise self._damaged(error) from None
    infos = self._rar.infolist()
    if self._rar.needs_password():
      raise self._damaged('encrypted')
    if any(_is_split(x) for x in infos):
      raise self._damaged('one of several volumes')
    self._check_end(blocks)
    self._infos = {x.filename: x for x in infos}
    self.members = [_member(x) for x in infos]
    if packed := [x for x in infos if _is_packed(x)]:
      self._check_tools(packed)

  def read(self, name: str, *, most: int) -> bytes:
    """A member's bytes, whose checksum was compared.

    Args:
      name: of the member.
      most: bytes that it may have.
    Raises:
      ValueError: missing, larger or damaged.
    """
    info = self._infos.get(name)
    if info is None or not info.is_file() or info.file_redir:
      raise self._damaged(f'no file {name[:200]!r} in it')
    if info.file_size > most:
      raise self._damaged(
        f'{name} has {info.file_size} bytes, wanted at most {most}'
      )
    archive.check_memory(info.file_size)
    try:
      return self._rar.read(info)
    except rarfile.Error as error:
      raise self._damaged(error) from None

  def _check_end(self, blocks: list) -> None:
    """Raises a DamagedError for a stump, whose headers may be sound."""
    size = os.path.getsize(self.path)
    end = max((x.data_offset + x.add_size for x in blocks), default=0)
    if end > size:
      raise self._damaged(f'cut short: {size} of at least {end} bytes')

  def _check_tools(self, packed: list) -> None:
    """Picks the first program that unpacks one of the smallest members."""
    if self._rar.is_solid():
      raise ValueError(
        f'{self.path}: a solid archive, whose members can only be unpacked one '
        'after another; unpack it once (unrar x, or unar) and give the folder'
      )
    smallest = sorted(packed, key=lambda x: x.file_size)[:_TRIED]
    failures = []
    for tool in filter(shutil.which, _TOOLS):
      for info in smallest:
        try:
          _use(tool)
          self.read(info.filename, most=archive.MOST_MEMBER)
          return
        except (archive.DamagedError, rarfile.RarCannotExec) as error:
          failures.append(f'{tool}: {getattr(error, "why", error)}')
    tried = '; '.join(dict.fromkeys(failures)) or 'none is on this machine'
    raise ValueError(
      f'{self.path}: compressed, and no program unpacks it ({tried}); '
      f'{_INSTALL}'
    )

  def _damaged(self, why: Any) -> archive.DamagedError:
    return archive.damaged(self.path, why, fix=self._fix)


def _use(tool: str) -> None:
  """Has rarfile call this program; RarCannotExec where it does not run."""
  library = importlib.import_module('rarfile')
  chosen = {key: tool == name for name, key in _TOOLS.items()}
  setup = library.tool_setup(**chosen, force=True)
  if tool == 'bsdtar':
    # rarfile ends options by `--`, which bsdtar takes for the archive's name.
    setup.open_cmdline = _bsdtar


def _bsdtar(_: Any, path: str, name: str | None = None) -> list[str]:
  more = [] if name is None else ['--', name]
  return ['bsdtar', '-x', '--to-stdout', '-f', path, *more]


def _is_packed(info: Any) -> bool:
  compressed = info.compress_type != rarfile.RAR_M0
  return info.is_file() and compressed and info.file_size > 0


def _is_split(info: Any) -> bool:
  """Whether a member goes on in another volume."""
  before, after = rarfile.RAR_FILE_SPLIT_BEFORE, rarfile.RAR_FILE_SPLIT_AFTER
  return bool(info.flags & (before | after))


def _member(info: Any) -> archive.Member:
  kind = archive.Kind.FILE
  if info.is_symlink() or info.file_redir:
    kind = archive.Kind.LINK
  elif info.is_dir():
    kind = archive.Kind.FOLDER
  elif info.host_os == rarfile.RAR_OS_UNIX:
    kind = archive.kind_of_mode(info.mode or 0)
  return archive.Member(info.filename, info.file_size or 0, kind)
