"""The page's frame and style, and what its parts are made of.

What comes from a run's files is escaped here and nowhere else: parts take text,
and give HTML.
"""

import base64
import html
import io
from collections.abc import Sequence

from PIL import Image

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1e21;
  --soft: #5c626b; --line: #d9dce1; --tint: #f5f6f8; --a: #2563a8;
  --b: #c2570c; --c: #2f7d4f; --d: #8a3ea8; --e: #a8872b; --f: #3d8f97; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e4e6e9;
  --soft: #a2a8b0; --line: #363a40; --tint: #1f2226; --a: #74aee8;
  --b: #f0955a; --c: #6fc391; --d: #c98be3; --e: #dcc06a; --f: #76c6ce; } }
* { box-sizing: border-box; }
body { margin: 1.5rem auto 4rem; max-width: 74rem; padding: 0 1rem;
  color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .8rem; padding-bottom: .2rem;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
p { max-width: 44rem; margin: .5rem 0; } .soft { color: var(--soft);
  font-size: .9rem; }
.state { margin: .3rem 0 0; } .state b { font-weight: 600; }
.missing { border-left: 3px solid var(--b); padding-left: .7rem; }
figure { margin: 0; } figcaption { color: var(--soft); font-size: .85rem;
  line-height: 1.3; padding-top: .25rem; }
img { display: block; max-width: 100%; height: auto;
  image-rendering: pixelated; }
.videos { display: grid; gap: .9rem .6rem; margin: .8rem 0;
  grid-template-columns:
    repeat(auto-fill, minmax(min(var(--cell), var(--share)), 1fr)); }
.videos img { width: 100%; border-radius: 3px; }
.videos figcaption { display: -webkit-box; overflow: hidden;
  -webkit-box-orient: vertical; -webkit-line-clamp: 3; }
.charts { display: grid; gap: 1rem 1.5rem; margin: .8rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
svg { display: block; width: 100%; height: auto; }
svg path { stroke-width: 3; }
svg text { fill: var(--soft); font-size: 12px; }
svg .title { fill: var(--ink); font-size: 13px; font-weight: 600; }
svg .axis { stroke: var(--line); stroke-width: 1; }
polyline { fill: none; stroke-width: 1.8; stroke-linecap: round; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; }
td, th { text-align: left; vertical-align: top; padding: .3rem 1.2rem .3rem 0;
  border-bottom: 1px solid var(--line); }
td:first-child { min-width: 8.5rem; }
th { color: var(--soft); font-size: .85rem; font-weight: 600; }
.number { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.about { display: block; color: var(--soft); font-size: .82rem;
  line-height: 1.3; max-width: 26rem; }
@media (max-width: 40rem) { td, th { padding-right: .7rem; }
  td:first-child { min-width: 6rem; } }
details { margin: .5rem 0; } summary { cursor: pointer; }
pre { background: var(--tint); padding: .8rem; overflow-x: auto;
  font-size: .82rem; line-height: 1.4; }
"""
_LARGER = 2  # times that small pictures are shown larger


def text(value) -> str:
  """Anything as text that HTML shows as it is."""
  return html.escape(str(value))


def document(
  title: str, body: Sequence[str], *, refresh_s: int | None = None
) -> str:
  """A whole page.

  Args:
    title: plain text.
    body: HTML, part by part.
    refresh_s: seconds after which a browser reads it again; None: never.
  """
  refresh = ''
  if refresh_s is not None:
    refresh = f'<meta http-equiv="refresh" content="{refresh_s}">'
  return (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'{refresh}<title>{text(title)}: VideoAR report</title>'
    f'<style>{_STYLE}</style></head><body>\n'
    + '\n'.join(body)
    + '\n</body></html>\n'
  )


def section(title: str, content: str) -> str:
  return f'<h2>{text(title)}</h2>\n{content}'


def note(words: str) -> str:
  """A paragraph in small print."""
  return f'<p class="soft">{text(words)}</p>'


def missing(what: str, *, fix: str = '') -> str:
  return f'<p class="missing">Missing: {text(what)}. {text(fix)}</p>'


def unfold(title: str, content: str) -> str:
  """Plain text that is shown when its title is clicked."""
  return (
    f'<details><summary>{text(title)}</summary>'
    f'<pre>{text(content)}</pre></details>'
  )


def table(
  rows: Sequence[Sequence[str]],
  *,
  head: Sequence[str] = (),
  numbers: bool = True,
) -> str:
  """A table whose first column names what the others say.

  Args:
    rows: plain text; a cell of two lines has its second in small print.
    head: titles of the columns.
    numbers: the other columns are numbers.
  """

  def line(tag: str, cells: Sequence[str]) -> str:
    kinds = ['', *[' class="number"' * numbers] * (len(cells) - 1)]
    return ''.join(
      f'<{tag}{kind}>{_cell(cell)}</{tag}>' for kind, cell in zip(kinds, cells)
    )

  lines = [line('th', head)] if head else []
  lines += [line('td', row) for row in rows]
  inner = ''.join(f'<tr>{cells}</tr>' for cells in lines)
  return f'<div class="scroll"><table>{inner}</table></div>'


def _cell(content: str) -> str:
  words, _, about = content.partition('\n')
  small = f'<span class="about">{text(about)}</span>' if about else ''
  return text(words) + small


def image(
  data: bytes, kind: str, *, about: str, width: int | None = None
) -> str:
  """A picture that the page holds itself.

  Args:
    data: the file.
    kind: its media type, as image/png.
    about: what it shows, for those who do not see it.
    width: that it is shown at, pixels; None leaves that to the style.
  """
  wide = '' if width is None else f'width="{width}" '
  return (
    f'<img {wide}alt="{text(about)}" '
    f'src="data:{kind};base64,{base64.b64encode(data).decode()}">'
  )


def picture(data: bytes, kind: str, caption: str) -> str:
  """A figure of a picture from a file; small ones are shown larger."""
  try:
    with Image.open(io.BytesIO(data)) as found:
      width = found.width
      found.verify()
  except Exception as error:  # whatever damaged pictures may cause
    why = f'a picture, which is damaged ({type(error).__name__})'
    return missing(why, fix=caption)
  shown = width * max(1, min(_LARGER, 900 // width))
  return (
    f'<figure>{image(data, kind, about=caption, width=shown)}'
    f'<figcaption>{text(caption)}</figcaption></figure>'
  )


def short(value) -> str:
  """A value for a table: four digits, lists as 9×9."""
  if isinstance(value, list):
    return '×'.join(short(item) for item in value)
  if isinstance(value, float):
    return f'{value:.0f}' if 1e4 <= abs(value) < 1e15 else f'{value:.4g}'
  if isinstance(value, int) and not isinstance(value, bool):
    return f'{value:,}'
  return str(value)


def between(low, high) -> str:
  """An interval, for small print."""
  return f'{short(low)} to {short(high)}'
