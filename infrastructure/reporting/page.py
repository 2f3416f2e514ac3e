"""A self-contained HTML page of sections with paragraphs, tables and plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from infrastructure.reporting.figures import COLOURS, Plot


@dataclass(frozen=True)
class Table:
    """A table with a caption.

    Attributes:
        rows: the cells of each row.
        kinds: a CSS class for each row, or empty.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    kinds: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """A heading and what follows it."""

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()


def render_page(
    heading: str,
    description: str,
    sections: Iterable[Section],
    template: str = "page.html.j2",
    **values: object,
) -> str:
    """The page as HTML, which needs no network and no scripts; every text is escaped.

    Args:
        description: what the page is about, below the heading.
        template: file of this package that extends ``page.html.j2``.
        values: further variables of that template.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        heading=heading,
        description=description,
        sections=list(sections),
        colours=COLOURS,
        **values,
    )
