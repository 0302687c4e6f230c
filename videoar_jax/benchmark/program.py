"""A compiled program's text as instructions: names, arrays, operands.

What `compiled.as_text()` gives, of any backend. Only what `hlo` asks is kept.
"""

import dataclasses
import functools
import math
import re

_WIDTHS = {'pred': 1, 'bf16': 2, 'c64': 8, 'c128': 16, 'token': 0, 'opaque': 0}
_ARRAY = re.compile(r'([a-z]\w*)\[([\d,<=]*)\](\{[^}]*\})?')
_HEAD = re.compile(r'(ENTRY )?%?([\w.\-]+) (\(.*)?\{$')
_LINE = re.compile(r'\s+(ROOT )?%?([\w.\-]+) = (.*)')
_WORD = re.compile(r'\s*([\w\-]+)\(')


@dataclasses.dataclass(frozen=True)
class Array:
  """An array of a program.

  Attributes:
    text: as the program writes it, its layout and memory included.
  """

  text: str

  @functools.cached_property
  def shape(self) -> tuple[int, ...]:
    dims = re.findall(r'\d+', _ARRAY.match(self.text)[2])
    return tuple(int(x) for x in dims)

  @functools.cached_property
  def dtype(self) -> str:
    return _ARRAY.match(self.text)[1]

  @property
  def memory(self) -> int:
    """Where it lies: 0 the device's main memory (HBM)."""
    found = re.search(r'S\((\d+)\)', self.text)
    return int(found[1]) if found else 0

  @functools.cached_property
  def num_bytes(self) -> int:
    """Of whole tiles, as they are moved."""
    layout = re.search(r'\{([\d,]*)', self.text)
    order = [int(x) for x in re.findall(r'\d+', layout[1])] if layout else ()
    shape = self.shape
    sizes = [shape[i] for i in reversed(order)] if order else list(shape)
    tile = re.search(r'T\(([\d,]+)\)', self.text)
    tile = [int(x) for x in tile[1].split(',')] if tile and sizes else []
    for place, size in enumerate(reversed(tile), 1):
      if place <= len(sizes):
        sizes[-place] = -(-sizes[-place] // size) * size
    return math.ceil(math.prod(sizes) * _width(self.dtype))

  @property
  def hbm_bytes(self) -> int:
    """`num_bytes` where it lies in the main memory, else 0."""
    return 0 if self.memory else self.num_bytes


def _width(dtype: str) -> float:
  """Bytes of a number."""
  if dtype in _WIDTHS:
    return _WIDTHS[dtype]
  return int(re.search(r'\d+', dtype)[0]) / 8


# An array, or a tuple of such.
Shape = Array | tuple


def arrays(shape: Shape) -> list[Array]:
  """The arrays of a shape, in order."""
  if isinstance(shape, Array):
    return [shape]
  return [array for part in shape for array in arrays(part)]


@dataclasses.dataclass(frozen=True, eq=False)
class Instruction:
  """One line of a computation.

  Attributes:
    name: unique in the program.
    opcode: what it does.
    shape: what it gives.
    operands: names of instructions of the same computation.
    argument: what stands in the parentheses: a constant's value, a parameter's
      number.
    rest: what follows: attributes, metadata.
  """

  name: str
  opcode: str
  shape: Shape
  operands: tuple[str, ...]
  argument: str
  rest: str

  def attribute(self, name: str) -> str | None:
    """The computation, or number, that an attribute gives."""
    found = re.search(rf'\b{name}=%?([\w.\-]+)', self.rest)
    return found and found[1]

  @property
  def op_name(self) -> str:
    """Where in the traced function it comes from; '' where that is not told."""
    found = re.search(r'op_name="([^"]*)"', self.rest)
    return found[1] if found else ''

  @property
  def branches(self) -> list[str]:
    """Computations of a conditional."""
    found = re.search(r'branch_computations=\{([^}]*)\}', self.rest)
    if found:
      return re.findall(r'[\w.\-]+', found[1])
    names = ('true_computation', 'false_computation')
    return [x for x in map(self.attribute, names) if x]

  @property
  def trip_count(self) -> int | None:
    """How often a loop runs, where the compiler says so."""
    found = re.search(r'"known_trip_count":\{"n":"(\d+)"', self.rest)
    return int(found[1]) if found else None


@dataclasses.dataclass(frozen=True, eq=False)
class Computation:
  """Its name, its instructions by theirs, in order, and the root's name."""

  name: str
  instructions: dict[str, Instruction]
  root: str

  @functools.cached_property
  def parameters(self) -> list[Instruction]:
    """In the order in which operands are given."""
    found = (x for x in self.instructions.values() if x.opcode == 'parameter')
    return sorted(found, key=lambda x: int(x.argument))

  def operands(self, one: Instruction) -> list[Instruction]:
    """The instructions whose results one reads."""
    return [self.instructions[name] for name in one.operands]

  @property
  def last(self) -> Instruction:
    """What the computation gives."""
    return self.instructions[self.root]

  @functools.cached_property
  def users(self) -> dict[str, list[Instruction]]:
    """Who reads each instruction."""
    users: dict[str, list[Instruction]] = {}
    for instruction in self.instructions.values():
      for name in dict.fromkeys(instruction.operands):
        users.setdefault(name, []).append(instruction)
    return users


@dataclasses.dataclass(frozen=True)
class Program:
  """Computations by name, and the name of the first to run."""

  computations: dict[str, Computation]
  entry: str

  @property
  def instructions(self) -> list[Instruction]:
    """All there are, those inside of fusions included."""
    found = (x.instructions.values() for x in self.computations.values())
    return [one for many in found for one in many]


def parse(text: str) -> Program:
  """Reads a program's text.

  Raises:
    ValueError: it has no entry computation, or a line cannot be read.
  """
  computations, entry = {}, None
  name, found, root = None, {}, ''
  # What kernels tell of themselves goes over several lines.
  text = re.sub(r'\n(?="|\}\})', '', text)
  for line in text.splitlines():
    if name is None:
      head = _HEAD.match(line)
      if head:
        name, found, root = head[2], {}, ''
        entry = name if head[1] else entry
    elif line.startswith('}'):
      computations[name], name = Computation(name, found, root), None
    else:
      match = _LINE.match(line)
      if not match:
        raise ValueError(f'program: cannot read the line {line.strip()!r}')
      instruction = _instruction(match[2], match[3])
      found[instruction.name] = instruction
      root = instruction.name if match[1] else root
  if entry is None:
    raise ValueError('program: no ENTRY computation; give compiled.as_text()')
  return Program(computations, entry)


def _instruction(name: str, text: str) -> Instruction:
  shape, place = _shape(text, 0)
  word = _WORD.match(text, place)
  end = _closing(text, word.end() - 1)
  argument = text[word.end() : end]
  operands = re.findall(r'%([\w.\-]+)', argument)
  return Instruction(
    name, word[1], shape, tuple(operands), argument, text[end + 1 :]
  )


def _shape(text: str, place: int) -> tuple[Shape, int]:
  """The shape that begins at a place, and where it ends."""
  place = re.compile(r'[\s,]*(/\*[^*]*\*/)?\s*').match(text, place).end()
  if text[place] != '(':
    match = _ARRAY.match(text, place)
    return Array(match[0]), match.end()
  parts, place = [], place + 1
  while text[place] != ')':
    part, place = _shape(text, place)
    parts.append(part)
  return tuple(parts), place + 1


def _closing(text: str, place: int) -> int:
  """Where the parenthesis that opens at a place closes."""
  depth = 0
  for i in range(place, len(text)):
    depth += (text[i] == '(') - (text[i] == ')')
    if not depth:
      return i
  raise ValueError(f'program: a parenthesis stays open in {text[:80]!r}')
