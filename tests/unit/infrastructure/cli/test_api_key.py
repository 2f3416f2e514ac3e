"""`make api-key` shows a key, and the entry with which the service accepts it."""

from __future__ import annotations

import pytest

from application.inference.api_keys import ApiKeys
from infrastructure.cli.__main__ import main


def test_the_key_that_is_shown_passes_with_the_entry_that_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["api-key", "--name", "grafana", "--scopes", "metrics, read"]) == 0
    key, entry = (line.split()[1] for line in capsys.readouterr().out.splitlines())
    known = ApiKeys.parse(entry)
    assert known.check({b"x-api-key": key.encode()}, "metrics") == "grafana"
    assert entry.endswith(":metrics,read")


def test_without_scopes_the_key_may_do_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["api-key", "--name", "admin"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[1].count(":") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--name", "two words"], "the name must have 1 to 64"),
        (["--name", "grafana", "--scopes", "everything"], "the scopes are predict, feedback"),
    ],
)
def test_an_invalid_entry_is_an_error_and_shows_no_key(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["api-key", *arguments]) == 1
    captured = capsys.readouterr()
    assert words in captured.err
    assert not captured.out
