"""Digests of files."""

from __future__ import annotations

from pathlib import Path

from shared.digests import sha256_of


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180
    assert sha256_of(tmp_path / "a") == known
