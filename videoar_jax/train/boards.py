"""TensorBoard's files in a bucket."""

from typing import Any

from absl import logging
from tensorboardX import record_writer

from videoar_jax.core import buckets


class _BucketFile:
  """Is in the bucket, whole, whenever it was flushed.

  tensorboardX has one of its own, which sends all again when it is collected
  and ends its thread where the bucket does not answer.
  """

  def __init__(self, path: str):
    self._path, self._data, self._sent = path, bytearray(), 0

  def write(self, data: bytes) -> None:
    self._data += data

  def flush(self) -> None:
    if len(self._data) > self._sent:
      try:
        buckets.write(self._path, bytes(self._data))
        self._sent = len(self._data)
      except OSError as error:
        logging.warning('TensorBoard has to wait: %s', error)

  close = flush


class _Factory:
  """Makes them, as tensorboardX asks for."""

  def open(self, path: str) -> _BucketFile:
    return _BucketFile(path)

  def directory_check(self, path: Any) -> None:
    """There are no folders to make."""


def register() -> None:
  """Lets tensorboardX write to `gs://` paths."""
  record_writer.register_writer_factory('gs', _Factory())
