"""Lines of progress are short, and a terminal gets a bar."""

import os
import pty
import re
import subprocess
import sys
import termios

import pytest
import toy
from test_loop import ROOT

from videoar_jax.train.metrics import Telling, duration, quality, speed
from videoar_jax.train.observed import TrainingError

MOST = 100  # characters of a line


@pytest.mark.parametrize(
  'values',
  [
    {'loss': 0.4818, 'bit_accuracy': 0.7654},
    {'loss': -1.234e-05, 'bit_accuracy': float('nan')},
    {'loss': 123456.0, 'bit_accuracy': 0.5},
  ],
)
@pytest.mark.parametrize('step_s', [0.0412, 0.699, 12.3])
def test_a_line_fits(values, step_s):
  times = {'clips_per_s': 9876.5, 'step_s': step_s, 'data_wait_s': step_s}
  line = (
    f'step 123000/1000000 {quality(values, Telling("bit_accuracy", "bit acc"))}'
    f' {speed(times, steps_left=877_000)}'
  )
  assert len(line) <= MOST, line
  assert '9876 clips/s' in line or '9877 clips/s' in line
  assert 'data 100%' in line and 'e+' not in line.split('clips/s')[1]


@pytest.mark.parametrize(
  ('seconds', 'text'),
  [
    (0.2, '0:00'),
    (301, '5:01'),
    (3599.4, '59:59'),
    (3599.6, '1h00'),
    (3 * 3600 + 299, '3h05'),
    (86_399, '1d00h'),
    (2 * 86_400 + 3 * 3600, '2d03h'),
  ],
)
def test_times_are_short(seconds, text):
  assert duration(seconds) == text


def test_a_line_holds_the_telling_figure_and_no_other(capsys, tmp_path):
  toy.train(tmp_path, telling=Telling('error', 'miss'), log_every=6)
  lines = [x for x in capsys.readouterr().out.splitlines() if 'eta' in x]
  number = r'[\d.e-]+'
  for step, line in zip((6, 12), lines, strict=True):
    assert re.fullmatch(
      f'step {step}/12 loss {number} miss {number} {number} clips/s '
      f'{number} s/step data \\d+% eta 0:00',
      line,
    ), line
    assert len(line) <= MOST


def test_of_several_networks_the_first_is_told(capsys, tmp_path):
  updates = [toy.make_update(net='one'), toy.make_update(net='two')]
  toy.train(
    tmp_path,
    updates=updates,
    telling=Telling('error', 'miss'),
    evaluate=lambda state: {'loss': 1.5, 'error': 2.5, 'other': 3.5},
    eval_every=12,
  )
  out = capsys.readouterr().out
  assert re.search(r'step 3/12 loss [\d.]+ miss [\d.]+ \d+ clips/s', out)
  assert 'step 12/12 held out loss 1.5 miss 2.5\n' in out


def test_updates_that_are_left_out_are_told(capsys, tmp_path):
  def batches_from(step):
    for index, batch in enumerate(toy.make_batches(step), step):
      batch['x'][:] *= float('inf') if index in (4, 5) else 1.0
      yield batch

  toy.train(tmp_path, batches_from=batches_from)
  told = [x for x in capsys.readouterr().out.splitlines() if 'left out' in x]
  assert len(told) == 1 and told[0].startswith('step 6/12 2 updates')
  with pytest.raises(TrainingError):
    toy.train(tmp_path / 'bad', batches_from=batches_from, max_bad_updates=2)


BAR = """
import sys
from absl import flags, logging
from videoar_jax.core import console
flags.FLAGS.mark_as_parsed()
logging.use_absl_handler()
with console.Progress(10, done=4) as progress:
  for step in range(4, 10):
    progress.add()
    if step == 6:
      console.note('on stderr')
      console.say('on stdout')
      logging.warning('a warning')
    progress.show(f'step {step}/10', f'figures of {step}')
console.say('done')
"""


def test_a_terminal_gets_a_bar_and_whole_lines_above_it():
  screen = on_terminal(sys.executable, '-c', BAR)
  assert 'step 10/10' in screen[-2] and 'figures of 9' in screen[-2]
  assert screen[-1] == 'done'
  assert 'note: on stderr' in screen and 'on stdout' in screen
  assert any(re.fullmatch('W.*] a warning', line) for line in screen)
  assert len(screen) == 5
  screen = on_terminal(sys.executable, '-c', BAR, columns=0)
  assert screen[0] == 'step 4/10 figures of 4' and len(screen) == 6 + 4
  piped = subprocess.run(
    [sys.executable, '-c', BAR], capture_output=True, text=True, env=_env()
  )
  lines = piped.stdout.splitlines()
  assert lines[0] == 'step 4/10 figures of 4' and len(lines) == 6 + 2


def _env():
  return {**os.environ, 'PYTHONPATH': str(ROOT)}


def on_terminal(*command, columns: int = 120) -> list[str]:
  """What stands on a terminal's screen when a command has ended."""
  ours, theirs = pty.openpty()
  termios.tcsetwinsize(theirs, (24, columns))
  process = subprocess.Popen(
    command, stdout=theirs, stderr=theirs, env=_env(), close_fds=True
  )
  os.close(theirs)
  data = b''
  try:
    while chunk := os.read(ours, 4096):
      data += chunk
  except OSError:  # the other end is closed
    pass
  os.close(ours)
  assert process.wait() == 0, data
  screen = []
  for line in data.decode().replace('\r\n', '\n').split('\n'):
    shown = ''
    for part in line.split('\r'):  # what comes later covers what was there
      shown = part + shown[len(part) :]
    screen.append(shown.rstrip())
  return [line for line in screen if line]
