"""The browser of the tests: it sees what goes wrong in a page."""

import pytest
from browser import PHONE, WIDE, browser, fits  # noqa: F401

PAGE = '<!doctype html><title>A page</title><link rel="icon" href="data:,">'


@pytest.fixture
def write(tmp_path):
  def write(body):
    path = tmp_path / 'page.html'
    path.write_text(PAGE + body)
    return f'file://{path}'

  return write


def test_a_sound_page_is_opened(browser, write):
  with browser.visit(write('<p>Hello')) as page:
    assert page.title() == 'A page' and page.inner_text('p') == 'Hello'


@pytest.mark.parametrize(
  ('body', 'said'),
  [
    ('<script>none.such()</script>', 'script: none is not defined'),
    ('<script>console.error("wrong")</script>', 'console: wrong'),
    ('<img src="https://example.org/a.png">', 'asked https://example.org/a'),
    ('<script src="absent.js"></script>', 'absent.js|ERR_FILE_NOT_FOUND'),
  ],
)
def test_what_goes_wrong_in_a_page_is_told(browser, write, body, said):
  with (
    pytest.raises(AssertionError, match=said),
    browser.visit(write(body)) as page,
  ):
    page.wait_for_load_state('networkidle')


def test_a_page_wider_than_a_phone_does_not_fit(browser, write):
  body = '<div style="width: 600px">wide</div>'
  with browser.visit(write(body), size=WIDE) as page:
    assert fits(page)
  with browser.visit(write(body), size=PHONE) as page:
    assert not fits(page)
