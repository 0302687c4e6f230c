"""Writes RAR archives, as a program that is not to be had in CI would.

Version 5 after https://www.rarlab.com/technote.htm, version 4 after the
technote of RAR 4.20. What is "compressed" holds literals alone, each of eight
bits: a bit stream as every program reads it, and no smaller than the bytes.
"""

import pathlib
import struct
import zlib
from collections.abc import Iterable

RAR4, RAR5 = b'Rar!\x1a\x07\x00', b'Rar!\x1a\x07\x01\x00'
_LINK, _REGULAR = 0o120777, 0o100644


def write(
  path: pathlib.Path,
  members: Iterable[tuple[str, bytes]],
  *,
  version: int = 5,
  packed: bool = False,
  link: str = '',
  solid: bool = False,
) -> None:
  """Writes an archive.

  Args:
    path: of the file.
    members: names and bytes, in order; a name may come twice.
    version: 5 or 4.
    packed: compressed instead of stored; version 5 alone.
    link: a member of this name is a symbolic link.
    solid: says that members need those before them.
  """
  block, name_it = (_block5, _file5) if version == 5 else (_block4, _file4)
  with path.open('wb') as file:
    if version == 5:
      file.write(RAR5 + block(1, _vint(4 * solid)))
    else:
      file.write(RAR4 + block(0x73, bytes(6), flags=8 * solid))
    for name, data in members:
      stored = pack(data) if packed else data
      file.write(name_it(name, data, stored, packed=packed, link=name == link))
    file.write(block(5, _vint(0)) if version == 5 else block(0x7B, b''))


def pack(data: bytes) -> bytes:
  """Data as one block of a compressed member of version 5."""
  bits = []

  def put(value: int, width: int) -> None:
    bits.append(f'{value:0{width}b}')

  # Lengths of the codes of lengths: four symbols of two bits each.
  for symbol in range(20):
    put(2 if symbol in (8, 17, 18, 19) else 0, 4)
  codes = {8: 0, 17: 1, 18: 2, 19: 3}
  # All literals have codes of eight bits, which are the literals themselves.
  put(codes[8], 2)  # of the first; 17 repeats it, 19 counts symbols without
  for symbol, counts in ((17, (138, 117)), (19, (138, 36))):
    for count in counts:
      put(codes[symbol], 2)
      put(count - 11, 7)
  table = ''.join(bits)
  total = len(table) + 8 * len(data)
  number = (int(table, 2) << 8 * len(data)) | int.from_bytes(data, 'big')
  whole = (number << -total % 8).to_bytes(-(-total // 8), 'big')
  flags = 0x80 | 0x40 | 2 << 3 | (total - 1) % 8
  size = struct.pack('<I', len(whole))[:3]
  check = 0x5A ^ flags ^ size[0] ^ size[1] ^ size[2]
  return bytes((flags, check)) + size + whole


def _vint(value: int) -> bytes:
  out = bytearray()
  while value >= 0x80:
    out.append(value & 0x7F | 0x80)
    value >>= 7
  return bytes((*out, value))


def _block5(kind: int, fields: bytes, *, flags: int = 0) -> bytes:
  body = _vint(kind) + _vint(flags) + fields
  body = _vint(len(body)) + body
  return struct.pack('<I', zlib.crc32(body)) + body


def _file5(
  name: str, data: bytes, stored: bytes, *, packed: bool, link: bool
) -> bytes:
  encoded = name.encode()
  target = _vint(5) + _vint(1) + _vint(0) + _vint(len(data)) + data
  extra = _vint(len(target)) + target if link else b''
  stored = b'' if link else stored
  fields = b''.join(
    (
      *([_vint(len(extra))] if link else []),
      _vint(len(stored)),
      _vint(4),  # its CRC follows
      _vint(0 if link else len(data)),
      _vint(_LINK if link else _REGULAR),
      struct.pack('<I', zlib.crc32(b'' if link else data)),
      _vint(3 << 7 if packed else 0),
      _vint(1),  # Unix
      _vint(len(encoded)),
      encoded,
      extra,
    )
  )
  return _block5(2, fields, flags=2 | link) + stored


def _block4(kind: int, fields: bytes, *, flags: int = 0) -> bytes:
  body = struct.pack('<BHH', kind, flags, 7 + len(fields)) + fields
  return struct.pack('<H', zlib.crc32(body) & 0xFFFF) + body


def _file4(
  name: str, data: bytes, stored: bytes, *, packed: bool, link: bool
) -> bytes:
  assert not packed and stored is data
  encoded = name.encode()
  fields = struct.pack(
    '<IIBIIBBHI',
    len(data),
    len(data),
    3,  # Unix
    zlib.crc32(data),
    0x21 << 16,  # the first of January 1980
    29,
    0x30,  # stored
    len(encoded),
    _LINK if link else _REGULAR,
  )
  return _block4(0x74, fields + encoded, flags=0x8000) + data
