"""Names are drawn literally, and shortened."""

from __future__ import annotations

from io import BytesIO

import pytest
from matplotlib.figure import Figure

from infrastructure.reporting.labels import LONGEST_LABEL, literal_text, short_label


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("petal_width", "petal_width"),
        ("n" * LONGEST_LABEL, "n" * 24),
        ("n" * 25, "n" * 23 + "…"),
        ("a\nb\x1b[0m\x00", "a b [0m "),
        ("花弁 $x$", "花弁 $x$"),
    ],
)
def test_a_label_is_one_short_line(name: str, label: str) -> None:
    assert short_label(name) == label


def test_dollars_are_letters_and_a_style_holds_within_the_block() -> None:
    written = BytesIO()
    with literal_text({"svg.fonttype": "none"}):
        figure = Figure()
        figure.text(0, 0, "$x^{2$ 花")
        figure.savefig(written, format="svg")
    assert "$x^{2$ 花" in written.getvalue().decode()
