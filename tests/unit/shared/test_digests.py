"""Digests of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shared.digests import sha256_of, unit_interval


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180
    assert sha256_of(tmp_path / "a") == known


def test_texts_become_uniform_numbers_that_stay() -> None:
    numbers = [unit_interval(f"42 row {row}") for row in range(10_000)]
    assert min(numbers) >= 0 and max(numbers) < 1
    counts = np.histogram(numbers, bins=10, range=(0, 1))[0]
    assert (abs(counts - 1000) < 130).all()  # 4 standard deviations
    assert numbers == [unit_interval(f"42 row {row}") for row in range(10_000)]
    assert unit_interval("42 row 0") == 0.006537264321629266
