"""Names and numbers on a command line."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from domain.errors import ConfigError
from infrastructure.cli._arguments import (
    read_default,
    valid_environment,
    valid_model_name,
    valid_port,
    valid_workers,
)


@pytest.mark.parametrize("line", ["MODEL := churn", "MODEL=churn  # ours", "MODEL ?= churn"])
def test_the_makefile_sets_the_default(tmp_path: Path, line: str) -> None:
    makefile = tmp_path / "Makefile"
    makefile.write_text(f"# MODEL := none\n{line}\nENV := staging\n", "utf-8")
    assert read_default("MODEL", makefile) == "churn"
    assert read_default("ENV", makefile) == "staging"
    with pytest.raises(ConfigError, match="Makefile does not set PORT"):
        read_default("PORT", makefile)


@pytest.mark.parametrize("text", ["iris", "breast_cancer", "price_2", "x" * 64])
def test_a_name_of_a_model_stays_as_it_is(text: str) -> None:
    assert valid_model_name(text) == text


@pytest.mark.parametrize("text", ["", "../iris", "Iris", "2nd", "a b", "a\n", "x" * 300, "é"])
def test_an_invalid_model_name_is_refused_with_the_valid_characters(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as refusal:
        valid_model_name(text)
    assert "such as churn" in str(refusal.value)
    assert len(str(refusal.value)) < 250


@pytest.mark.parametrize(("text", "port"), [("1", 1), ("3000", 3000), ("65535", 65535)])
def test_a_port_is_a_number(text: str, port: int) -> None:
    assert valid_port(text) == port


@pytest.mark.parametrize(
    "text", ["", "0", "65536", "99999", "-1", "3e3", " 80", "²", "9" * 5000, "\x1b[31m"]
)
def test_an_invalid_port_is_refused_with_the_valid_ones(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="from 1 to 65535"):
        valid_port(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "abc", "1.5", "²", "9" * 5000])
def test_an_invalid_number_of_workers_is_refused_with_the_valid_ones(text: str) -> None:
    assert valid_workers("16") == 16
    with pytest.raises(argparse.ArgumentTypeError, match="use a number from 1 to 9999, such as 2"):
        valid_workers(text)


@pytest.mark.parametrize("text", ["staging", "production", "eu-1.blue", "x" * 64])
def test_a_name_of_an_environment_stays_as_it_is(text: str) -> None:
    assert valid_environment(text) == text


@pytest.mark.parametrize("text", ["", "../../x", "a/b", ".hidden", "a b", "x" * 65, "\x1b[31m"])
def test_an_invalid_environment_name_is_refused_with_the_valid_characters(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="such as staging") as refusal:
        valid_environment(text)
    assert str(refusal.value).isprintable()
