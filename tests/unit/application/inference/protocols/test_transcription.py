"""The endpoints of a transcriber over ASGI, with a fake engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from application.inference.protocols import transcription
from application.inference.protocols.app import PredictionApp, Started
from application.inference.protocols.http import Route
from application.inference.protocols.transcription import TranscriptionApi
from application.inference.transcriber import Transcriber, Transcription, TranscriptionMetrics
from tests.speech_fakes import SPEC, FakeEngine, FakeTranscriptionMetrics, fake_decode

WAV = {"content-type": "audio/wav"}
LOUD = bytes([255, 0])


def subtitles(result: Transcription, format_: str) -> str:
    """Names the format and the text."""
    return f"{format_} of {result.text}"


def served(path: str) -> tuple[str, ...]:
    """The methods that the application around which the service is wrapped has at a path."""
    return ("GET",) if path == "/metrics" else ()


class Service:
    """A service with fakes."""

    def __init__(self, waiting: int = 2) -> None:
        self.engine = FakeEngine()
        self.metrics = FakeTranscriptionMetrics()
        started: Future[Started] = Future()
        started.set_result(
            Started(self._routes(self.metrics), self.metrics, synthetic=self._routes(None))
        )
        app = PredictionApp(PlainTextResponse("passed on"), served, started=started, queue=waiting)
        self.transport = httpx.ASGITransport(app)  # type: ignore[arg-type]

    def _routes(self, metrics: TranscriptionMetrics | None) -> dict[str, Route]:
        transcriber = Transcriber(SPEC, self.engine, fake_decode, metrics)
        return TranscriptionApi("speech", "1.0.0", transcriber, subtitles).routes()

    def client(self) -> httpx.AsyncClient:
        """A client of the service."""
        return httpx.AsyncClient(transport=self.transport, base_url="http://service")

    def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send one request."""

        async def send() -> httpx.Response:
            async with self.client() as client:
                return await client.request(method, path, **request)

        return asyncio.run(send())

    def post(self, content: Any = LOUD, query: str = "", **request: Any) -> httpx.Response:
        """Send a recording as the body."""
        request.setdefault("headers", WAV)
        return self.send("POST", f"/transcribe{query}", content=content, **request)


@pytest.fixture(name="service")
def fixture_service() -> Service:
    """A new service."""
    return Service()


def test_a_transcript_has_text_language_and_segments(service: Service) -> None:
    response = service.post(headers={**WAV, "x-request-id": "mine-1"})
    assert response.status_code == 200
    assert response.headers["x-request-id"] == "mine-1"
    assert response.json() == {
        "text": "1.0",
        "language": "en",
        "duration_seconds": 2.0,
        "segments": [{"id": 0, "start": 0.0, "end": 2.0, "text": "1.0"}],
        "request_id": "mine-1",
        "model_name": "speech",
        "version": "1.0.0",
    }


def test_a_file_in_a_form_gets_the_same_response_as_a_body(service: Service) -> None:
    for name in ("file", "recording"):
        response = service.send("POST", "/transcribe", files={name: ("a.wav", LOUD, "audio/wav")})
        assert response.json()["text"] == "1.0"


@pytest.mark.parametrize(
    ("kind", "content_type", "text"),
    [
        ("srt", "application/x-subrip", "srt of 1.0"),
        ("vtt", "text/vtt", "vtt of 1.0"),
        ("text", "text/plain", "1.0\n"),
    ],
)
def test_a_response_has_the_requested_format(
    service: Service, kind: str, content_type: str, text: str
) -> None:
    by_query = service.post(query=f"?format={kind}")
    by_form = service.send(
        "POST", "/transcribe", files={"file": LOUD}, data={"format": kind, "language": "de"}
    )
    for response in (by_query, by_form):
        assert response.headers["content-type"].partition(";")[0] == content_type
        assert response.text == text


def test_a_language_is_read_from_query_and_form(service: Service) -> None:
    assert service.post(query="?language=de").json()["language"] == "de"
    files, data = {"file": LOUD}, {"language": "de"}
    assert service.send("POST", "/transcribe", files=files, data=data).json()["language"] == "de"


def test_silence_is_an_empty_text_without_segments(service: Service) -> None:
    response = service.post(bytes(3)).json()
    assert (response["text"], response["language"], response["segments"]) == ("", None, [])
    assert response["duration_seconds"] == 3.0


MULTIPART = {"content-type": "multipart/form-data; boundary=x"}
FORM_WITHOUT_FILE = (
    b"--x\r\n" b'Content-Disposition: form-data; name="language"\r\n\r\n' b"en\r\n" b"--x--\r\n"
)
FORM = (
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    b'\xff\x00\r\n--x\r\nContent-Disposition: form-data; name="format"\r\n\r\nsrt\r\n--x--'
)


def post_form(service: Service, query: str = "", **more: Any) -> httpx.Response:
    """Send a recording as the file of a form."""
    return service.send("POST", f"/transcribe{query}", files={"file": LOUD}, **more)


BAD: dict[str, tuple[Callable[[Service], httpx.Response], int, str, str]] = {
    "no recording": (lambda s: s.post(b"noise"), 415, "not_audio", "not a recording"),
    "another content type": (
        lambda s: s.send("POST", "/transcribe", json={}),
        415,
        "not_audio",
        "unsupported content type 'application/json'",
    ),
    "no content type": (
        lambda s: s.post(headers={}),
        415,
        "not_audio",
        "unsupported content type ''",
    ),
    "too long": (lambda s: s.post(bytes(1801)), 422, "invalid_input", "too long"),
    "an unknown language": (
        lambda s: s.post(query="?language=xx"),
        422,
        "invalid_input",
        "unknown language xx",
    ),
    "an unknown format": (
        lambda s: s.post(query="?format=doc"),
        422,
        "invalid_input",
        "'doc' is not one of json, srt, vtt, text",
    ),
    "an unknown option": (
        lambda s: s.post(query="?speed=2"),
        422,
        "invalid_input",
        "unknown option speed",
    ),
    "an unknown option without a value": (
        lambda s: s.post(query="?speed"),
        422,
        "invalid_input",
        "unknown option speed",
    ),
    "a blank format": (
        lambda s: s.post(query="?format="),
        422,
        "invalid_input",
        "'' is not one of json, srt, vtt, text",
    ),
    "an option twice in the query": (
        lambda s: s.post(query="?language=en&language=en"),
        422,
        "invalid_input",
        "option language is given twice",
    ),
    "an option twice in the form": (
        lambda s: post_form(s, data={"language": ["en", "de"]}),
        422,
        "invalid_input",
        "option language is given twice",
    ),
    "an option in the query and the form": (
        lambda s: post_form(s, "?language=en", data={"language": "de"}),
        422,
        "invalid_input",
        "option language is given twice",
    ),
    "more parts than a form may have": (
        lambda s: post_form(s, data={"language": ["en"] * 10}),
        400,
        "invalid_input",
        "the form has more than 10 fields and files",
    ),
    "a form without a file": (
        lambda s: s.post(FORM_WITHOUT_FILE, headers=MULTIPART),
        422,
        "invalid_input",
        "the form has no file",
    ),
    "a form without a boundary": (
        lambda s: s.post(headers={"content-type": "multipart/form-data"}),
        400,
        "invalid_input",
        "the form is malformed",
    ),
    "two files": (
        lambda s: s.send("POST", "/transcribe", files={"a": LOUD, "b": LOUD}),
        400,
        "invalid_input",
        "2 files: send one",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_are_refused_with_what_is_wrong_and_counted(
    service: Service, case: str
) -> None:
    send, status, error_type, words = BAD[case]
    response = send(service)
    assert response.status_code == status, response.text
    assert words in response.json()["error"]
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert service.metrics.errors == {error_type: 1}
    assert service.engine.calls == 0


def test_a_form_that_is_cut_is_refused(service: Service) -> None:
    for size in range(len(FORM)):
        response = service.post(FORM[:size], headers=MULTIPART)
        assert response.status_code == 400
        assert "malformed: it ends before its last boundary" in response.json()["error"]


@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r\nepilogue"])
def test_a_complete_form_is_accepted(service: Service, end: bytes) -> None:
    assert service.post(FORM + end, headers=MULTIPART).text == "srt of 1.0"


@pytest.mark.parametrize("name", ["format", "speed", "a" * 4_000])
def test_an_error_has_only_the_beginning_of_what_is_wrong(service: Service, name: str) -> None:
    value = "x" * 10_000
    for response in (
        service.post(query=f"?{name}={value}"),
        post_form(service, data={name: value}),
    ):
        assert response.status_code == 422
        assert len(response.content) < 300
    assert len(service.post(headers={"content-type": value}).content) < 300
    nameless = b"--x\r\nContent-Disposition: %s\r\n\r\n\r\n--x--" % (b"\xff" * 4_000)
    assert len(service.post(nameless, headers=MULTIPART).content) < 500


def test_a_body_that_is_too_large_is_refused_with_or_without_a_content_length(
    service: Service,
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(transcription.MAX_BODY_BYTES // 2**20 + 1):
            yield bytes(2**20)

    too_long = str(transcription.MAX_BODY_BYTES + 1)
    announced = service.post(headers={**WAV, "content-length": too_long})
    chunked = service.post(chunks())
    form = service.post(chunks(), headers=MULTIPART)
    assert (announced.status_code, chunked.status_code) == (413, 413)
    assert form.status_code in (400, 413)
    assert "larger than" in chunked.json()["error"]
    assert service.metrics.errors["too_large"] >= 2


def test_a_fault_gets_500_and_leaks_nothing(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.engine.error = ZeroDivisionError("secret")
    response = service.post()
    assert response.status_code == 500
    assert "secret" not in response.text
    assert "secret" in caplog.text
    assert service.metrics.errors == {"internal": 1}


def test_one_recording_is_transcribed_at_a_time_and_too_many_get_a_503() -> None:
    service = Service(waiting=2)
    service.engine.release.clear()

    async def crowd() -> list[httpx.Response]:
        async with service.client() as client:

            async def post() -> httpx.Response:
                return await client.post("/transcribe", content=LOUD, headers=WAV)

            tasks = [asyncio.create_task(post()) for _ in range(3)]
            await asyncio.to_thread(service.engine.entered.wait, 10)
            await asyncio.sleep(0)
            refused = await post()
            service.engine.release.set()
            return [refused, *await asyncio.gather(*tasks), await post()]

    refused, *accepted = asyncio.run(crowd())
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert "retry later" in refused.json()["error"]
    assert [response.status_code for response in accepted] == [200] * 4
    assert service.engine.max_concurrent == 1
    assert service.metrics.errors == {"busy": 1}


def test_a_place_is_free_again_after_a_bad_request() -> None:
    service = Service(waiting=0)
    for _ in range(3):
        assert service.post(b"noise").status_code == 415
    assert service.post().status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_health_check_names_the_model(service: Service, method: str) -> None:
    response = service.send(method, "/health_check").json()
    assert response["status"] == "healthy"
    assert (response["model_name"], response["version"]) == ("speech", "1.0.0")
    assert (response["device"], response["max_seconds"]) == ("fake", 1800.0)


def test_another_method_is_refused_and_the_right_one_is_named(service: Service) -> None:
    response = service.send("GET", "/transcribe")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_everything_else_is_passed_on(service: Service) -> None:
    assert service.send("GET", "/metrics").text == "passed on"


def test_a_synthetic_recording_is_transcribed_and_counted_only_by_source(service: Service) -> None:
    mark = {**WAV, "x-synthetic": "golden"}
    ordinary = service.post(headers={**WAV, "x-request-id": "1"})
    response = service.post(headers={**mark, "x-request-id": "1"})
    assert (response.status_code, response.json()) == (200, ordinary.json())
    assert service.post(b"noise", headers=mark).status_code == 415
    assert service.metrics.synthetic == {"golden": 2}
    assert len(service.metrics.transcriptions) == 1
    assert not service.metrics.errors
