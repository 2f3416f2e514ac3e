"""The endpoints of a transcriber over ASGI; the engine is a fake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from application.inference.protocols import transcription
from application.inference.protocols.transcription import TranscriberApi, TranscriptionMiddleware
from application.inference.transcriber import Transcriber
from domain.models import speech
from tests.speech_fakes import FakeEngine, FakeTranscriptionMetrics, fake_decode

WAV = {"content-type": "audio/wav"}
LOUD = bytes([255, 0])


class Service:
    """A middleware with everything behind it."""

    def __init__(self, max_waiting: int = 2) -> None:
        self.engine = FakeEngine()
        self.metrics = FakeTranscriptionMetrics()
        transcriber = Transcriber(speech.SPEC, self.engine, fake_decode, self.metrics)
        self.api = TranscriberApi(
            "speech",
            "1.0.0",
            transcriber,
            lambda heard, kind: f"{kind} of {heard.text}",
            self.metrics,
            max_waiting,
        )
        app = TranscriptionMiddleware(PlainTextResponse("passed on"), lambda: self.api)
        self.transport = httpx.ASGITransport(app)  # type: ignore[arg-type]

    def client(self) -> httpx.AsyncClient:
        """A client of it."""
        return httpx.AsyncClient(transport=self.transport, base_url="http://service")

    def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """One request."""

        async def send() -> httpx.Response:
            async with self.client() as client:
                return await client.request(method, path, **request)

        return asyncio.run(send())

    def post(self, content: Any = LOUD, query: str = "", **request: Any) -> httpx.Response:
        """A recording as the body."""
        request.setdefault("headers", WAV)
        return self.send("POST", f"/transcribe{query}", content=content, **request)


@pytest.fixture(name="service")
def fixture_service() -> Service:
    """A service of its own."""
    return Service()


def test_a_recording_is_answered_with_text_language_and_segments(service: Service) -> None:
    answer = service.post(headers={**WAV, "x-request-id": "mine-1"})
    assert answer.status_code == 200
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.json() == {
        "text": "1.0",
        "language": "en",
        "duration_seconds": 2.0,
        "segments": [{"id": 0, "start": 0.0, "end": 2.0, "text": "1.0"}],
        "request_id": "mine-1",
        "model_name": "speech",
        "version": "1.0.0",
    }


def test_a_file_in_a_form_is_answered_as_the_body_is(service: Service) -> None:
    for name in ("file", "recording"):
        answer = service.send("POST", "/transcribe", files={name: ("a.wav", LOUD, "audio/wav")})
        assert answer.json()["text"] == "1.0"


@pytest.mark.parametrize(
    ("kind", "content_type", "text"),
    [
        ("srt", "application/x-subrip", "srt of 1.0"),
        ("vtt", "text/vtt", "vtt of 1.0"),
        ("text", "text/plain", "1.0\n"),
    ],
)
def test_an_answer_comes_in_the_format_that_is_asked_for(
    service: Service, kind: str, content_type: str, text: str
) -> None:
    by_query = service.post(query=f"?format={kind}")
    by_form = service.send(
        "POST", "/transcribe", files={"file": LOUD}, data={"format": kind, "language": "de"}
    )
    for answer in (by_query, by_form):
        assert answer.headers["content-type"].partition(";")[0] == content_type
        assert answer.text == text


def test_a_language_is_taken_from_query_and_form(service: Service) -> None:
    assert service.post(query="?language=de").json()["language"] == "de"
    files, data = {"file": LOUD}, {"language": "de"}
    assert service.send("POST", "/transcribe", files=files, data=data).json()["language"] == "de"


def test_silence_is_an_empty_text_without_segments(service: Service) -> None:
    answer = service.post(bytes(3)).json()
    assert (answer["text"], answer["language"], answer["segments"]) == ("", None, [])
    assert answer["duration_seconds"] == 3.0


FORM_WITHOUT_FILE = (
    b"--x\r\n" b'Content-Disposition: form-data; name="language"\r\n\r\n' b"en\r\n" b"--x--\r\n"
)
BAD: dict[str, tuple[Callable[[Service], httpx.Response], int, str, str]] = {
    "no recording": (lambda s: s.post(b"noise"), 415, "not_audio", "no recording"),
    "another content type": (
        lambda s: s.send("POST", "/transcribe", json={}),
        415,
        "not_audio",
        "'application/json' is not taken",
    ),
    "no content type": (lambda s: s.post(headers={}), 415, "not_audio", "'' is not taken"),
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
        "'doc' is none of json, srt, vtt, text",
    ),
    "an unknown option": (
        lambda s: s.post(query="?speed=2"),
        422,
        "invalid_input",
        "unknown option speed",
    ),
    "a form without a file": (
        lambda s: s.send(
            "POST",
            "/transcribe",
            content=FORM_WITHOUT_FILE,
            headers={"content-type": "multipart/form-data; boundary=x"},
        ),
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
        "Too many files",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_are_refused_with_what_is_wrong_and_counted(
    service: Service, case: str
) -> None:
    send, status, error_type, words = BAD[case]
    answer = send(service)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert service.metrics.errors == {error_type: 1}
    assert service.engine.asked == 0


def test_a_body_that_is_too_large_is_refused_whether_its_length_is_told_or_not(
    service: Service,
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(transcription.MAX_BODY_BYTES // 2**20 + 1):
            yield bytes(2**20)

    told = service.post(headers={**WAV, "content-length": str(transcription.MAX_BODY_BYTES + 1)})
    untold = service.post(chunks())
    boundary = {"content-type": "multipart/form-data; boundary=x"}
    form = service.post(chunks(), headers=boundary)
    assert (told.status_code, untold.status_code) == (413, 413)
    assert form.status_code in (400, 413)
    assert "larger than" in untold.json()["error"]
    assert service.metrics.errors["too_large"] >= 2


def test_a_fault_is_answered_500_and_does_not_tell_its_inside(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> Any:
        raise ZeroDivisionError("secret")

    api = TranscriberApi(
        "speech",
        "1",
        Transcriber(speech.SPEC, service.engine, fail),
        lambda heard, kind: "",
        service.metrics,
    )
    service.api = api
    answer = service.post()
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "secret" in caplog.text
    assert service.metrics.errors == {"internal": 1}


def test_one_is_heard_at_a_time_some_wait_and_more_are_sent_away_with_a_time() -> None:
    service = Service(max_waiting=2)
    service.engine.go_on.clear()

    async def crowd() -> list[httpx.Response]:
        async with service.client() as client:

            async def post() -> httpx.Response:
                return await client.post("/transcribe", content=LOUD, headers=WAV)

            asked = [asyncio.create_task(post()) for _ in range(3)]
            await asyncio.to_thread(service.engine.entered.wait, 10)
            await asyncio.sleep(0)
            refused = await post()
            service.engine.go_on.set()
            return [refused, *await asyncio.gather(*asked), await post()]

    refused, *answered = asyncio.run(crowd())
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert "come again in" in refused.json()["error"]
    assert [answer.status_code for answer in answered] == [200] * 4
    assert service.engine.most == 1
    assert service.metrics.errors == {"busy": 1}


def test_a_place_is_free_again_after_a_bad_request() -> None:
    service = Service(max_waiting=0)
    for _ in range(3):
        assert service.post(b"noise").status_code == 415
    assert service.post().status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_health_check_says_who_hears(service: Service, method: str) -> None:
    answer = service.send(method, "/health_check").json()
    assert answer["status"] == "healthy"
    assert (answer["model_name"], answer["version"]) == ("speech", "1.0.0")
    assert (answer["device"], answer["max_seconds"]) == ("fake", 1800.0)


def test_another_method_is_refused_and_the_right_one_is_named(service: Service) -> None:
    answer = service.send("GET", "/transcribe")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_everything_else_is_passed_on(service: Service) -> None:
    assert service.send("GET", "/metrics").text == "passed on"


def test_a_synthetic_recording_is_answered_and_counted_by_its_source_only(service: Service) -> None:
    mark = {**WAV, "x-synthetic": "golden"}
    ordinary = service.post(headers={**WAV, "x-request-id": "1"})
    answer = service.post(headers={**mark, "x-request-id": "1"})
    assert (answer.status_code, answer.json()) == (200, ordinary.json())
    assert service.post(b"noise", headers=mark).status_code == 415
    assert service.metrics.synthetic == {"golden": 2}
    assert len(service.metrics.transcriptions) == 1
    assert not service.metrics.errors
