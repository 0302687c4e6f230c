"""What the commands share: flags, missing ones, refusals in one line."""

import errno
import types

import pytest

from videoar_jax.core import command, config_files

GIVEN = types.SimpleNamespace(name='given', value='x')
MISSING = types.SimpleNamespace(name='out', value=None)


def make_module(main=lambda words: None):
  """A command with one flag of each kind."""
  own = command.Flags()
  own.count('batch', 8, 'videos')
  own.number('share', 0.5, 'a share', least=0, most=1)
  own.text('name', None, 'a name')
  own.config('config', 'a config')
  return types.SimpleNamespace(FLAGS=own, main=main)


def ended(main, *argv):
  """The exit status or message of a command, None where it ended well."""
  try:
    return command.run(make_module(main), ['command', *argv])
  except SystemExit as end:
    return end.code


def test_a_flag_without_a_value_is_named():
  command.check_arguments([], (GIVEN,))
  with pytest.raises(command.UsageError, match='--out is missing'):
    command.check_arguments([], (GIVEN, MISSING))


def test_a_word_that_is_no_flag_is_refused():
  with pytest.raises(command.UsageError, match='unexpected argument: runs/x'):
    command.check_arguments(['runs/x'], ())


def test_flags_reach_the_command():
  module = make_module()
  words = command.parse(module.FLAGS, ['c', 'word', '--batch=3', '--share=1'])
  assert words == ['word'] and module.FLAGS['batch'] == 3
  assert module.FLAGS['share'] == 1.0 and module.FLAGS.given('share')
  assert not module.FLAGS.given('name')


def test_a_second_command_begins_anew():
  module = make_module()
  config = '--config=configs/quickstart.py:tokenizer'
  again = (*('c', '--batch=3', '--name=x'), config, '--config.seed=5')
  for _ in range(2):
    command.parse(module.FLAGS, again)
    assert module.FLAGS['config'].seed == 5
  command.parse(module.FLAGS, ['c'])
  assert module.FLAGS['batch'] == 8 and module.FLAGS['config'] is None
  assert not module.FLAGS.given('name') and not module.FLAGS.given('config')
  command.parse(module.FLAGS, ['c', config])
  assert module.FLAGS['config'].seed != 5


@pytest.mark.parametrize(
  ('flag', 'words'),
  [
    ('--batch=0', 'at least 1'),
    ('--batch=1.5', 'a whole number'),
    ('--batch=1e99', 'a whole number'),
    ('--share=nan', 'a finite number'),
    ('--share=-inf', 'a finite number'),
    ('--share=1.1', 'at least 0 and at most 1'),
    ('--share=much', 'a number'),
    ('--bach=3', 'bach'),
    ('--name', 'name'),
  ],
)
def test_a_bad_flag_is_told_before_anything_is_done(capsys, flag, words):
  assert ended(lambda words: pytest.fail('it ran'), flag) == 2
  said = capsys.readouterr().err
  assert words in said and said.count('\n') == 1


CONFIGS = {
  'empty.py': ('', 'get_config'),
  'raises.py': ('def get_config(_=None):\n  raise KeyError("lost")', 'lost'),
  'binary.py': ('\0\1', 'null bytes'),
  'syntax.py': ('def get_config(:', 'syntax'),
  'exits.py': ('raise SystemExit(0)', 'ends the program'),
  'none.py': ('def get_config():\n  return None', 'None'),
}


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_file_that_does_not_serve_is_one_line(tmp_path, name):
  text, words = CONFIGS[name]
  (tmp_path / name).write_text(text)
  said = ended(lambda words: None, f'--config={tmp_path / name}')
  assert words in said and '\n' not in said


@pytest.mark.parametrize(
  ('given', 'words'),
  [
    ('/no/such.py:small', 'flag --config=/no/such.py:small: no such file; see'),
    ('configs/quickstrt.py', 'did you mean configs/quickstart.py?'),
    ('mine/quickstart.py', 'did you mean configs/quickstart.py?'),
  ],
)
def test_a_config_file_that_is_not_there_is_named(capsys, given, words):
  assert ended(lambda words: None, f'--config={given}') == 2
  said = capsys.readouterr().err
  assert words in said and said.count('\n') == 1


def test_elsewhere_the_configs_of_the_package_serve(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  module = make_module()
  given = '--config=configs/quickstart.py:tokenizer,smoke'
  command.parse(module.FLAGS, ['c', given, '--config.seed=5'])
  own = config_files.own_configs() / 'quickstart.py'
  assert module.FLAGS['config'].recipe == 'tokenizer'
  assert module.FLAGS['config'].seed == 5
  assert module.FLAGS.config_file('config') == str(own)
  said = capsys.readouterr().err
  assert said.count('\n') == 1 and f'comes along: {own}:tokenizer' in said


def test_a_config_of_ones_own_goes_before_that_of_the_package(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  own = tmp_path / 'configs' / 'quickstart.py'
  own.parent.mkdir()
  own.write_text('def get_config():\n  return {"seed": 7}\n')
  module = make_module()
  command.parse(module.FLAGS, ['c', '--config=configs/quickstart.py'])
  assert module.FLAGS['config'] == {'seed': 7}
  assert not capsys.readouterr().err


def test_a_variant_that_does_not_exist_is_one_line():
  said = ended(lambda words: None, '--config=configs/quickstart.py:nothing')
  assert 'image_tokenizer' in said and '\n' not in said


def raising(error):
  def main(words):
    raise error

  return main


@pytest.mark.parametrize(
  ('error', 'line'),
  [
    (ValueError('num_frames=16: use 17'), 'error: num_frames=16: use 17'),
    (
      OSError(errno.ENOSPC, 'No space left', 'x.mp4'),
      'error: x.mp4: the disk is full; free some space and run it again',
    ),
    (
      IsADirectoryError(errno.EISDIR, 'Is a directory', 'out'),
      'error: out: a folder; give a file',
    ),
    (MemoryError(), 'error: out of memory MemoryError; ask for less at a time'),
  ],
)
def test_bad_input_ends_in_one_line(error, line):
  assert ended(raising(error)) == line


def test_interruption_has_its_own_status(capsys):
  assert ended(raising(KeyboardInterrupt())) == 130
  assert 'Traceback' not in capsys.readouterr().err


@pytest.mark.parametrize('error', [KeyError('a bug'), RuntimeError('a bug')])
def test_a_bug_keeps_its_traceback(error):
  with pytest.raises(type(error)):
    command.run(make_module(raising(error)), ['command'])


def test_a_prompt_that_is_no_text_is_shown_escaped():
  try:
    '\udcff'.encode()
  except UnicodeEncodeError as error:
    assert command.describe(error) == '\\udcff: characters that are no text'


def test_sizes():
  assert command.parse_size('128x192') == (128, 192)
  for text in ('128', '0x5', '-1x2', '1x2x3', 'x', '٣x٣', '999999x1'):
    with pytest.raises(ValueError, match='HEIGHTxWIDTH'):
      command.parse_size(text)
