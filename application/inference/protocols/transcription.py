"""The endpoints of a transcriber, as an ASGI middleware: what it does not know it passes on.

| endpoint | request |
|---|---|
| POST /transcribe | a recording: the body itself (``audio/*``), or a file in a form |
| GET, POST /health_check | |

Options of /transcribe stand in the query or in the form: ``language``, a code such as ``en``, and
``format``: ``json``, ``srt``, ``vtt`` or ``text``.

Recordings are heard one at a time in each worker. `MAX_WAITING` others wait for their turn; what
comes beyond is answered 503 at once, with the time after which to come again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from application.inference.protocols.synthetic import source_of
from application.inference.transcriber import (
    NotAudioError,
    Transcriber,
    Transcription,
    TranscriptionMetrics,
)
from domain.errors import InputError
from shared.request_id import request_id_of

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_WAITING = 8
FORMATS = {
    "json": "application/json",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "text": "text/plain",
}
_OPTIONS = ("language", "format")


class _TooLarge(Exception):
    """The body is larger than `MAX_BODY_BYTES`."""


class _Busy(Exception):
    """Enough others are waiting; `seconds` is when to come again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many recordings are waiting: come again in {seconds} seconds")
        self.seconds = seconds


class TranscriberApi:
    """Turns recordings into answers, one at a time; knows of HTTP no more than content types.

    Args:
        name, version: the model, as answers and the health check show it.
        write_subtitles: a transcription as ``srt`` or ``vtt``.
        max_waiting: most requests that wait while one is heard.
    """

    def __init__(
        self,
        name: str,
        version: str,
        transcriber: Transcriber,
        write_subtitles: Callable[[Transcription, str], str],
        metrics: TranscriptionMetrics,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.identity = {"model_name": name, "version": version}
        self.metrics = metrics
        self._transcriber = transcriber
        self._write_subtitles = write_subtitles
        self._places = max_waiting + 1
        self._taken = 0
        self._turn = asyncio.Lock()
        self._last_seconds = 1.0

    async def transcribe(
        self,
        recording: bytes,
        options: Mapping[str, str],
        request_id: str,
        counted: bool = True,
    ) -> tuple[str | dict[str, Any], str]:
        """The answer and its content type.

        Args:
            counted: whether the metrics are told of the answer.

        Raises:
            InputError: an option or the recording is wrong.
        """
        kind, language = _checked(options)
        if self._taken >= self._places:
            raise _Busy(math.ceil(self._last_seconds * self._taken))
        self._taken += 1
        try:
            samples = await asyncio.to_thread(self._transcriber.decode, recording, language)
            async with self._turn:
                start = time.perf_counter()
                heard = await asyncio.to_thread(
                    self._transcriber.transcribe, samples, language, counted
                )
                self._last_seconds = time.perf_counter() - start
        finally:
            self._taken -= 1
        return self.render(heard, kind, request_id), FORMATS[kind]

    def render(self, heard: Transcription, kind: str, request_id: str) -> str | dict[str, Any]:
        """A transcription in one of `FORMATS`."""
        if kind == "json":
            return {**_as_json(heard), "request_id": request_id, **self.identity}
        return heard.text + "\n" if kind == "text" else self._write_subtitles(heard, kind)

    def health_check(self) -> dict[str, Any]:
        """Say who is here; a service that has not heard its golden recording is not reached."""
        return {
            "status": "healthy",
            **self.identity,
            **self._transcriber.engine.describe(),
            "max_seconds": self._transcriber.input.max_seconds,
            "max_bytes": MAX_BODY_BYTES,
            "metrics_endpoint": "/metrics",
        }


class TranscriptionMiddleware:
    """Answers the endpoints of a `TranscriberApi` and passes everything else on.

    Args:
        app: what answers the rest.
        api: gives the api; called for each request, since the service makes it when it starts.
    """

    def __init__(self, app: ASGIApp, api: Callable[[], TranscriberApi]) -> None:
        self._app = app
        self._api = api
        self._routes = {"/transcribe": ("POST",), "/health_check": ("GET", "POST")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        methods = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if methods is None:
            await self._app(scope, receive, send)
            return
        if scope["method"] not in methods:
            allowed = ", ".join(methods)
            problem = {"error": f"{scope['method']} is not answered here, only {allowed}"}
            await JSONResponse(problem, 405, {"allow": allowed})(scope, receive, send)
            return
        api, request = self._api(), Request(scope, _bounded(receive))
        if scope["path"] == "/health_check":
            await JSONResponse(api.health_check())(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id, source = request_id_of(headers), source_of(headers)
        if source:
            api.metrics.record_synthetic(source)
        try:
            response = await self._transcribe(api, request, request_id, counted=not source)
        except ClientDisconnect:
            return
        except Exception as error:  # pylint: disable=broad-exception-caught  # the last defence
            response = _refusal(api, error, request_id, counted=not source)
        response.headers["x-request-id"] = request_id
        await response(scope, receive, send)

    @staticmethod
    async def _transcribe(
        api: TranscriberApi, request: Request, request_id: str, counted: bool
    ) -> Response:
        recording, options = await _read(request)
        answer, content_type = await api.transcribe(recording, options, request_id, counted)
        if isinstance(answer, str):
            return Response(answer, media_type=content_type)
        return JSONResponse(answer)


def _refusal(api: TranscriberApi, error: Exception, request_id: str, counted: bool) -> Response:
    headers = {}
    match error:
        case _TooLarge():
            status, error_type = 413, "too_large"
            said = f"the body is larger than {MAX_BODY_BYTES} bytes"
        case _Busy():
            status, error_type, said = 503, "busy", str(error)
            headers["retry-after"] = str(error.seconds)
        case NotAudioError():
            status, error_type, said = 415, "not_audio", str(error)
        case InputError():
            status, error_type, said = 422, "invalid_input", str(error)
        case MultiPartException() | HTTPException():
            status, error_type, said = 400, "invalid_input", "the form is malformed: "
            said += str(getattr(error, "message", "") or getattr(error, "detail", ""))
        case _:
            logger.error("request %s failed", request_id, exc_info=error)
            status, error_type = 500, "internal"
            said = "an unexpected fault, recorded in the service's log"
    if counted:
        api.metrics.record_error(error_type)
    return JSONResponse({"error": said, "request_id": request_id}, status, headers)


async def _read(request: Request) -> tuple[bytes, dict[str, str]]:
    """The recording and the options of a request."""
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > MAX_BODY_BYTES:
        raise _TooLarge
    options = _only_options(request.query_params)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=len(_OPTIONS)) as form:
            files = [item for item in form.values() if isinstance(item, UploadFile)]
            if not files:
                raise InputError("the form has no file: send the recording as one")
            texts = {key: item for key, item in form.items() if isinstance(item, str)}
            return await files[0].read(), {**options, **_only_options(texts)}
    if kind.startswith("audio/") or kind in ("application/octet-stream", "application/ogg"):
        return await request.body(), options
    raise NotAudioError(
        f"the content type {kind!r} is not taken: send the recording as audio/wav (flac, mpeg, "
        "ogg), or as a file in multipart/form-data"
    )


def _only_options(given: Mapping[str, str]) -> dict[str, str]:
    unknown = ", ".join(sorted(set(given) - set(_OPTIONS)))
    if unknown:
        raise InputError(f"unknown option {unknown}: there are {', '.join(_OPTIONS)}")
    return dict(given)


def _checked(options: Mapping[str, str]) -> tuple[str, str | None]:
    kind = options.get("format", "json")
    if kind not in FORMATS:
        raise InputError(f"format: {kind!r} is none of {', '.join(FORMATS)}")
    return kind, options.get("language") or None


def _as_json(heard: Transcription) -> dict[str, Any]:
    data = asdict(heard)
    data["duration_seconds"] = data.pop("duration")
    data["segments"] = [{"id": id_, **segment} for id_, segment in enumerate(data["segments"])]
    return data


def _bounded(receive: Receive) -> Receive:
    """A `receive` that raises `_TooLarge` as soon as the body is too large."""
    size = 0

    async def bounded() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY_BYTES:
            raise _TooLarge
        return message

    return bounded
