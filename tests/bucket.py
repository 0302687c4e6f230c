"""A bucket of Google Cloud Storage on this machine, in memory.

It speaks as much of the JSON API as gcsfs, google-cloud-storage and TensorStore
ask for, and keeps what real buckets promise: an object appears whole or not at
all, has a generation, and a precondition that fails is answered with 412.
"""

import base64
import contextlib
import dataclasses
import functools
import hashlib
import http.server
import itertools
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator

import google_crc32c

NAME = 'bucket'
_ROUTE = re.compile(
  r'(?P<kind>/upload|/download)?/storage/v1/b/(?P<bucket>[^/]+)'
  r'(/o(/(?P<name>[^/]+)(/(?P<verb>rewriteTo|copyTo|moveTo|compose)'
  r'((/b/[^/]+)?/o/(?P<target>[^/]+))?)?)?)?'
)


@dataclasses.dataclass
class Store:
  """What the bucket holds, and how it answers.

  Attributes:
    objects: name -> content and generation.
    calls: `GET name bytes=3-` and the like, in order.
    delay_s: seconds that each answer waits.
    cut: names whose content ends early, once.
  """

  objects: dict[str, tuple[bytes, int]] = dataclasses.field(
    default_factory=dict
  )
  calls: list[str] = dataclasses.field(default_factory=list)
  delay_s: float = 0.0
  cut: set[str] = dataclasses.field(default_factory=set)
  uploads: dict[str, tuple] = dataclasses.field(default_factory=dict)
  lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
  generations: Iterator[int] = dataclasses.field(
    default_factory=functools.partial(itertools.count, 10**15)
  )

  def names(self, prefix: str = '') -> list[str]:
    return sorted(name for name in self.objects if name.startswith(prefix))


class _Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = 'HTTP/1.1'
  disable_nagle_algorithm = True

  def __init__(self, store: Store, *arguments):
    self.store = store
    super().__init__(*arguments)

  def do_GET(self):
    self._handle('GET')

  def do_POST(self):
    self._handle('POST')

  def do_PUT(self):
    self._handle('PUT')

  def do_DELETE(self):
    self._handle('DELETE')

  def _handle(self, method: str) -> None:
    url = urllib.parse.urlsplit(self.path)
    self.query = dict(urllib.parse.parse_qsl(url.query))
    self.body = self._read_body()
    time.sleep(self.store.delay_s)
    match = _ROUTE.fullmatch(url.path)
    if match is None:
      self._answer(501)
      return
    route = {
      key: value and urllib.parse.unquote(value)
      for key, value in match.groupdict().items()
    }
    with self.store.lock:
      words = method, route['name'] or '', self.headers.get('Range', '')
      self.store.calls.append(' '.join(words).rstrip())
      if route['bucket'] != NAME:
        self._answer(404)
      elif route['kind'] == '/upload':
        self._upload()
      elif route['verb'] is not None:
        self._combine(route)
      elif route['name'] is not None:
        self._object(method, route)
      elif '/o' in url.path.removeprefix('/storage/v1/b/'):
        self._list()
      else:
        self._json({'kind': 'storage#bucket', 'name': NAME})

  def _read_body(self) -> bytes:
    if self.headers.get('Transfer-Encoding') != 'chunked':
      return self.rfile.read(int(self.headers.get('Content-Length') or 0))
    parts = []
    while size := int(self.rfile.readline(), 16):
      parts.append(self.rfile.read(size))
      self.rfile.readline()
    self.rfile.readline()
    return b''.join(parts)

  def _object(self, method: str, route: dict) -> None:
    name = route['name']
    found = self.store.objects.get(name)
    wanted = self.query.get('generation')
    if found is None or wanted not in (None, str(found[1])):
      self._answer(404)
    elif not self._agrees(name):
      self._answer(412)
    elif method == 'DELETE':
      del self.store.objects[name]
      self._answer(204)
    elif route['kind'] == '/download' or self.query.get('alt') == 'media':
      self._media(name)
    else:
      self._json(self._about(name))

  def _media(self, name: str) -> None:
    data, generation = self.store.objects[name]
    headers = {
      'x-goog-generation': str(generation),
      'x-goog-hash': f'crc32c={_crc32c(data)}',
    }
    status, size = 200, len(data)
    match = re.fullmatch(r'bytes=(\d*)-(\d*)', self.headers.get('Range', ''))
    if match is not None:
      if match[1]:
        begin, end = int(match[1]), min(int(match[2] or size), size - 1)
      else:  # so many from the end
        begin, end = max(0, size - int(match[2])), size - 1
      if begin >= size:
        self._answer(416)
        return
      status, data = 206, data[begin : end + 1]
      headers['Content-Range'] = f'bytes {begin}-{end}/{size}'
    if name in self.store.cut:
      self.store.cut.discard(name)
      self.close_connection = True
      headers['Content-Length'] = str(len(data))
      data = data[: len(data) // 2]
    self._answer(status, data, **headers)

  def _list(self) -> None:
    prefix = self.query.get('prefix', '')
    first, last = self.query.get('startOffset', ''), self.query.get('endOffset')
    delimiter = self.query.get('delimiter')
    items, prefixes = [], set()
    for name in self.store.names(prefix):
      if name < first or (last and name >= last):
        continue
      inner = name.removeprefix(prefix)
      if delimiter and delimiter in inner:
        prefixes.add(prefix + inner.partition(delimiter)[0] + delimiter)
      else:
        items.append(self._about(name))
    begin = int(self.query.get('pageToken', 0))
    end = begin + int(self.query.get('maxResults', 1000))
    found = {'kind': 'storage#objects', 'items': items[begin:end]}
    if end < len(items):
      found['nextPageToken'] = str(end)
    if not begin:
      found['prefixes'] = sorted(prefixes)
    self._json(found)

  def _upload(self) -> None:
    kind, name = self.query.get('uploadType'), self.query.get('name')
    if 'upload_id' in self.query:
      self._continue_upload()
    elif kind == 'media':
      self._put(name, self.body)
    elif kind == 'multipart':
      sort = self.headers['Content-Type']
      mark = b'--' + re.search('boundary="?([^";]+)', sort)[1].encode()
      _, about, content = self.body.split(mark)[:3]
      about, content = (_content(part) for part in (about, content))
      self._put(json.loads(about).get('name', name), content)
    else:  # resumable
      about = json.loads(self.body) if self.body else {}
      upload = str(len(self.store.uploads))
      self.store.uploads[upload] = (about.get('name', name), self.query, b'')
      host = self.headers['Host']
      path = self.path.partition('?')[0]
      where = f'http://{host}{path}?uploadType=resumable&upload_id={upload}'
      self._answer(200, Location=where)

  def _continue_upload(self) -> None:
    upload = self.query['upload_id']
    name, query, data = self.store.uploads[upload]
    data += self.body
    self.store.uploads[upload] = (name, query, data)
    total = self.headers.get('Content-Range', '/*').rpartition('/')[2]
    if total == '*' or len(data) < int(total):
      self._answer(308, Range=f'bytes=0-{len(data) - 1}')
    else:
      self.query = query
      self._put(name, data)

  def _combine(self, route: dict) -> None:
    """Copies, moves or joins objects."""
    name, target = route['name'], route['target'] or route['name']
    if route['verb'] == 'compose':
      sources = [x['name'] for x in json.loads(self.body)['sourceObjects']]
    else:
      sources = [name]
    if any(source not in self.store.objects for source in sources):
      self._answer(404)
      return
    data = b''.join(self.store.objects[source][0] for source in sources)
    if route['verb'] == 'rewriteTo':
      self._store(target, data)
      self._json({'done': True, 'resource': self._about(target)})
      return
    self._put(target, data)
    if route['verb'] == 'moveTo':
      del self.store.objects[name]

  def _put(self, name: str, data: bytes) -> None:
    if self._agrees(name):
      self._store(name, data)
      self._json(self._about(name))
    else:
      self._answer(412)

  def _store(self, name: str, data: bytes) -> None:
    self.store.objects[name] = (data, next(self.store.generations))

  def _agrees(self, name: str) -> bool:
    wanted = self.query.get('ifGenerationMatch')
    return wanted in (None, str(self.store.objects.get(name, (b'', 0))[1]))

  def _about(self, name: str) -> dict:
    data, generation = self.store.objects[name]
    quoted = urllib.parse.quote(name, safe='')
    host = f'http://{self.headers["Host"]}'
    return {
      'kind': 'storage#object',
      'bucket': NAME,
      'name': name,
      'size': str(len(data)),
      'generation': str(generation),
      'metageneration': '1',
      'crc32c': _crc32c(data),
      'md5Hash': base64.b64encode(hashlib.md5(data).digest()).decode(),
      'updated': _time(generation),
      'timeCreated': _time(generation),
      'contentType': 'application/octet-stream',
      'mediaLink': f'{host}/download/storage/v1/b/{NAME}/o/{quoted}?alt=media',
    }

  def _json(self, value: dict) -> None:
    data = json.dumps(value).encode()
    self._answer(200, data, **{'Content-Type': 'application/json'})

  def _answer(self, status: int, data: bytes = b'', **headers: str) -> None:
    self.send_response(status)
    headers.setdefault('Content-Length', str(len(data)))
    for key, value in headers.items():
      self.send_header(key, value)
    self.end_headers()
    self.wfile.write(data)

  def log_message(self, *_) -> None:
    pass


class _Server(http.server.ThreadingHTTPServer):
  daemon_threads = True

  def handle_error(self, request, client_address):
    """Clients may go away before they are answered."""


def _content(part: bytes) -> bytes:
  """Of a part of a multipart body, without its headers and last line end."""
  head, gap, content = part.partition(b'\r\n\r\n')
  if not gap:
    head, gap, content = part.partition(b'\n\n')
  return content[:-2] if content.endswith(b'\r\n') else content[:-1]


def _time(generation: int) -> str:
  """Ascends with the generation, which begins with 10**15."""
  second = (generation - 10**15) % 86_400
  clock = time.strftime('%H:%M:%S', time.gmtime(second))
  return f'2026-01-01T{clock}.000000Z'


def _crc32c(data: bytes) -> str:
  value = google_crc32c.value(data)
  return base64.b64encode(value.to_bytes(4, 'big')).decode()


@contextlib.contextmanager
def serve() -> Iterator[tuple[Store, dict[str, str]]]:
  """Serves an empty bucket.

  Yields:
    What it holds, and the environment in which clients find it.
  """
  store = Store()
  server = _Server(('127.0.0.1', 0), functools.partial(_Handler, store))
  thread = threading.Thread(target=server.serve_forever, daemon=True)
  thread.start()
  address = f'http://127.0.0.1:{server.server_address[1]}'
  try:
    yield (
      store,
      {
        'STORAGE_EMULATOR_HOST': address,
        'TENSORSTORE_GCS_HTTP_URL': address,
        'GOOGLE_AUTH_TOKEN_FOR_TESTING': 'none',
        'FSSPEC_GCS_TOKEN': 'anon',
        # It asks another service what kind of bucket this is.
        'GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT': 'false',
      },
    )
  finally:
    server.shutdown()
    thread.join()
    server.server_close()
