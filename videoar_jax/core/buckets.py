"""Buckets of Google Cloud Storage, where they are no folders.

An object appears whole or not at all, and is replaced, never changed. What
reads and writes whole files goes through `etils.epath`; here is the rest. Who
may use a bucket is told by the environment (Application Default Credentials).
"""

import contextlib
import functools
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

_SCHEME = 'gs://'
_TAIL = '.tail'  # of an object's name: what is joined to it next
_ATTEMPTS = 3  # to read an object that others replace
_SHOWN = ('.json', '.jsonl', '.npz', '.png', '.webp')  # in a report


def is_bucket(path: Any) -> bool:
  """Whether a path is in a bucket, and not on a disk."""
  return '://' in str(path)


def check(path: Any) -> None:
  """Makes ready for a path in a bucket; for one on a disk, does nothing.

  Raises:
    ValueError: a bucket of another kind, none is named, or what reads buckets
      is not installed.
  """
  if not is_bucket(path):
    return
  text = str(path)
  if not text.startswith(_SCHEME):
    raise ValueError(f'{path}: wanted a path on a disk, or gs://BUCKET/PATH')
  if not all(text.removeprefix(_SCHEME).partition('/')[::2]):
    raise ValueError(f'{path}: wanted gs://BUCKET/PATH')
  if reason := _unready():
    raise ValueError(
      f'{path}: a bucket needs more packages ({reason}); pip install '
      "'videoar_jax[gcs]'"
    )


def check_on_disk(path: Any) -> None:
  """Raises a ValueError for a path in a bucket, where a disk is needed."""
  if is_bucket(path):
    raise ValueError(
      f'{path}: wanted a path on a disk; copy it from there (gcloud storage cp)'
    )


@functools.cache
def _unready() -> str:
  """Sets the clients up; what they lack, or ''."""
  # One client for all that is in buckets, whether or not TensorFlow is there.
  os.environ.setdefault('EPATH_USE_TF', 'false')
  try:
    import fsspec
    import gcsfs  # noqa: F401
    from google.cloud import storage  # noqa: F401
  except ImportError as error:
    return str(error)
  # What another process has written must be seen.
  fsspec.config.conf.setdefault('gcs', {})['use_listings_cache'] = False
  return ''


def upload(file: pathlib.Path, path: Any) -> None:
  """Copies a file to a bucket, where it appears whole.

  Raises:
    OSError: it cannot be written there.
  """
  from google.cloud.storage import retry

  with _told(path):
    _blob(path).upload_from_filename(str(file), retry=retry.DEFAULT_RETRY)


def write(path: Any, data: bytes) -> None:
  """Writes an object.

  Raises:
    OSError: it cannot be written there.
  """
  from google.cloud.storage import retry

  with _told(path):
    _blob(path).upload_from_string(data, retry=retry.DEFAULT_RETRY)


def download(path: Any, file: pathlib.Path) -> None:
  """Copies an object to a file; goes on where the file ends.

  Raises:
    OSError: it cannot be read; what came is in the file.
  """
  with _told(path), open(file, 'ab') as target:
    _blob(path).download_to_file(
      target, start=target.tell() or None, checksum=None
    )


def read_parts(
  places: Sequence[tuple[str, int]], size: int, *, at_once: int
) -> list[bytes]:
  """So many bytes of objects from places in them, fewer where an object ends.

  Args:
    places: path and first byte of each.
    size: bytes of each.
    at_once: requests that are under way at a time.
  Raises:
    OSError: one cannot be read.
  """
  paths, starts = zip(*places)
  ends = [start + size for start in starts]
  with _told(paths[0]):
    import fsspec

    return fsspec.filesystem('gcs').cat_ranges(
      list(paths), list(starts), ends, batch_size=at_once, on_error='raise'
    )


def append(path: Any, text: str) -> None:
  """Adds text to an object, which holds all of it or nothing.

  Joined in the bucket itself: three requests, whatever is there already.

  Raises:
    OSError: it cannot be written there.
  """
  with _told(path):
    from google.api_core.exceptions import NotFound, PreconditionFailed

    blob, tail = _blob(path), _blob(f'{path}{_TAIL}')
    data, old = text.encode(), 0
    with contextlib.suppress(NotFound):
      blob.reload()
      old = blob.size
    try:
      if blob.generation is None:
        blob.upload_from_string(data, if_generation_match=0)
      else:
        tail.upload_from_string(data)
        blob.compose([blob, tail], if_generation_match=blob.generation)
    except PreconditionFailed:
      # Where an answer is lost, the client asks again for what is done.
      now = _blob(path)  # not of the generation that was read before
      now.reload()
      if now.size != old + len(data):
        raise


def read(path: Any) -> tuple[bytes | None, int]:
  """An object's content and generation; None and 0 where there is none.

  Raises:
    OSError: it cannot be read.
  """
  from google.api_core.exceptions import NotFound, PreconditionFailed

  with _told(path):
    left = _ATTEMPTS
    while True:
      try:
        blob = _blob(path)
        blob.reload()
      except NotFound:
        return None, 0
      try:
        wanted = blob.generation
        return blob.download_as_bytes(if_generation_match=wanted), wanted
      except (NotFound, PreconditionFailed):
        left -= 1
        if not left:
          raise


def replace(path: Any, data: bytes, *, generation: int) -> int | None:
  """Writes an object unless another was faster.

  Args:
    path: of the object.
    data: its content.
    generation: that it has now, 0 where there is to be none.
  Returns:
    Its new generation; None where it had another one, and stays as it is.
  Raises:
    OSError: it cannot be written there.
  """
  from google.api_core.exceptions import PreconditionFailed

  with _told(path):
    blob = _blob(path)
    try:
      blob.upload_from_string(data, if_generation_match=generation)
    except PreconditionFailed:
      return None
    return blob.generation


def move_folder(path: Any, target: Any) -> None:
  """Moves all that is below a path, object by object.

  Raises:
    OSError: it cannot be read, or written there.
  """
  with _told(path):
    import fsspec

    fsspec.filesystem('gcs').mv(str(path), str(target), recursive=True)


def copy_results(path: Any, folder: pathlib.Path) -> pathlib.Path:
  """Copies what a run wrote to look at: no checkpoints, boards or videos.

  Args:
    path: of the run.
    folder: to copy to.
  Returns:
    Where the run lies in it.
  Raises:
    OSError: it cannot be read.
  """
  with _told(path):
    blob = _blob(path)
    target, prefix = folder / pathlib.PurePath(blob.name).name, f'{blob.name}/'
    for found in blob.bucket.list_blobs(prefix=prefix):
      inner = pathlib.PurePosixPath(found.name.removeprefix(prefix))
      if inner.suffix in _SHOWN and not {'..', 'checkpoints'} & {*inner.parts}:
        file = target / inner
        file.parent.mkdir(parents=True, exist_ok=True)
        found.download_to_filename(str(file))
  return target


def _blob(path: Any) -> Any:
  bucket, _, name = str(path).removeprefix(_SCHEME).partition('/')
  return _client().bucket(bucket).blob(name)


@functools.cache
def _client() -> Any:
  from google.cloud import storage

  return storage.Client()


@contextlib.contextmanager
def _told(path: Any) -> Iterator[None]:
  """Makes the errors of Google's libraries OSErrors that name the path."""
  check(path)
  from aiohttp import ClientError
  from gcsfs.retry import HttpError
  from google.api_core.exceptions import GoogleAPIError
  from google.auth.exceptions import GoogleAuthError
  from requests import RequestException

  known = GoogleAPIError, GoogleAuthError, RequestException
  try:
    yield
  except (*known, HttpError, ClientError) as error:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    raise OSError(f'{path}: {lines[0]}') from error
