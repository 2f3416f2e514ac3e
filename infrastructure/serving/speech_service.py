"""The service of a transcriber.

Each worker transcribes one recording at a time. The methods of the service describe its endpoints
on the page and in the OpenAPI document, and return the same when called in process.
"""

# no postponed annotations: BentoML evaluates them at run time
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal

import bentoml
import msgspec
from bentoml.validators import ContentType

from application.inference.protocols.app import Started
from application.inference.protocols.http import Route
from application.inference.protocols.transcription import TranscriptionApi
from application.inference.transcriber import Transcriber
from infrastructure.inference.audio import decode
from infrastructure.inference.whisper_engine import open_package, write_subtitles
from infrastructure.monitoring.metrics.process_metrics import process_metrics
from infrastructure.monitoring.metrics.transcription_metrics import TranscriptionMetricsCollector
from infrastructure.serving.bento_service import BentoService

WAITING = 8  # recordings of a worker; further ones are refused with 503
DEADLINE_SECONDS = 1800.0
RECORDING_SECONDS = 300.0  # that a recording may take to arrive


class SpeechService(BentoService):
    """The transcriber and the settings of one service."""

    def __init__(self, default_tag: str) -> None:
        super().__init__(
            default_tag,
            queue=WAITING,
            deadline_seconds=DEADLINE_SECONDS,
            body_seconds=RECORDING_SECONDS,
        )

    def bento_class(self) -> type:
        """The class that BentoML serves, with a method for each endpoint."""
        service = self

        class Endpoints:
            """Transcribes recordings: text, language, and segments with times."""

            package = service.reference

            def __init__(self) -> None:
                try:
                    self._transcriber, self._api = service.start()
                # pylint: disable-next=broad-exception-caught  # /readyz reports it
                except Exception as error:
                    service.started.set_exception(error)

            def __metrics__(self, exposed: str) -> str:
                """What /metrics returns; BentoML passes the metrics that all workers have set."""
                return exposed + process_metrics()

            @bentoml.api(route="/transcribe")
            def transcribe(
                self,
                file: Annotated[Path, ContentType("audio/*")],
                language: str | None = None,
                # pylint: disable-next=redefined-builtin
                format: Literal["json", "srt", "vtt", "text"] = "json",
            ) -> Any:
                """Transcribe a WAV, FLAC, MP3 or OGG file; the body may also be the recording
                itself."""
                samples = self._transcriber.decode(file.read_bytes(), language)
                transcription = self._transcriber.transcribe(samples, language)
                return self._api.render(transcription, format, uuid.uuid4().hex)

            @bentoml.api(route="/health_check")
            def health_check(self) -> dict[str, Any]:
                """Name and version of the served model."""
                return self._api.health_check()

        return Endpoints

    def start(self) -> tuple[Transcriber, TranscriptionApi]:
        """Load the model and replay its golden recording; then this process is ready."""
        metrics = TranscriptionMetricsCollector(self.name, self.version)
        spec, engine = self.package.spec, open_package(self.package)
        transcriber = Transcriber(spec, engine, decode, metrics)
        identity = (self.name, self.version)
        api = TranscriptionApi(*identity, transcriber, write_subtitles)
        uncounted = TranscriptionApi(*identity, Transcriber(spec, engine, decode), write_subtitles)
        document = Route(("GET",), lambda _: msgspec.json.encode(self.document({})))
        others = {**self.pages(), "/docs.json": document}
        self.started.set_result(
            Started(api.routes() | others, metrics, synthetic=uncounted.routes() | others)
        )
        return transcriber, api
