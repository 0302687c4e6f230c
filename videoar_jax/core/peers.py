"""What the processes of a job hear of one another, and how they end together.

The first process listens at the job's address; each of the others keeps a line
to it, on which both give a sign of life every few seconds. A line that closes,
or is silent for SILENCE_S, is that of a process that was lost; one that fails
says so before it ends. Either way all others end, too, with one line, instead
of waiting in a collective for one that will not come. The exit status is

- LOST (75, the "temporary failure" of sysexits.h) where a process was lost:
  the same command, run again, goes on;
- that of the process that failed, where one did: 1 for bad input.

All of this is done by threads, as a main thread in a collective cannot be
interrupted.
"""

import contextlib
import dataclasses
import json
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from videoar_jax.core import files, relay

LOST = 75
BEAT_S, SILENCE_S = 2.0, 20.0
_GRACE_S = 2.0  # for a process to say itself what another one said
_LINGER_S = 5.0  # for the others to read what a process said last
_RETRY_S = 0.3
_LONGEST = 2**22  # bytes of a message
_AGAIN = 'run the same command again'


@dataclasses.dataclass(frozen=True)
class Seat:
  """Which process of a job this is.

  Attributes:
    process: from 0.
    count: of processes.
    host: that it runs on.
  """

  process: int
  count: int
  host: str

  def __str__(self) -> str:
    return f'process {self.process} of {self.count} on {self.host}'


@dataclasses.dataclass(frozen=True)
class Fault:
  """Why a job ends before its time, and with which exit status."""

  text: str
  status: int


class Refused(ValueError):
  """The first process does not take this one."""


class _Line:
  """A connection to another process: one JSON object a line."""

  def __init__(self, connection: socket.socket, host: str):
    connection.settimeout(SILENCE_S)
    self.host = host
    self.said: queue.Queue[Any] = queue.Queue()
    self.closed = threading.Event()
    self._socket, self._lock = connection, threading.Lock()
    self._file = connection.makefile('rb')

  def send(self, **message: Any) -> None:
    """Sends a message; where the other end is gone, its reader notices."""
    with self._lock, contextlib.suppress(OSError):
      self._socket.sendall(json.dumps(message).encode() + b'\n')

  def messages(self) -> Iterator[dict]:
    """What comes, until the other end closes; raises an OSError for silence."""
    while text := self._file.readline(_LONGEST):
      yield files.parse_json(text, dict, where=f'a message of {self.host}')

  def finish(self) -> None:
    """Says that nothing more will be sent."""
    with contextlib.suppress(OSError):
      self._socket.shutdown(socket.SHUT_WR)


class Peers:
  """The lines of one process: the first has one to each, the others one."""

  def __init__(self, seat: Seat, *, service: int = 0):
    """Args:
    seat: of this process.
    service: port of JAX's coordination service, on the first one's host.
    """
    self.seat, self.service = seat, service
    self._lines: dict[int, _Line] = {}
    self._lock = threading.RLock()
    self._come = threading.Condition(self._lock)
    self._fault: Fault | None = None
    self._faulty = threading.Event()
    self._over = False
    self._last_word = threading.Lock()
    _start(self._beat)

  def gather(
    self,
    said: Any,
    check: Callable[[Mapping[int, Any]], None] = lambda said: None,
  ) -> None:
    """Returns once all processes have called this.

    Args:
      said: what this process says, any JSON.
      check: called in the first process with what all have said; where it
        raises, the job ends with that error.
    """
    if self.seat.process:
      self._lines[0].send(said=said)
      self._lines[0].said.get()
      return
    heard = {i: line.said.get() for i, line in sorted(self._lines.items())}
    check({0: said, **heard})
    for line in self._lines.values():
      line.send(said=None)

  def close(self) -> None:
    """Waits for all processes; from then on none of them can be lost."""
    if self.seat.process:
      self.gather(None)
      return
    for line in self._lines.values():
      line.said.get()
    self._over = True
    for line in self._lines.values():
      line.send(over=True)

  def wait_closed(self) -> None:
    """Lets the first process, through which the others speak, end last."""
    if self.seat.process == 0:
      self._linger()

  def fail(self, text: str, status: int) -> NoReturn:
    """Ends this process, and the others with it; `text` is for them."""
    fault = Fault(f'{_name(self.seat.process, self.seat.host)}: {text}', status)
    if self._set_fault(fault):
      self._pass_on(fault)
    self._end(status, '')

  def end_for(self, fault: Fault) -> NoReturn:
    """Ends this process for a fault of another one, and says so."""
    self._end(fault.status, f'error: {fault.text}')

  def found_fault(self, timeout_s: float = 0.0) -> Fault | None:
    """Why the job ends, once that is known; waits for it so long."""
    self._faulty.wait(timeout_s)
    return self._fault

  def missing(self) -> list[int]:
    """The processes that the first one has no line to."""
    return [i for i in range(1, self.seat.count) if i not in self._lines]

  def add(self, process: int, connection: socket.socket, host: str) -> None:
    """Keeps a line to a process and listens to it."""
    with self._come:
      self._lines[process] = _Line(connection, host)
      self._come.notify_all()
    _start(self._hear, process)

  def admit(self, hello: Mapping[str, Any], connection: socket.socket) -> bool:
    """Answers a process that calls, and keeps the line if it belongs.

    Where this job is about to end there is no answer: who calls may be of the
    next one, and calls again.
    """
    process, host = hello['process'], str(hello['host'])
    with self._lock:
      if self._over or self._fault is not None:
        return False
      if hello['count'] != self.seat.count:
        text = f'num_processes={hello["count"]} there, {self.seat.count} on'
        _send_line(connection, refused=f'{text} {self.seat.host}')
        return False
      if process not in self.missing():
        text = f'process_id={process} came twice; number the processes from 0'
        _send_line(connection, refused=text, twice=True)
        return False
      _send_line(connection, host=self.seat.host)
      self.add(process, connection, host)
    return True

  def wait_for_all(self, timeout_s: float) -> bool:
    """Whether all others came to the first process in time."""
    with self._come:
      return self._come.wait_for(lambda: not self.missing(), timeout_s)

  def _hear(self, process: int) -> None:
    """Listens to a process until it ends."""
    line, why = self._lines[process], 'it ended without a word'
    try:
      for message in line.messages():
        if 'fault' in message:
          self._meet(Fault(**message['fault']))
        elif 'over' in message:
          self._over = True
          line.said.put(None)
        elif 'said' in message:
          line.said.put(message['said'])
    except TimeoutError:
      why = f'no sign of life for {SILENCE_S:.0f} s'
    except (OSError, ValueError, TypeError) as error:
      why = str(error)
    line.closed.set()
    self._meet(
      Fault(f'{_name(process, line.host)} was lost ({why}); {_AGAIN}', LOST)
    )

  def _beat(self) -> None:
    while True:
      time.sleep(BEAT_S)
      for line in list(self._lines.values()):
        line.send(beat=True)

  def _meet(self, fault: Fault) -> None:
    """Ends this process for a fault of another one."""
    if self._over or not self._set_fault(fault):
      return
    if self.seat.process == 0:
      self._pass_on(fault)
    if fault.status != LOST:
      time.sleep(_GRACE_S)
    self.end_for(fault)

  def _set_fault(self, fault: Fault) -> bool:
    with self._lock:
      if self._fault is not None:
        return False
      self._fault = fault
    self._faulty.set()
    return True

  def _pass_on(self, fault: Fault) -> None:
    for line in self._lines.values():
      line.send(fault=dataclasses.asdict(fault))

  def _end(self, status: int, text: str) -> NoReturn:
    """Ends the process, whatever its other threads are doing."""
    if not self._last_word.acquire(blocking=False):
      threading.Event().wait()  # another thread ends it
    if text:
      print(text, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
      with contextlib.suppress(OSError, ValueError, AttributeError):
        stream.flush()
    for line in self._lines.values():
      line.finish()
    self._linger()
    os._exit(status)

  def _linger(self) -> None:
    ends = time.monotonic() + _LINGER_S
    for line in self._lines.values():
      line.closed.wait(max(ends - time.monotonic(), 0))


def listen(seat: Seat, port: int, *, service: int) -> Peers:
  """The first process's side: takes lines of the others as they come.

  Args:
    seat: of this process.
    port: to listen at, on all of the host's addresses.
    service: port of JAX's coordination service on this host.
  Raises:
    OSError: nothing can be opened there.
  """
  peers = Peers(seat, service=service)
  if socket.has_dualstack_ipv6():
    server = socket.create_server(
      ('', port), family=socket.AF_INET6, dualstack_ipv6=True
    )
  else:
    server = socket.create_server(('', port))

  def serve() -> None:
    while True:
      connection, _ = server.accept()
      _start(receive, connection)

  def receive(connection: socket.socket) -> None:
    connection.settimeout(SILENCE_S)
    try:
      hello = _read_line(connection)
      if hello.get('relay'):
        relay.forward(connection, service)
      elif not peers.admit(hello, connection):
        connection.close()
    except (OSError, ValueError, KeyError):  # a stranger
      connection.close()

  _start(serve)
  return peers


def call(seat: Seat, address: str, *, timeout_s: float) -> Peers:
  """The side of all other processes: a line to the first one.

  Args:
    seat: of this process.
    address: of the first one, HOST:PORT.
    timeout_s: for how long to try.
  Raises:
    Refused: it has another number of processes, or this one already.
    OSError: there is no answer.
  """
  began = time.monotonic()
  while True:
    try:
      connection = dial(address)
      _send_line(connection, **dataclasses.asdict(seat))
      answer = _read_line(connection)
    except (OSError, ValueError) as error:
      if time.monotonic() > began + timeout_s:
        raise OSError(str(error)) from error
    else:
      if 'refused' not in answer:
        break
      connection.close()
      # The other may be this process's forerunner, whose loss nobody noticed.
      known_s = SILENCE_S + BEAT_S if answer.get('twice') else 0.0
      if time.monotonic() > began + known_s:
        raise Refused(str(answer['refused']))
    time.sleep(_RETRY_S)
  peers = Peers(seat)
  peers.add(0, connection, str(answer['host']))
  return peers


def dial_service(address: str) -> socket.socket:
  """A connection to JAX's coordination service, through the first process."""
  connection = dial(address)
  _send_line(connection, relay=True)
  connection.settimeout(None)
  return connection


def dial(address: str) -> socket.socket:
  host, _, port = address.rpartition(':')
  return socket.create_connection((host.strip('[]'), int(port)), SILENCE_S)


def _read_line(connection: socket.socket) -> dict:
  """Reads one line, and nothing of what follows it."""
  text = bytearray()
  while not text.endswith(b'\n'):
    byte = connection.recv(1)
    if not byte or len(text) > 2**12:
      raise OSError('the connection was closed')
    text += byte
  return files.parse_json(bytes(text), dict, where='a greeting')


def _send_line(connection: socket.socket, **message: Any) -> None:
  connection.sendall(json.dumps(message).encode() + b'\n')


def _name(process: int, host: str) -> str:
  return f'process {process} on {host}'


def _start(work: Callable[..., None], *args) -> None:
  threading.Thread(target=work, args=args, name='peers', daemon=True).start()
