"""A transcriber as a BentoML service.

BentoML provides workers, /metrics and packaging. `TranscriptionMiddleware` serves the endpoints
below: it limits the body and queues the recordings. Their methods here describe them on the page
and in the OpenAPI document, and return the same when called in process. API keys, probes and the
access log work as in every service.
"""

from __future__ import annotations

import os
import platform
import uuid
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any, Literal

import bentoml
import msgspec
from bentoml.validators import ContentType
from pydantic import BaseModel

from application.inference.api_keys import ApiKeys, authoriser
from application.inference.protocols.app import Started
from application.inference.protocols.http import Request, Route
from application.inference.protocols.openapi import with_keys, with_summaries
from application.inference.protocols.transcription import TranscriberApi, TranscriptionMiddleware
from application.inference.transcriber import Transcriber
from infrastructure.inference.audio import decode
from infrastructure.inference.whisper_engine import open_package, write_subtitles
from infrastructure.monitoring.metrics.transcription_metrics import TranscriptionMetricsCollector
from infrastructure.packaging.model_package import ModelPackage
from infrastructure.packaging.requirements import serving_requirements
from infrastructure.serving.page import page_paths, page_routes, verdict_of
from infrastructure.serving.wrapping import wrap_service
from infrastructure.serving.uvicorn_protocol import install as adapt_uvicorn
from shared.logs import configure_logs
from shared.settings import ServingSettings

RECORDING_SECONDS = 300.0  # that a recording may take to arrive
PYTHON = ".".join(platform.python_version_tuple()[:2])


class Arguments(BaseModel):
    """Arguments of the build: the stored model that the Bento serves."""

    model_tag: str = "speech_transcriber:latest"


_ARGUMENTS = bentoml.use_arguments(Arguments)
_running: list[TranscriberApi] = []
_SERVING = ServingSettings.load()
_WORKERS = int(os.environ.get("WORKERS", "1"))
configure_logs(_SERVING.log_format)
adapt_uvicorn(_SERVING.head_seconds, RECORDING_SECONDS, _WORKERS)
_AUTHORISE = authoriser(ApiKeys.parse(_SERVING.api_keys), _SERVING.open_paths)
_STARTED: Future[Started] = Future()  # done when this process is ready


@bentoml.service(
    name="speech_transcriber",
    image=bentoml.images.Image(
        base_image=f"python:{PYTHON}-slim", distro="none", lock_python_packages=False
    ).python_packages(*serving_requirements("transcription")),
    workers=_WORKERS,
    http={"port": int(os.environ.get("AIP_HTTP_PORT") or 3000)},  # Vertex AI's, or BentoML's own
    traffic={"timeout": 1800},
    logging={"access": {"enabled": False}},
)
class SpeechTranscriber:
    """Transcribes recordings: text, language, and segments with times."""

    package = bentoml.models.BentoModel(_ARGUMENTS.model_tag)

    def __init__(self) -> None:
        stored = self.package
        package = ModelPackage(Path(stored.path), stored=True)
        spec = package.spec
        engine = open_package(package)
        name, number = stored.tag.name, str(stored.tag.version)
        metrics = TranscriptionMetricsCollector(name, number)
        self._transcriber = Transcriber(spec, engine, decode, metrics)
        self._api = TranscriberApi(name, number, self._transcriber, write_subtitles, metrics)
        _running[:] = [self._api]
        card = (package.folder / "card.md").read_text(encoding="utf-8")
        routes = page_routes(name, number, verdict_of(stored.info.labels), card)
        _STARTED.set_result(Started({**routes, "/docs.json": Route(("GET",), _describe)}, metrics))

    @bentoml.api(route="/transcribe")
    def transcribe(
        self,
        file: Annotated[Path, ContentType("audio/*")],
        language: str | None = None,
        format: Literal["json", "srt", "vtt", "text"] = "json",  # pylint: disable=redefined-builtin
    ) -> Any:
        """Transcribe a WAV, FLAC, MP3 or OGG file; the body may also be the recording itself."""
        samples = self._transcriber.decode(file.read_bytes(), language)
        transcription = self._transcriber.transcribe(samples, language)
        return self._api.render(transcription, format, uuid.uuid4().hex)

    @bentoml.api(route="/health_check")
    def health_check(self) -> dict[str, Any]:
        """Name and version of the served model."""
        return self._api.health_check()


def _describe(_request: Request) -> bytes:
    """BentoML's OpenAPI document."""
    service: Any = SpeechTranscriber  # the decorator has made a bentoml.Service of the class
    document = service.openapi_spec.asdict()  # pylint: disable=no-member
    document = with_summaries({**document, "paths": document["paths"] | page_paths()})
    return msgspec.json.encode(with_keys(document) if _AUTHORISE else document)


# the first wraps the second, even if BentoML traces requests
wrap_service(SpeechTranscriber, _STARTED, _SERVING, _AUTHORISE)
SpeechTranscriber.add_asgi_middleware(  # type: ignore[attr-defined]  # pylint: disable=no-member
    TranscriptionMiddleware, api=lambda: _running[0]
)
