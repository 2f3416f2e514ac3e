"""HTML pages that must be well formed and self-contained."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "link"}


class Page(HTMLParser):
    """Elements, ids, references and texts of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.elements: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.titles: list[str] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("href", "src", "xlink:href"):
                self.references.append(str(value))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("h1", "h2"):
            self.titles.append(data)
        if self._open and self._open[-1] != "style":
            self.texts.append(data)

    @property
    def figures(self) -> list[str]:
        """Names of the figures."""
        return re.findall(r'<figure id="([^"]+)">', self.source)

    @property
    def text(self) -> str:
        """All visible text."""
        return " ".join(" ".join(self.texts).split())


def check_self_contained(page: Page) -> None:
    """Check that a page needs neither network nor scripts, and refers only to its own parts."""
    assert not {"script", "img", "iframe", "b"} & set(page.elements)
    assert len(set(page.ids)) == len(page.ids)
    inner = [each for each in page.references if each != "data:,"]
    assert [each for each in inner if each.removeprefix("#") not in page.ids] == []
    named = re.findall(r"url\(#([^)]+)\)", page.source)
    assert [each for each in named if each not in page.ids] == []
    assert page.elements.count("h1") == 1
    assert page.elements.count("figure") == page.elements.count("figcaption")
    assert len(re.findall('role="img" aria-label="[^"]+', page.source)) == len(page.figures)
    assert '<html lang="en">' in page.source
