"""What people see of a report, on a phone, a tablet and a desk, in daylight and at night."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

WIDTHS = (360, 820, 1280)
SCHEMES = ("light", "dark")
LEAST_LETTERS = 11
"""Pixels of the smallest letters."""
LEAST_CONTRAST = 4.5
"""Of letters to what lies below them (WCAG AA)."""

LOOK = """() => {
  const seen = e => e.checkVisibility({visibilityProperty: true});
  const size = e => {
    const own = parseFloat(getComputedStyle(e).fontSize);
    const svg = e.closest('svg');
    return svg ? own * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : own;
  };
  const number = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => number(c).slice(0, 3).map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const below = e => {
    for (let p = e; p; p = p.parentElement) {
      const c = getComputedStyle(p).backgroundColor, n = number(c);
      if (n.length < 4 || n[3] > 0) return c;
    }
    return 'rgb(255, 255, 255)';
  };
  const contrast = e => {
    const style = getComputedStyle(e);
    const [a, b] = [light(e.closest('svg') ? style.fill : style.color), light(below(e))];
    return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  };
  const texts = [...document.querySelectorAll('body *')].filter(e => seen(e) &&
    [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
  const told = e => e.textContent.trim().slice(0, 40);
  return {
    wider: document.documentElement.scrollWidth - innerWidth,
    small: texts.filter(e => size(e) < %s).map(e => [told(e), size(e)]),
    faint: texts.filter(e => contrast(e) < %s).map(e => [told(e), contrast(e)]),
    texts: texts.length,
    broken: [...document.images].filter(i => !i.complete || !i.naturalWidth).length,
    images: document.images.length,
    unnamed: [...document.images].filter(i => !i.alt).length
      + [...document.querySelectorAll('[role=img]')].filter(e => !e.ariaLabel).length,
    figures: [...document.querySelectorAll('figure')].filter(f => !f.querySelector('figcaption'))
      .length,
    drawn: [...document.querySelectorAll('svg')].filter(seen).length,
    cut: [...document.querySelectorAll('svg text')].filter(seen).filter(t => {
      const s = t.closest('svg').getBoundingClientRect(), b = t.getBoundingClientRect();
      return b.left < s.left - 2 || b.right > s.right + 2 || b.top < s.top - 2 ||
        b.bottom > s.bottom + 2;
    }).map(told),
    headings: [...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1])),
    sections: [...document.querySelectorAll('main > section')].filter(seen).length,
  };
}""" % (LEAST_LETTERS, LEAST_CONTRAST)  # noqa: UP031 - braces are the language's own


@contextmanager
def opened(browser: Any, path: Path, **options: Any) -> Iterator[Any]:
    """Open a page; whatever it asks for but itself is a mistake."""
    context = browser.new_context(**options)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    yield page
    context.close()
    foreign = [url for url in asked if not url.startswith("data:") and url != path.as_uri()]
    assert foreign == [], "nothing is fetched"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["run", "comparison"])
def test_a_page_can_be_read_everywhere(browser, pages, name, width, scheme):
    size = {"width": width, "height": 800}
    with opened(browser, pages[name], viewport=size, color_scheme=scheme) as page:
        seen = page.evaluate(LOOK)
    assert seen["wider"] <= 0, "the page is as wide as the window"
    assert seen["texts"] > 40
    assert seen["small"] == [], "no letters are too small"
    assert seen["faint"] == [], "no letters are too faint"
    assert seen["broken"] == 0 and seen["unnamed"] == 0 and seen["figures"] == 0
    assert seen["cut"] == [], "no words of a figure are cut off"
    assert seen["drawn"] >= 2
    assert (seen["images"] > 20) == (name == "run")
    levels = seen["headings"]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))


def test_both_schemes_are_there(browser, pages):
    found = {}
    for scheme in SCHEMES:
        with opened(browser, pages["run"], color_scheme=scheme) as page:
            found[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert found["light"] != found["dark"]


@pytest.mark.parametrize("name", ["run", "comparison"])
def test_without_scripts_everything_is_there(browser, pages, name):
    with opened(browser, pages[name], java_script_enabled=False) as page:
        assert page.locator("main > section").count() >= 5
        for section in page.locator("main > section").all():
            assert section.is_visible()
        page.locator("summary").first.click()
        assert page.locator("details pre").first.is_visible(), "settings unfold without scripts"


@pytest.mark.parametrize("name", ["run", "comparison"])
def test_in_print_nothing_is_cut_off(browser, pages, name, tmp_path):
    paper = {"width": 680, "height": 960}  # what a sheet of A4 has between its margins
    with opened(browser, pages[name], viewport=paper, color_scheme="dark") as page:
        page.emulate_media(media="print", color_scheme="dark")
        wide = page.evaluate(
            "[...document.querySelectorAll('table, svg, pre')].filter(e => e.checkVisibility()"
            " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName)"
        )
        assert wide == []
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") in (
            "rgb(255, 255, 255)",
        )
        file = tmp_path / "page.pdf"
        page.pdf(path=str(file), format="A4")
        assert file.read_bytes().startswith(b"%PDF")


def test_links_lead_to_their_sections(browser, pages):
    with opened(browser, pages["run"]) as page:
        for link in page.locator("nav a").all():
            target = link.get_attribute("href")
            assert target is not None and page.locator(target).count() == 1
