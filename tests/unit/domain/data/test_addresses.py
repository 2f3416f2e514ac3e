"""Addresses of data: secrets must be variables, and no message shows their values."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.data.addresses import check_address, expand, is_source, mask
from domain.errors import ConfigError

POSTGRES = "postgresql://${PGUSER}:${PGPASSWORD}@${HOST}/shop"


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://ann:pass-w0rd@host/shop",
        "postgresql://ann:pass-w0rd${MORE}@host/shop",
        "postgresql://host/shop?user=ann&password=pass-w0rd",
        "https://pass-w0rd@example.com/t.csv",
        "https://example.com/t.csv?X-Amz-Signature=pass-w0rd",
        "https://example.com/t.csv?sig=pass-w0rd",
        "s3://key:pass-w0rd@bucket/t.csv",
    ],
)
def test_an_address_with_a_secret_is_refused_without_showing_it(address: str) -> None:
    with pytest.raises(ConfigError, match=r"write \$\{NAME\} in its place") as raised:
        check_address(address)
    assert "w0rd" not in str(raised.value)


@pytest.mark.parametrize(
    "address",
    [
        POSTGRES,
        "${DATABASE_URL}",
        "postgresql://ann@host:5432/shop",
        "sqlite:///shop.db",
        "s3://bucket/orders/*.parquet",
        "https://example.com/t.csv?token=${TOKEN}&keyboard=de",
    ],
)
def test_an_address_whose_secrets_are_variables_is_accepted(address: str) -> None:
    check_address(address)


def test_a_whole_address_may_be_one_variable() -> None:
    url = "postgresql://ann:p%40ss@host/shop"
    assert expand("${DATABASE_URL}", {"DATABASE_URL": url}) == url


def test_variables_that_are_not_set_are_named() -> None:
    with pytest.raises(ConfigError, match="set PGPASSWORD, HOST in the environment or in .env"):
        expand(POSTGRES, {"PGUSER": "ann", "PGPASSWORD": ""})


@pytest.mark.parametrize(
    ("address", "environ"),
    [
        (POSTGRES, {"PGUSER": "ann", "PGPASSWORD": "p@ss w0rd", "HOST": "db"}),
        ("${DATABASE_URL}", {"DATABASE_URL": "postgresql://ann:p@ss w0rd@db/shop"}),
        ("postgresql:///shop", {"PGPASSWORD": "p@ss w0rd"}),
    ],
)
def test_no_message_shows_a_password(address: str, environ: dict[str, str]) -> None:
    for password in ("p@ss w0rd", "p%40ss%20w0rd"):
        if address != "${DATABASE_URL}" or "%" not in password:
            assert password not in mask(f"refused: '{password}' for ann", address, environ)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("t.csv", False),
        ("t.csv.gz", False),
        ("t.parquet", False),
        ("a[1].csv", False),
        ("missing.csv", False),
        ("t.xlsx", True),
        ("t.xlsx#Sheet 2", True),
        ("t.json", True),
        ("t.jsonl.gz", True),
        ("t.zip", True),
        ("*.parquet", True),
        (".", True),
        ("s3://bucket/t.csv", True),
        ("${DATABASE_URL}", True),
    ],
)
def test_anything_but_a_local_csv_or_parquet_file_is_a_source(
    tmp_path: Path, data: str, expected: bool
) -> None:
    (tmp_path / "a[1].csv").touch()
    assert is_source(data, tmp_path) == expected
