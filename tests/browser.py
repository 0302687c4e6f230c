"""A headless Chromium for the pages that this package makes.

  def test_a_page(browser, tmp_path):
    with browser.visit(f'file://{tmp_path}/report.html', size=PHONE) as page:
      assert fits(page)

`page` is Playwright's. Leaving it fails where a script of the page failed, or
where the page asked another machine for something.
"""

import contextlib
import dataclasses
import importlib.util
import shutil
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

WIDE, PHONE = (1280, 800), (390, 844)  # width and height of the window, pixels
_NAMES = ('chromium', 'chromium-browser', 'google-chrome')
_HERE = ('127.0.0.1', 'localhost')
_ARGUMENTS = (
  '--no-sandbox',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--disable-background-networking',
  '--disable-component-update',
  '--no-first-run',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
)


@dataclasses.dataclass(frozen=True)
class Browser:
  """A running browser.

  Attributes:
    process: Playwright's browser.
  """

  process: Any

  @contextlib.contextmanager
  def visit(self, url: str, *, size=WIDE, **options) -> Iterator[Any]:
    """Opens a page, as a user who was never there before.

    Args:
      url: of a file, or of this machine.
      size: one of WIDE, PHONE; width and height in pixels.
      **options: of Playwright's `new_context`, as `color_scheme='dark'`.

    Raises:
      AssertionError: on leaving, what went wrong in the page.
    """
    width, height = size
    viewport = {'width': width, 'height': height}
    context = self.process.new_context(viewport=viewport, **options)
    context.set_default_timeout(20_000)
    page, faults = context.new_page(), []
    page.on('pageerror', lambda error: faults.append(f'script: {error}'))
    page.on('console', lambda line: faults.extend(_errors(line)))
    page.on('request', lambda request: faults.extend(_strangers(request)))
    try:
      page.goto(url)
      yield page
    finally:
      context.close()
    assert not faults, faults


@pytest.fixture(scope='module')
def browser():
  """A `Browser`, or a skip that says what is missing.

  While it runs, its thread has a running event loop: start what needs a loop
  of its own before.
  """
  program = next(filter(None, map(shutil.which, _NAMES)), None)
  if program is None:
    pytest.skip('no chromium on this machine; apt-get install chromium')
  if importlib.util.find_spec('playwright') is None:
    pytest.skip('no playwright; pip install playwright')
  from playwright.sync_api import sync_playwright

  with sync_playwright() as driver:
    process = driver.chromium.launch(
      executable_path=program, args=list(_ARGUMENTS)
    )
    yield Browser(process)
    process.close()


def fits(page) -> bool:
  """Whether the page is as wide as its window, so that none scrolls aside."""
  return page.evaluate(
    'document.documentElement.scrollWidth <= window.innerWidth'
  )


def _errors(line) -> list[str]:
  return [f'console: {line.text}'] if line.type == 'error' else []


def _strangers(request) -> list[str]:
  url = urllib.parse.urlsplit(request.url)
  if url.scheme in ('data', 'blob') or url.hostname is None:
    return []
  return [] if url.hostname in _HERE else [f'asked {request.url}']
