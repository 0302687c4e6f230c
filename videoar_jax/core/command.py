"""How every command begins, reads its flags, speaks, refuses and ends.

A command is a module of `videoar_jax.commands` with `FLAGS` and `main(words)`.
`launch` says that it begins before JAX is imported, which takes seconds, and
keeps the chatter of the libraries below off the screen. Bad input ends in one
line and exit status 1, a bad command line in one line and status 2, Ctrl-C in
one line and status 130; `--verbosity=1` shows where, and lets libraries talk.
"""

import contextlib
import errno
import importlib
import os
import re
import signal
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from absl import flags, logging
from ml_collections import config_flags

from videoar_jax.core import fields
from videoar_jax.core.config_files import ConfigParser, find_config
from videoar_jax.core.console import note

_COMMANDS = 'videoar_jax.commands'
BAD_LINE, _STOPPED = 2, 130
_FIXES = {
  errno.ENOSPC: 'the disk is full; free some space and run it again',
  errno.EFBIG: 'the file may not grow further; see `ulimit -f` and the disk',
  errno.EDQUOT: 'the quota is used up; free some space and run it again',
  errno.EACCES: 'permission denied; give a place that you may use',
  errno.EPERM: 'not permitted; give a place that you may use',
  errno.EROFS: 'a read-only place; give another',
  errno.ENOTDIR: 'a part of this path is a file; give another',
  errno.EISDIR: 'a folder; give a file',
  errno.ENAMETOOLONG: 'too long a name; give a shorter one',
}
# Known by name, as importing JAX for their class takes seconds.
DEVICE_ERRORS = ('JaxRuntimeError', 'XlaRuntimeError')
UsageError = flags.Error


class Flags:
  """A command's flags; each method defines one and returns its holder."""

  def __init__(self):
    self.values = flags.FlagValues()
    self.configs: list[str] = []
    flags.DEFINE_integer(
      'verbosity',
      -1,
      '1: where errors come from; 0: what libraries tell; -1: warnings.',
      flag_values=self.values,
    )

  def __getitem__(self, name: str) -> Any:
    """The value of a flag, by name."""
    return self.values[name].value

  def given(self, name: str) -> bool:
    """Whether a flag is on the command line."""
    return bool(self.values[name].present)

  def config_file(self, name: str) -> str | None:
    """The file of a config flag; None where it was not given."""
    if not self.given(name):
      return None
    given = config_flags.get_config_filename(self.values[name])
    return find_config(given).partition(':')[0]  # the variant left out

  def check_read(
    self, read: Iterable[flags.FlagHolder | flags.Flag], *, by: str
  ) -> None:
    """Raises a UsageError for a given flag that nothing would read.

    Args:
      read: the flags that something reads.
      by: what reads them, for the message.
    """
    known = {'verbosity', *(flag.name for flag in read)}
    for name in self.values:
      if self.given(name) and name.partition('.')[0] not in known:
        raise UsageError(f'--{name} is not read by {by}; leave it out')

  def text(self, name: str, default: str | None, about: str):
    """A text, which may be empty only where its default is."""
    parser = flags.ArgumentParser() if default == '' else _TextParser()
    return flags.DEFINE(parser, name, default, about, flag_values=self.values)

  def texts(self, name: str, default, about: str):
    """A flag that may be repeated."""
    return flags.DEFINE_multi_string(
      name, default, about, flag_values=self.values
    )

  def switch(self, name: str, default: bool, about: str):
    return flags.DEFINE_bool(name, default, about, flag_values=self.values)

  def choice(self, name: str, default, options: Sequence[str], about: str):
    return flags.DEFINE_enum(
      name, default, options, about, flag_values=self.values
    )

  def choices(self, name: str, default, options: Iterable[str], about: str):
    """At least one of the options, divided by commas."""
    parser = flags.EnumParser(list(options))
    parser.syntactic_help = ' or '.join(options)
    return self._list(parser, name, default, about)

  def _list(self, one: flags.ArgumentParser, name: str, default, about: str):
    return flags.DEFINE(
      _ListParser(one),
      name,
      default,
      about,
      flag_values=self.values,
      serializer=flags.ListSerializer(','),
    )

  def config(self, name: str, about: str):
    """A config file, with a variant after a colon and keys as flags."""
    self.configs.append(name)
    holder = config_flags.DEFINE_config_file(
      name, None, about, flag_values=self.values
    )
    flag = self.values[name]
    flag.parser = ConfigParser(flag.parser)
    return holder

  def number(self, name: str, default, about: str, kind=float, **bounds):
    """A number within bounds, which are those of `fields.Range`."""
    parser = _NumberParser(kind, fields.Range(**bounds))
    return flags.DEFINE(parser, name, default, about, flag_values=self.values)

  def counts(self, name: str, default: str | None, about: str, **bounds):
    """Whole numbers within bounds, divided by commas."""
    parser = _NumberParser(int, fields.Range(**bounds))
    return self._list(parser, name, default, about)

  def count(self, name: str, default: int | None, about: str, least: int = 1):
    """A whole number from `least` upwards."""
    return self.number(name, default, about, int, least=least)


class _TextParser(flags.ArgumentParser):
  """Refuses an empty text, which an unset variable of a shell gives."""

  def parse(self, argument: str) -> str:
    if not argument:
      raise ValueError('it is empty; give a value or leave the flag out')
    return argument


class _NumberParser(flags.ArgumentParser):
  """Reads an int or a float, and refuses what is out of range or NaN."""

  def __init__(self, kind: type, bounds: fields.Range):
    super().__init__()
    self._kind, self._bounds = kind, bounds
    self.syntactic_help = f'a {kind.__name__} {bounds}'.rstrip()

  def parse(self, argument: Any) -> int | float:
    try:
      value = self._kind(argument)
    except (TypeError, ValueError, OverflowError):
      wanted = 'a whole number' if self._kind is int else 'a number'
      raise ValueError(f'wanted {wanted}') from None
    if fault := self._bounds.fault(value):
      raise ValueError(fault)
    return value

  def flag_type(self) -> str:
    return self._kind.__name__


class _ListParser(flags.ArgumentParser):
  """Reads at least one value, divided by commas."""

  def __init__(self, one: flags.ArgumentParser):
    super().__init__()
    self._one = one
    self.syntactic_help = f'{one.syntactic_help}; divided by commas'

  def parse(self, argument: Any) -> list:
    return [self._one.parse(text) for text in argument.split(',')]

  def flag_type(self) -> str:
    return f'list of {self._one.flag_type()}'


def launch(name: str) -> None:
  """Runs `python -m videoar_jax.<name>`.

  Args:
    name: a dotted name below the package; its last part is the module in
      `videoar_jax.commands`.
  """
  asks_help = any(re.fullmatch(r'--?h(elp(full|short)?)?', x) for x in sys.argv)
  with refusals():
    if not asks_help:
      note(f'videoar_jax.{name}: starting')
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    module = importlib.import_module(f'{_COMMANDS}.{name.rpartition(".")[2]}')
    if asks_help:
      print(module.__doc__)
      print(module.FLAGS.values.get_help())
      sys.exit(0)
    sys.exit(run(module, sys.argv))


def run(module: Any, argv: Sequence[str]) -> int | None:
  """Parses a command line and runs the command; the shell's exit status.

  Args:
    module: of `videoar_jax.commands`.
    argv: the words, the command's own name first.
  """
  with refusals():
    try:
      words = parse(module.FLAGS, argv)
      _quieten(module.FLAGS['verbosity'])
      module.main(words)
    except flags.Error as error:
      print(f'error: {_one_line(error)}; see --help', file=sys.stderr)
      return BAD_LINE
  return None


def parse(own: Flags, argv: Sequence[str]) -> list[str]:
  """Reads the flags; returns the words that are no flags.

  Raises:
    UsageError: an unknown flag, or a value that its flag does not take.
    ValueError: a config file that cannot be read or built.
  """
  flags.FLAGS.mark_as_parsed()  # Grain asks for it before it starts workers
  _forget(own)
  # Flags of configs read their keys there.
  sys.argv, given = list(argv), sys.argv
  try:
    words = own.values(list(argv))[1:]
    for name in own.configs:
      if own.given(name):
        own[name].keys()  # a file that was not found is told on first use
  except flags.UnrecognizedFlagError:
    raise
  except flags.Error as error:
    if 'config file' not in str(error):
      raise
    raise ValueError(f'--config: {_last_line(error)}') from error
  except SystemExit:
    raise ValueError('--config: the config file ends the program') from None
  except Exception as error:  # whatever a config file may do
    raise ValueError(f'--config: {_one_line(error)}') from error
  finally:
    sys.argv = given
  return words


def _forget(own: Flags) -> None:
  """Lets nothing remain of an earlier command in this process."""
  for name in [x for x in own.values if '.' in x]:
    delattr(own.values, name)  # a config's key
  own.values.unparse_flags()
  for name in own.configs:
    sys.modules.pop(f'{name}_config', None)


def _quieten(verbosity: int) -> None:
  """Warnings alone, as plain lines, unless more is asked for."""
  logging.use_absl_handler()
  logging.set_verbosity(verbosity)
  if verbosity < 0:
    handler = logging.get_absl_handler()
    handler.setFormatter(_PlainFormatter())


class _PlainFormatter(logging.PythonFormatter):
  """`warning: …` in place of a prefix with time, thread and line."""

  def format(self, record) -> str:
    return f'{record.levelname.lower()}: {record.getMessage()}'


def check_arguments(
  words: Sequence[str], needed: Sequence[flags.FlagHolder | flags.Flag]
) -> None:
  """Raises a UsageError for a word that is no flag, or a flag not given.

  Args:
    words: what was left of the command line.
    needed: flags that must have a value.
  """
  if words:
    raise UsageError(f'unexpected argument: {words[0]}')
  for flag in needed:
    if not flag.value:
      raise UsageError(f'--{flag.name} is missing')


def chosen_action(words: Sequence[str], actions: Collection[str]) -> str:
  """The action that a command line begins with.

  Raises:
    UsageError: none, or one that is not known.
  """
  if not words or words[0] not in actions:
    given = f', not {words[0]!r}' if words else ''
    raise UsageError(f'say one of {", ".join(actions)}{given}')
  return words[0]


def parse_size(text: str) -> tuple[int, int]:
  """Reads --size, as 128x192: height and width.

  Raises:
    ValueError: it is something else.
  """
  match = re.fullmatch(r'([0-9]{1,5})[x×]([0-9]{1,5})', text)
  if not match or not int(match[1]) or not int(match[2]):
    raise ValueError(f'--size={text}: wanted HEIGHTxWIDTH, as 128x192')
  return int(match[1]), int(match[2])


@contextlib.contextmanager
def refusals() -> Iterator[None]:
  """Ends the program with one line where input, disk or memory is at fault.

  Bad input raises ValueErrors that say what is wrong. What else is raised is a
  fault of this program, and keeps its traceback.
  """
  try:
    yield
  except KeyboardInterrupt:
    print('\nstopped', file=sys.stderr)
    sys.exit(_STOPPED)
  except BrokenPipeError:  # `| head` has seen enough
    sys.stdout = None
    sys.exit(1)
  except (ValueError, OSError, MemoryError, RuntimeError) as error:
    line = describe(error)
    if line is None:
      raise
    logging.debug('refused', exc_info=True)
    sys.exit(f'error: {line}')


@contextlib.contextmanager
def terminable() -> Iterator[None]:
  """Lets SIGTERM end it as Ctrl-C does."""

  def stop(*_) -> None:
    raise KeyboardInterrupt

  before = signal.signal(signal.SIGTERM, stop)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)


def describe(error: BaseException) -> str | None:
  """What a user is told of an error; None where this program is at fault."""
  if isinstance(error, UnicodeEncodeError):
    return f'{_shown(error.object)}: characters that are no text'
  if isinstance(error, ValueError):
    return str(error)
  if isinstance(error, MemoryError):
    return f'out of memory {_one_line(error)}; ask for less at a time'.replace(
      '  ', ' '
    )
  if isinstance(error, OSError):
    why = _FIXES.get(error.errno, error.strerror or _one_line(error))
    name = '' if error.filename is None else f'{_shown(error.filename)}: '
    return name + why
  if type(error).__name__ in DEVICE_ERRORS and 'EXHAUSTED' in str(error):
    return f'out of memory: {_one_line(error)}; ask for less at a time'
  return None


def _one_line(error: BaseException) -> str:
  words = ' '.join(str(error).split()) or type(error).__name__
  if isinstance(error, SyntaxError | KeyError | AttributeError | NameError):
    words = f'{type(error).__name__}: {words}'
  return words.removeprefix('"').removesuffix('"')


def _last_line(error: BaseException) -> str:
  """The last line of an error whose text is a traceback, without its type."""
  lines = [x for x in str(error).splitlines() if x.strip()]
  return re.sub(r'^\w+(\.\w+)*: ', '', lines[-1]).strip()


def _shown(text: Any) -> str:
  return str(text).encode('utf-8', 'backslashreplace').decode()
