"""Validation reports in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from infrastructure.reporting.validation_report import write_report
from tests import validations
from tests.browser import needs_browser
from tests.validations import classification, many_classes, regression, validation_of

pytestmark = needs_browser

REPORTS = {
    "classification": validation_of(classification()),
    "regression": validation_of(regression()),
    "hostile": validations.hostile(),
    "thirty classes": validation_of(many_classes()),
    "twenty classes": validation_of(classification([f"class {n}" for n in range(20)], rows=400)),
    "speech": validations.speech(),
}
PHONE, DESK = 390, 1280


@pytest.fixture(name="reports", scope="module")
def _reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    return {name: write_report(validation, folder / name) for name, validation in REPORTS.items()}


@pytest.fixture(name="page", params=[PHONE, DESK])
def _page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": request.param, "height": 900})
    yield page
    page.close()


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_opens_without_errors_requests_or_overflow(
    page: Page, reports: dict[str, Path], name: str
) -> None:
    messages: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: messages.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(reports[name].as_uri())
    assert not messages
    assert [url for url in requests if not url.startswith("data:")] == [reports[name].as_uri()]
    headings = page.locator("h1, h2").all()
    assert len(headings) > 8
    assert all(heading.is_visible() for heading in headings)
    boxes = [figure.bounding_box() for figure in page.locator("figure svg").all()]
    assert all(box and box["width"] > 200 and box["height"] > 60 for box in boxes)
    assert bool(boxes) == (name != "speech")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width == page.evaluate("window.innerWidth")


@pytest.mark.parametrize("name", REPORTS)
def test_labels_of_a_plot_stay_inside_and_do_not_overlap(
    page: Page, reports: dict[str, Path], name: str
) -> None:
    page.goto(reports[name].as_uri())
    assert page.evaluate(MISPLACED_LABELS) == []


MISPLACED_LABELS = """() => [...document.querySelectorAll('figure svg')].flatMap(svg => {
  const [outer, found] = [svg.getBoundingClientRect(), []];
  // slanted labels do not overlap, though their boxes do
  const labels = [...svg.querySelectorAll('text')].filter(
    each => !/rotate\\(-45/.test(each.getAttribute('transform')));
  const boxes = labels.map(each => [each.textContent, each.getBoundingClientRect()]);
  boxes.forEach(([text, box], place) => {
    if (box.left < outer.left - 1 || box.right > outer.right + 1 ||
        box.top < outer.top - 1 || box.bottom > outer.bottom + 1) found.push(text + ' is outside');
    for (const [other, second] of boxes.slice(place + 1))
      if (box.left < second.right - 1 && second.left < box.right - 1 &&
          box.top < second.bottom - 3 && second.top < box.bottom - 3)
        found.push(text + ' overlaps ' + other);
  });
  return found;
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_in_both_colour_schemes(
    browser: Browser, reports: dict[str, Path], scheme: str
) -> None:
    page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(reports["regression"].as_uri())
    paper = _colour_of(page, "body", "backgroundColor")
    assert (_luminance(paper) < 0.1) == (scheme == "dark")
    for selector, name, least in (
        ("body", "color", 7),
        (".about", "color", 4.5),
        ("figcaption", "color", 4.5),
        ("tr.accepted td:nth-child(2)", "color", 4.5),
        ("tr.refused td:nth-child(2)", "color", 4.5),
        ("tr.skipped td", "color", 4.5),
        ("figure svg text", "fill", 7),
    ):
        ink = _colour_of(page, selector, name)
        assert _contrast(ink, paper) >= least, selector
    banner = _colour_of(page, ".verdict", "backgroundColor")
    assert _contrast(_colour_of(page, ".verdict h2", "color"), banner) >= 4.5
    page.close()


def test_html_in_names_is_shown_as_text(browser: Browser, reports: dict[str, Path]) -> None:
    page = browser.new_page()
    page.goto(reports["hostile"].as_uri())
    assert page.title() == "a <b>bold</b> & name 1.0.0-20260102-030405-abcdef: REFUSED"
    shown = page.inner_text("body")
    assert "<script>document.title='taken'</script> & 'more' {{ 7 * 7 }}" in shown
    assert "<img src=x onerror=alert(1)> is low" in shown
    assert page.locator("script, img, b").count() == 0
    labels = page.locator("#confusion text").all_text_contents()
    assert {"a & b", 'quote" id="x', "$\\frac{$", "類別 ☃"} <= set(labels)
    page.close()


def test_a_printed_report_has_complete_tables(browser: Browser, reports: dict[str, Path]) -> None:
    page = browser.new_page(color_scheme="dark")
    page.emulate_media(media="print")
    page.goto(reports["classification"].as_uri())
    assert _luminance(_colour_of(page, "body", "backgroundColor")) > 0.9
    overflows = page.locator(".scroll").evaluate_all(
        "each => each.map(one => getComputedStyle(one).overflowX)"
    )
    assert set(overflows) == {"visible"}
    assert page.pdf().startswith(b"%PDF")
    page.close()


def _colour_of(page: Page, selector: str, name: str) -> tuple[float, ...]:
    """Red, green and blue of a computed colour, 0 to 1."""
    script = "(element, name) => getComputedStyle(element)[name]"
    colour = page.locator(selector).first.evaluate(script, name)
    found = re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", colour)
    assert found, colour
    return tuple(int(part) / 255 for part in found.groups())


def _luminance(colour: tuple[float, ...]) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    linear = [((c + 0.055) / 1.055) ** 2.4 if c > 0.04045 else c / 12.92 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """Contrast ratio, as WCAG 2 defines it; 4.5 is enough for text."""
    darker, lighter = sorted((_luminance(first), _luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)
