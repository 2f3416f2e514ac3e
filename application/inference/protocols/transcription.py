"""The endpoints of a transcriber, as an ASGI middleware that passes on every other path.

| endpoint | request |
|---|---|
| POST /transcribe | a recording: the body itself (``audio/*``), or a file in a form |
| GET, POST /health_check | |

Options of /transcribe are in the query or in the form: ``language``, a code such as ``en``, and
``format``: ``json``, ``srt``, ``vtt`` or ``text``.

Each worker transcribes one recording at a time, and lets `MAX_WAITING` others wait. Any further
request gets 503 at once, with Retry-After.
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
    """Too many recordings are waiting; retry after `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many recordings are waiting: retry in {seconds} seconds")
        self.seconds = seconds


class TranscriberApi:
    """Turns recordings into responses, one at a time; independent of HTTP but for content types.

    Args:
        name, version: of the model, as in responses and the health check.
        write_subtitles: writes a transcription as ``srt`` or ``vtt``.
        max_waiting: maximum number of requests that wait while one is transcribed.
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
        self._capacity = max_waiting + 1
        self._pending = 0
        self._turn = asyncio.Lock()
        self._last_seconds = 1.0

    async def transcribe(
        self,
        recording: bytes,
        options: Mapping[str, str],
        request_id: str,
        counted: bool = True,
    ) -> tuple[str | dict[str, Any], str]:
        """Transcribe a recording; returns the body of the response and its content type.

        Args:
            counted: whether the metrics count this transcription.

        Raises:
            InputError: an option or the recording is invalid.
        """
        format_, language = _check_options(options)
        if self._pending >= self._capacity:
            raise _Busy(math.ceil(self._last_seconds * self._pending))
        self._pending += 1
        try:
            samples = await asyncio.to_thread(self._transcriber.decode, recording, language)
            async with self._turn:
                start = time.perf_counter()
                transcription = await asyncio.to_thread(
                    self._transcriber.transcribe, samples, language, counted
                )
                self._last_seconds = time.perf_counter() - start
        finally:
            self._pending -= 1
        return self.render(transcription, format_, request_id), FORMATS[format_]

    def render(
        self, transcription: Transcription, format_: str, request_id: str
    ) -> str | dict[str, Any]:
        """A transcription in one of `FORMATS`."""
        if format_ == "json":
            return {**_as_json(transcription), "request_id": request_id, **self.identity}
        if format_ == "text":
            return transcription.text + "\n"
        return self._write_subtitles(transcription, format_)

    def health_check(self) -> dict[str, Any]:
        """Describe the model. A service is not ready before it reproduced its golden recording."""
        return {
            "status": "healthy",
            **self.identity,
            **self._transcriber.engine.describe(),
            "max_seconds": self._transcriber.input.max_seconds,
            "max_bytes": MAX_BODY_BYTES,
            "metrics_endpoint": "/metrics",
        }


class TranscriptionMiddleware:
    """Serves the endpoints of a `TranscriberApi` and passes everything else on.

    Args:
        app: the application that handles all other paths.
        api: gives the API; called for each request, since the service makes it when it starts.
    """

    def __init__(self, app: ASGIApp, api: Callable[[], TranscriberApi]) -> None:
        self._app = app
        self._api = api
        self._routes = {"/transcribe": ("POST",), "/health_check": ("GET", "POST")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        methods = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if methods is None:
            await self._app(scope, receive, send)
            return
        if scope["method"] not in methods:
            allowed = ", ".join(methods)
            body = {"error": f"method {scope['method']} is not allowed here: use {allowed}"}
            await JSONResponse(body, 405, {"allow": allowed})(scope, receive, send)
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
            response = _error_response(api, error, request_id, counted=not source)
        response.headers["x-request-id"] = request_id
        await response(scope, receive, send)

    @staticmethod
    async def _transcribe(
        api: TranscriberApi, request: Request, request_id: str, counted: bool
    ) -> Response:
        recording, options = await _recording_and_options(request)
        body, content_type = await api.transcribe(recording, options, request_id, counted)
        if isinstance(body, str):
            return Response(body, media_type=content_type)
        return JSONResponse(body)


def _error_response(
    api: TranscriberApi, error: Exception, request_id: str, counted: bool
) -> Response:
    headers = {}
    match error:
        case _TooLarge():
            status, error_type = 413, "too_large"
            message = f"the body is larger than {MAX_BODY_BYTES} bytes"
        case _Busy():
            status, error_type, message = 503, "busy", str(error)
            headers["retry-after"] = str(error.seconds)
        case NotAudioError():
            status, error_type, message = 415, "not_audio", str(error)
        case InputError():
            status, error_type, message = 422, "invalid_input", str(error)
        case MultiPartException() | HTTPException():
            status, error_type, message = 400, "invalid_input", "the form is malformed: "
            message += str(getattr(error, "message", "") or getattr(error, "detail", ""))
        case _:
            logger.error("request %s failed", request_id, exc_info=error)
            status, error_type = 500, "internal"
            message = "internal error: see the service's log"
    if counted:
        api.metrics.record_error(error_type)
    return JSONResponse({"error": message, "request_id": request_id}, status, headers)


async def _recording_and_options(request: Request) -> tuple[bytes, dict[str, str]]:
    """Read the recording and the options of a request."""
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > MAX_BODY_BYTES:
        raise _TooLarge
    options = _known_options(request.query_params)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=len(_OPTIONS)) as form:
            files = [item for item in form.values() if isinstance(item, UploadFile)]
            if not files:
                raise InputError("the form has no file: send the recording as a file")
            texts = {key: item for key, item in form.items() if isinstance(item, str)}
            return await files[0].read(), {**options, **_known_options(texts)}
    if kind.startswith("audio/") or kind in ("application/octet-stream", "application/ogg"):
        return await request.body(), options
    raise NotAudioError(
        f"unsupported content type {kind!r}: send the recording as audio/wav (flac, mpeg, ogg), or "
        "as a file in multipart/form-data"
    )


def _known_options(values: Mapping[str, str]) -> dict[str, str]:
    unknown = ", ".join(sorted(set(values) - set(_OPTIONS)))
    if unknown:
        raise InputError(f"unknown option {unknown}: the options are {', '.join(_OPTIONS)}")
    return dict(values)


def _check_options(options: Mapping[str, str]) -> tuple[str, str | None]:
    """The format and the language."""
    format_ = options.get("format", "json")
    if format_ not in FORMATS:
        raise InputError(f"format: {format_!r} is not one of {', '.join(FORMATS)}")
    return format_, options.get("language") or None


def _as_json(transcription: Transcription) -> dict[str, Any]:
    data = asdict(transcription)
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
