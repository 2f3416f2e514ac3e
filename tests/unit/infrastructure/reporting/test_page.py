"""A page has what its sections contain, and no more."""

from __future__ import annotations

from infrastructure.reporting.figures import Plot
from infrastructure.reporting.page import Section, Table, render_page
from tests.pages import Page, check_self_contained


def test_a_page_shows_its_sections_and_escapes_every_text() -> None:
    table = Table("a <b>table", ("<b>", "value"), [("x", "<i>1")], ["skipped"])
    plot = Plot("one", '<svg><text>&lt;b&gt;</text><g id="one-g"/></svg>', 'a "plot"', "<b>")
    section = Section("A <b>title", ["a & b"], [table], [plot])
    page = Page(render_page("<script>", "about {{ 7 * 7 }}", [section, Section("Empty")]))
    check_self_contained(page)
    assert page.titles == ["<script>", "A <b>title", "Empty"]
    assert page.figures == ["one"]
    for text in ("about {{ 7 * 7 }}", "a & b", "x <i>1", "a <b>table"):
        assert text in page.text
    assert '<tr class="skipped">' in page.source
