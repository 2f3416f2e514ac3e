"""The digest of a pushed image is on record in a receipt and in the ledger."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infrastructure.cli.__main__ import main
from infrastructure.registry.ledger import FileLedger

DIGEST = f"sha256:{'d' * 64}"
# podman, as far as a push goes: the registry's digest goes into a file
ENGINE = f"""#!/bin/sh
for word; do case $word in --digestfile=*) printf {DIGEST} >"${{word#*=}}";; esac; done
echo "$@" >>"$0.log"
[ "$2" = "$(cat "$0.refuse" 2>/dev/null)" ] && {{ echo 'denied: log in' >&2; exit 1; }}
exit 0
"""
FACTS = {
    "image": "petals_pipeline:1.0.0-a",
    "version": "1.0.0-a",
    "bento_tag": "petals_pipeline:1.0.0-a",
    "engine": "podman",
}


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the receipt of an image, a ledger and an engine."""
    engine = tmp_path / "podman"
    engine.write_text(ENGINE, encoding="utf-8")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("LEDGER", str(tmp_path / "ledger.jsonl"))
    built = FACTS | {"model_name": "petals_pipeline", "digest": "sha256:1"}
    (tmp_path / "containerize.json").write_text(json.dumps(built), encoding="utf-8")
    return tmp_path


def push(folder: Path, registry: str = "ghcr.io/shop") -> int:
    """Push the image of the receipt."""
    image, receipt = folder / "containerize.json", folder / "push.json"
    paths = ["--image", str(image), "--receipt", str(receipt)]
    return main(["push", *paths, "--registry", registry])


def test_receipt_and_ledger_have_the_digest_of_the_registry(folder: Path) -> None:
    assert push(folder) == 0
    reference = f"ghcr.io/shop/petals_pipeline@{DIGEST}"
    receipt = json.loads((folder / "push.json").read_text(encoding="utf-8"))
    assert receipt == {"reference": reference, "digest": DIGEST, **FACTS}
    facts = [
        (entry.event, entry.model_name, entry.version, entry.details)
        for entry in FileLedger(folder / "ledger.jsonl").entries()
    ]
    details = {"digest": DIGEST, "reference": reference}
    assert facts == [("push", "petals_pipeline", "1.0.0-a", details)]


def test_a_refused_push_leaves_neither_receipt_nor_entry(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "podman.refuse").write_text("--quiet", encoding="utf-8")
    assert push(folder) == 1
    assert capsys.readouterr().err == "error: podman push failed: denied: log in\n"
    assert not (folder / "push.json").exists()
    assert not FileLedger(folder / "ledger.jsonl").entries()


def test_a_damaged_ledger_is_found_before_anything_is_pushed(folder: Path) -> None:
    (folder / "ledger.jsonl").write_text("{}\n", encoding="utf-8")
    assert push(folder) == 1
    assert not (folder / "podman.log").exists()


@pytest.mark.parametrize("registry", ["https://ghcr.io/shop", "ghcr.io/Shop", "ghcr.io/", ""])
def test_an_address_that_is_not_a_registry_is_refused(
    folder: Path, registry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        push(folder, registry)
    assert ended.value.code == 2
    assert "without https:// and in small letters" in capsys.readouterr().err


@pytest.mark.parametrize("registry", ["127.0.0.1:5000", "ghcr.io/my-team/models"])
def test_a_registry_may_have_a_port_and_a_path(folder: Path, registry: str) -> None:
    assert push(folder, registry) == 0
    assert (
        f"tag {FACTS['image']} {registry}/{FACTS['image']}" in (folder / "podman.log").read_text()
    )


def test_without_an_image_the_command_that_builds_it_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "containerize.json").unlink()
    assert push(folder) == 1
    assert "containerize.json does not exist: run make containerize" in capsys.readouterr().err
    (folder / "containerize.json").write_text("[]", encoding="utf-8")
    assert push(folder) == 1
    assert "is not a receipt of containerize: run make containerize again" in (
        capsys.readouterr().err
    )
