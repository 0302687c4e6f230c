"""The way from each process to JAX's coordination service in the first one.

Where that service dies, its clients abort their processes at once, from C++
and with a stack. So a client does not speak to it, but to a relay in its own
process, which keeps quiet when the other end is gone: then `peers` ends the
process as it should.
"""

import contextlib
import functools
import socket
import threading
import time
from collections.abc import Callable

_LOCAL = '127.0.0.1'
_CHUNK = 2**16
_RETRY_S, _PATIENCE_S = 0.1, 60.0


def free_port() -> int:
  """A port of this host that nobody listens at."""
  with socket.create_server((_LOCAL, 0)) as server:
    return server.getsockname()[1]


def open_relay(connect: Callable[[], socket.socket]) -> str:
  """Opens a relay on this host; returns its address.

  Args:
    connect: opens a connection to the other end; one for each client.
  """
  server = socket.create_server((_LOCAL, 0))

  def serve() -> None:
    while True:
      client, _ = server.accept()
      try:
        far = connect()
      except OSError:
        client.close()
        continue
      _start(_pump, client, far, functools.partial(_hang_up, far))
      _start(_pump, far, client, lambda: None)  # the client hears nothing

  _start(serve)
  return f'{_LOCAL}:{server.getsockname()[1]}'


def forward(client: socket.socket, port: int) -> None:
  """Joins a connection to a port of this host, which may open a bit later."""
  ends = time.monotonic() + _PATIENCE_S
  while True:
    try:
      near = socket.create_connection((_LOCAL, port))
      break
    except OSError:
      if time.monotonic() > ends:
        client.close()
        return
      time.sleep(_RETRY_S)
  client.settimeout(None)
  _start(_pump, client, near, functools.partial(_hang_up, near))
  _pump(near, client, functools.partial(_hang_up, client))


def _start(work: Callable[..., None], *args) -> None:
  threading.Thread(target=work, args=args, name='relay', daemon=True).start()


def _pump(
  source: socket.socket, target: socket.socket, after: Callable[[], None]
) -> None:
  """Passes on what comes until one of the two ends closes."""
  with contextlib.suppress(OSError):
    while data := source.recv(_CHUNK):
      target.sendall(data)
  after()


def _hang_up(connection: socket.socket) -> None:
  """Closes a connection that another thread may be reading from."""
  with contextlib.suppress(OSError):
    connection.shutdown(socket.SHUT_RDWR)
  connection.close()
