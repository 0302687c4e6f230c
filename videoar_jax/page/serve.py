"""From a generator to an address that can be opened."""

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator

from videoar_jax.core import console
from videoar_jax.page import form

_PORT, _PORTS = 7860, 100
_MOST_UPLOAD = '256mb'
# Read by Gradio when it is imported, or later.
SWITCHES = {
  'GRADIO_ANALYTICS_ENABLED': 'False',
  'GRADIO_RUN_HISTORY': 'False',
  'HF_HUB_DISABLE_TELEMETRY': '1',
}


def check_gradio() -> None:
  """Raises a ValueError where Gradio is not installed."""
  os.environ.update(SWITCHES)
  form.gr.Blocks  # noqa: B018


def free_port(host: str, port: int | None) -> int:
  """The port to serve at.

  Args:
    host: name or address of this machine.
    port: None takes the first that is free from 7860 on.

  Raises:
    ValueError: it is in use, or the address is none of this machine.
  """
  tried = range(_PORT, _PORT + _PORTS) if port is None else [port]
  for one in tried:
    try:
      with socket.create_server((host, one)) as server:
        return server.getsockname()[1]
    except OSError as error:
      cause = error
  where = f'--port={port}' if port is not None else f'--host={host}'
  why = cause.strerror or str(cause)
  raise ValueError(f'{where}: nothing can be served there ({why})')


@contextlib.contextmanager
def serving(studio: form.Studio, *, host: str, port: int) -> Iterator[str]:
  """Serves the page until it is left, and forgets what was uploaded.

  Args:
    studio: what makes its videos.
    host: name or address of this machine.
    port: see `free_port`.
  Yields:
    The page's address.
  """
  check_gradio()
  with tempfile.TemporaryDirectory(prefix='videoar_page_') as folder:
    os.environ['GRADIO_TEMP_DIR'] = folder
    page = form.make_page(studio, first_video(studio))
    try:
      page.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        inbrowser=False,
        ssr_mode=False,
        enable_monitoring=False,
        max_file_size=_MOST_UPLOAD,
        footer_links=[],
        **form.look(),
      )
      yield page.local_url
    finally:
      page.close(verbose=False)


def first_video(studio: form.Studio) -> tuple[str, str]:
  """What the page is opened with; making it compiles what its videos need."""
  with console.waiting('compiling and sampling the first video'):
    *_, last = studio.make(studio.first_wish())
  return last
