"""Serves a page on which a generator can be played with, in a browser.

  python -m videoar_jax.demo --checkpoint=runs/generator
  python -m videoar_jax.demo --checkpoint=runs/generator --port=8000

Class or prompt, seed, frames, guidance and temperature are chosen on the page;
frames appear while they are made, and a picture or a video can be gone on from.
The page shows the command line that samples the same video. It can be opened on
this machine alone, unless --host says otherwise: with --host=0.0.0.0 whoever
reaches this machine can use it. Two videos are made at a time; who comes later
waits. Ctrl-C ends it, and deletes what was uploaded.
"""

import signal
import threading

from videoar_jax.api.model import load
from videoar_jax.core import cache, command
from videoar_jax.page import form, serve

FLAGS = command.Flags()

_CHECKPOINT = FLAGS.text(
  'checkpoint', None, 'Generator: workdir, step folder, export or zoo:NAME.'
)
_HOST = FLAGS.text(
  'host', '127.0.0.1', 'Address to serve at; 0.0.0.0: to other machines, too.'
)
_PORT = FLAGS.number(
  'port',
  None,
  'Port to serve at; default: the first that is free from 7860 on.',
  int,
  least=0,
  most=65535,
)
_EMA = FLAGS.switch('ema', True, 'Averaged weights, or the last ones.')


def main(words: list[str]) -> None:
  cache.keep_programs()
  command.check_arguments(words, (_CHECKPOINT,))
  serve.check_gradio()
  port = serve.free_port(_HOST.value, _PORT.value)
  model = load(_CHECKPOINT.value, ema=_EMA.value)
  studio = form.Studio(model, _CHECKPOINT.value)
  # Ended either way, it deletes what was uploaded.
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  with serve.serving(studio, host=_HOST.value, port=port) as address:
    print(f'open {address} in a browser; Ctrl-C ends', flush=True)
    threading.Event().wait()
