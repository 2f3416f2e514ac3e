"""A receipt is written atomically."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from infrastructure.compute.receipts import write_receipt


def test_a_receipt_has_its_content_and_creates_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "build/iris/train.json"
    write_receipt(path, version="1.0.0-a", accuracy=0.9, scores=[0.8, 1.0])
    assert json.loads(path.read_text("utf-8")) == {
        "version": "1.0.0-a",
        "accuracy": 0.9,
        "scores": [0.8, 1.0],
    }
    assert list(path.parent.iterdir()) == [path]


def test_a_later_receipt_replaces_the_previous_one(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    write_receipt(path, version="a", more=1)
    write_receipt(path, version="b")
    assert json.loads(path.read_text("utf-8")) == {"version": "b"}


def test_a_receipt_that_cannot_be_written_keeps_the_previous_one(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    write_receipt(path, version="a")
    with pytest.raises(TypeError):
        write_receipt(path, version=object())
    assert json.loads(path.read_text("utf-8")) == {"version": "a"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_never_sees_half_a_receipt(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    write_receipt(path, number=0, text="x" * 200_000)

    def write() -> None:
        for number in range(50):
            write_receipt(path, number=number, text="x" * 200_000)

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while writer.is_alive() or not reads:
        assert len(json.loads(path.read_text("utf-8"))["text"]) == 200_000
        reads += 1
    writer.join()
    assert json.loads(path.read_text("utf-8"))["number"] == 49
