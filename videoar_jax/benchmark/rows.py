"""Rows of a measurement on the screen."""


def show(row: dict) -> dict:
  """Prints a row, lists left out, and returns it.

  Args:
    row: name -> number, text, None or list; a name's ending is its unit. Of
      `parts`, a list, each has a line with its `share`.
  """
  shown = (
    f'{name} {_say(name, value)}'
    for name, value in row.items()
    if not isinstance(value, list)
  )
  print('  '.join(shown), flush=True)
  for part in row.get('parts', ()):
    print(
      f'  {part["share"]:6.1%}  {part["kind"]}  {part["opcode"]}  '
      f'{part["op_name"]}'
    )
  return row


def _say(name: str, value: float | str | None) -> str:
  if value is None:
    return '-'
  if isinstance(value, bool):
    return 'yes' if value else 'no'
  if isinstance(value, str):
    return value
  if name.endswith('_bytes'):
    return f'{value / 2**20:.0f} MiB'
  return f'{value:.4g}'
