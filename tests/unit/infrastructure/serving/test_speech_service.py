"""The service of a transcriber whose package cannot be opened."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import pytest

pytest.importorskip("whisper", reason="make install EXTRAS=whisper")
# pylint: disable=wrong-import-position
from application.inference.protocols.app import Started
from infrastructure.packaging.model_package import ModelPackage, PackageDraft
from infrastructure.serving.speech_service import SpeechService
from tests.speech_fakes import SPEC


class Unstored(SpeechService):
    """The service of a package that is not in BentoML's store."""

    def __init__(self, package: Path) -> None:  # pylint: disable=super-init-not-called
        self.name, self.version, self.reference = "speech", "1", None
        self.package = ModelPackage(package)
        self.started: Future[Started] = Future()


def test_a_service_without_its_model_is_live_and_says_why_it_is_not_ready(
    tmp_path: Path,
) -> None:
    with PackageDraft(tmp_path, "speech", "1") as draft:
        draft.write_json("contract.json", SPEC.to_dict())
        service = Unstored(draft.seal())
    service.bento_class()()  # BentoML never ends a server whose class cannot be built
    assert "decoding.json" in str(service.started.exception(0))
