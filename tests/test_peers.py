"""Lines between the processes of a job, and the flags by which they meet."""

import contextlib
import re
import socket
import threading
import types

import jax
import jobs
import pytest
from jax._src import clusters

from videoar_jax.core import command, job, peers, start


class Ended(Exception):
  """In place of the end of the process."""


@pytest.fixture
def ends(monkeypatch):
  """What processes ended with: (process, status, text); none of them ends."""
  found, known = [], threading.Condition()

  def end(self, status, text):
    with known:
      found.append((self.seat.process, status, text))
      known.notify_all()
    for line in self._lines.values():
      line.finish()
    raise Ended

  def wait(count):
    with known:
      assert known.wait_for(lambda: len(found) >= count, 20), found
    return {process: (status, text) for process, status, text in found}

  monkeypatch.setattr(peers.Peers, '_end', end)
  monkeypatch.setattr(peers, '_GRACE_S', 0.05)
  monkeypatch.setattr(peers, 'BEAT_S', 0.05)
  monkeypatch.setattr(threading, 'excepthook', lambda args: None)
  return wait


@pytest.fixture
def meet():
  """meet(count): the lines of all processes of a job, in one process."""

  def run(count, **changes):
    address = f'127.0.0.1:{jobs.free_port()}'
    port = int(address.rpartition(':')[2])
    first = peers.listen(peers.Seat(0, count, 'host0'), port, service=0)
    seats = [peers.Seat(i, count, f'host{i}') for i in range(1, count)]
    others = [peers.call(x, address, timeout_s=9) for x in seats]
    assert first.wait_for_all(9)
    first.address = address
    return [first, *others]

  return run


def together(calls):
  threads = [threading.Thread(target=call) for call in calls]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(20)
    assert not thread.is_alive()


def test_all_wait_for_each_other_and_the_first_hears_all(ends, meet):
  heard = []
  lines = meet(3)
  together(
    [
      lambda i=i, x=x: x.gather(f'from {i}', heard.append)
      for i, x in enumerate(lines)
    ]
  )
  assert heard == [{0: 'from 0', 1: 'from 1', 2: 'from 2'}]


def test_the_fault_of_one_ends_all_with_its_words_and_status(ends, meet):
  lines = meet(3)
  with pytest.raises(Ended):
    lines[2].fail('no such folder', 1)
  text = 'error: process 2 on host2: no such folder'
  assert ends(3) == {2: (1, ''), 0: (1, text), 1: (1, text)}


@pytest.mark.parametrize('lost', [0, 2])
def test_a_line_that_closes_is_of_a_lost_process(ends, meet, lost):
  lines = meet(3)
  lines[lost]._over = True  # it does and says nothing any more
  for line in lines[lost]._lines.values():
    line._socket.shutdown(socket.SHUT_RDWR)
  found = ends(2)
  for process in {0, 1, 2} - {lost}:
    status, text = found[process]
    assert status == peers.LOST
    assert text.startswith(f'error: process {lost} on host{lost} was lost')


@pytest.mark.parametrize('kind', [ValueError, jax.errors.JaxRuntimeError])
def test_a_collective_that_fails_waits_for_who_was_lost(ends, meet, kind):
  _, second, third = meet(3)
  error = kind('UNKNOWN: Gloo all-reduce failed: Connection closed by peer')

  def fail():
    with contextlib.suppress(Ended):
      start._fail(second, error)

  failing = threading.Thread(target=fail)
  failing.start()
  third._over = True
  for line in third._lines.values():
    line._socket.shutdown(socket.SHUT_RDWR)
  found = ends(2)
  failing.join(20)
  assert {status for status, _ in found.values()} == {peers.LOST}
  assert all('process 2 on host2 was lost' in x for _, x in found.values())


def test_bad_input_waits_for_nobody(ends, meet):
  lines = meet(2)
  with pytest.raises(Ended):
    start._fail(lines[1], ValueError('step=3: wanted less'))
  assert ends(2)[0] == (1, 'error: process 1 on host1: step=3: wanted less')


def test_silence_is_of_a_lost_process(ends, meet, monkeypatch):
  monkeypatch.setattr(peers, 'SILENCE_S', 0.5)
  lines = meet(2)
  assert lines[0].found_fault(1.0) is None  # signs of life come
  monkeypatch.setattr(peers._Line, 'send', lambda self, **_: None)
  found = ends(2)  # one notices it, and the other that this one ended
  assert {status for status, _ in found.values()} == {peers.LOST}
  assert any('no sign of life' in text for _, text in found.values())


def test_after_all_are_done_nobody_is_lost(ends, meet):
  lines = meet(2)
  together([x.close for x in lines])
  for x in lines:
    for line in x._lines.values():
      line.finish()
  assert lines[0].found_fault(0.3) is None
  assert lines[1].found_fault(0.3) is None


@pytest.mark.parametrize(
  ('seat', 'words'),
  [
    (peers.Seat(1, 2, 'again'), 'process_id=1 came twice'),
    (peers.Seat(1, 3, 'far'), 'num_processes=3 there, 2 on host0'),
  ],
)
def test_a_process_that_does_not_belong_is_refused(
  ends, meet, monkeypatch, seat, words
):
  address = meet(2)[0].address
  monkeypatch.setattr(peers, 'SILENCE_S', 0.5)
  with pytest.raises(peers.Refused, match=words):
    peers.call(seat, address, timeout_s=9)


def test_the_next_job_waits_until_this_one_has_ended(ends, meet, monkeypatch):
  """A process that was started again, before its own loss was noticed."""
  first, old = meet(2)
  seat, found = peers.Seat(1, 2, 'host1'), []
  monkeypatch.setattr(peers, '_RETRY_S', 0.05)

  def call():
    try:
      peers.call(seat, first.address, timeout_s=0.5)
    except (OSError, peers.Refused) as error:
      found.append(type(error))

  thread = threading.Thread(target=call)
  thread.start()
  thread.join(1.0)
  assert thread.is_alive() and not found  # it came twice, and calls again
  old._lines[0]._socket.shutdown(socket.SHUT_RDWR)
  thread.join(20)
  together([call])
  # Of this job it hears nothing more; another one would answer in its place.
  assert found == [OSError, OSError] and first.missing() == []


def test_a_stranger_at_the_port_disturbs_nobody(ends, meet):
  lines = meet(2)
  with peers.dial(lines[0].address) as stranger:
    stranger.sendall(b'GET / HTTP/1.1\r\n\r\n')
    stranger.settimeout(9)
    with contextlib.suppress(ConnectionResetError):
      assert stranger.recv(99) == b''
  together([x.close for x in lines])


@pytest.mark.parametrize(
  ('words', 'fault'),
  [
    (['--num_processes=2'], '--coordinator, --process_id is missing'),
    (['--coordinator=h:1', '--num_processes=2'], '--process_id is missing'),
    (['--coordinator=h'], 'missing'),
    (
      ['--coordinator=h', '--num_processes=2', '--process_id=0'],
      '--coordinator=h: wanted HOST:PORT',
    ),
    (
      ['--coordinator=h:65536', '--num_processes=2', '--process_id=0'],
      '--coordinator=h:65536: wanted HOST:PORT',
    ),
    (
      ['--coordinator=h:1', '--num_processes=2', '--process_id=2'],
      '--process_id=2: wanted 0 to 1',
    ),
    (['--start_timeout_s=0'], 'start_timeout_s'),
  ],
)
def test_flags_that_do_not_fit_are_one_line(capsys, words, fault):
  flags = command.Flags()
  job.define_flags(flags)

  @start.together(flags)
  def main(words):
    raise AssertionError('it began')

  module = types.SimpleNamespace(FLAGS=flags, main=main)
  assert command.run(module, ['train', *words]) == command.BAD_LINE
  assert fault in capsys.readouterr().err


def test_one_process_needs_no_other():
  flags = command.Flags()
  job.define_flags(flags)
  ran = []
  module = types.SimpleNamespace(
    FLAGS=flags, main=start.together(flags)(ran.append)
  )
  one = ['--coordinator=h:1', '--num_processes=1', '--process_id=0']
  for words in ([], one):
    assert command.run(module, ['train', *words]) is None
  assert ran == [[], []]


def test_one_process_of_a_larger_allocation_may_be_alone(monkeypatch):
  for name, value in {**SLURM, 'SLURM_NTASKS': '2'}.items():
    monkeypatch.setenv(name, value)
  flags = command.Flags()
  job.define_flags(flags)
  command.parse(flags, ['train', '--num_processes=1'])
  assert start._place(flags) is None


@pytest.fixture
def place(monkeypatch):
  """place(environment): where a process without flags belongs."""

  def run(**environment):
    for name, value in environment.items():
      monkeypatch.setenv(name, value)
    flags = command.Flags()
    job.define_flags(flags)
    command.parse(flags, ['train'])
    return start._place(flags)

  return run


SLURM = {
  'SLURM_JOB_ID': '7',
  'SLURM_STEP_NODELIST': 'node[03-04]',
  'SLURM_PROCID': '1',
  'SLURM_LOCALID': '0',
}


def test_srun_says_where_a_process_belongs(place):
  found = place(**SLURM, SLURM_NTASKS='2')
  assert (found.count, found.process, found.devices) == (2, 1, [0])
  assert re.fullmatch(r'node03:[0-9]+', found.address)
  assert place(**{**SLURM, 'SLURM_PROCID': '0'}, SLURM_NTASKS='1') is None


def test_a_pod_is_alone_unless_it_is_of_an_indexed_job(place, monkeypatch):
  def fail(**_):
    raise KeyError('job-name')

  name = 'auto_detect_unset_distributed_params'
  monkeypatch.setattr(clusters.ClusterEnv, name, fail)
  assert place(KUBERNETES_SERVICE_HOST='10.0.0.1') is None
  with pytest.raises(ValueError, match='job-name.*give --coordinator'):
    place(JOB_COMPLETION_INDEX='0')


@pytest.mark.parametrize('other', [None, lambda coordinator: None])
def test_a_jax_that_does_not_tell_is_of_one_process(place, monkeypatch, other):
  name = 'auto_detect_unset_distributed_params'
  if other is None:
    monkeypatch.delattr(clusters.ClusterEnv, name)
  else:
    monkeypatch.setattr(clusters.ClusterEnv, name, other)
  told = []
  monkeypatch.setattr(start.logging, 'warning', lambda *x: told.append(x))
  assert place(**SLURM, SLURM_NTASKS='2') is None
  assert len(told) == 1
