"""The endpoints of a transcriber.

| endpoint | request |
|---|---|
| POST /transcribe | a recording: the body itself (``audio/*``), or a file in a form |
| GET, POST /health_check | |

Options of /transcribe are in the query or in the form: ``language``, a code such as ``en``, and
``format``: ``json``, ``srt``, ``vtt`` or ``text``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from threading import Event
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from python_multipart import create_form_parser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File

from application.inference.protocols.http import JSON, Refusal, Reply, Request, Route
from application.inference.transcriber import NotAudioError, Transcriber, Transcription
from domain.contract.encoding import short_repr
from domain.errors import InputError, reason_of

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_PARTS = 10
"""Most fields and files of a form."""
FORMATS = {
    "json": JSON,
    "srt": b"application/x-subrip",
    "vtt": b"text/vtt",
    "text": b"text/plain; charset=utf-8",
}
_OPTIONS = ("language", "format")
_SOUNDS = ("application/octet-stream", "application/ogg")


class TranscriptionApi:
    """Turns requests with recordings into responses.

    Args:
        name, version: of the model, as in responses and the health check.
        write_subtitles: writes a transcription as ``srt`` or ``vtt``.
    """

    def __init__(
        self,
        name: str,
        version: str,
        transcriber: Transcriber,
        write_subtitles: Callable[[Transcription, str], str],
    ) -> None:
        self._identity = {"model_name": name, "version": version}
        self._transcriber = transcriber
        self._write_subtitles = write_subtitles

    def routes(self) -> dict[str, Route]:
        """The route of each endpoint."""
        return {
            "/transcribe": Route(
                ("POST",),
                self.transcribe,
                max_bytes=MAX_BODY_BYTES,
                slow=True,
                any_content_type=True,
            ),
            "/health_check": Route(
                ("GET", "POST"), lambda _: msgspec.json.encode(self.health_check())
            ),
        }

    def transcribe(self, request: Request) -> Reply:
        """Transcribe the recording of a request.

        Raises:
            InputError: an option or the recording is invalid.
            Refusal: 415 if the request has no recording, 400 if the form is malformed or has too
                many parts.
        """
        try:
            recording, options = _recording_and_options(request)
            format_, language = _check_options(options)
            samples = self._transcriber.decode(recording, language)
        except NotAudioError as error:
            raise Refusal(415, str(error), "not_audio") from error
        transcription = self._transcriber.transcribe(samples, language)
        body = self.render(transcription, format_, request.request_id)
        content = body.encode() if isinstance(body, str) else msgspec.json.encode(body)
        return Reply(content, content_type=FORMATS[format_])

    def render(
        self, transcription: Transcription, format_: str, request_id: str
    ) -> str | dict[str, Any]:
        """A transcription in one of `FORMATS`."""
        if format_ == "json":
            return {**_as_json(transcription), "request_id": request_id, **self._identity}
        if format_ == "text":
            return transcription.text + "\n"
        return self._write_subtitles(transcription, format_)

    def health_check(self) -> dict[str, Any]:
        """Describe the model. A service is not ready before it reproduced its golden recording."""
        return {
            "status": "healthy",
            **self._identity,
            **self._transcriber.engine.describe(),
            "max_seconds": self._transcriber.input.max_seconds,
            "max_bytes": MAX_BODY_BYTES,
            "metrics_endpoint": "/metrics",
        }


def _recording_and_options(request: Request) -> tuple[bytes, dict[str, str]]:
    """The recording and the options of a request."""
    options = parse_qsl(request.query.decode("latin-1"), keep_blank_values=True)
    kind = request.content_type
    if kind == "multipart/form-data":
        files, fields = _parse_form(request)
        if not files:
            raise InputError("the form has no file: send the recording as a file")
        return files[0], _known_options([*options, *fields])
    if kind.startswith("audio/") or kind in _SOUNDS:
        return request.body, _known_options(options)
    raise NotAudioError(
        f"unsupported content type {short_repr(kind)}: send the recording as audio/wav (flac, "
        "mpeg, ogg), or as a file in multipart/form-data"
    )


def _parse_form(request: Request) -> tuple[list[bytes], list[tuple[str, str]]]:
    """The one file of a form, if there is one, and the names and values of its fields."""
    files: list[bytes] = []
    fields: list[tuple[str, str]] = []
    complete = Event()

    def check_count() -> None:
        if len(files) + len(fields) == MAX_PARTS:
            raise Refusal(400, f"the form has more than {MAX_PARTS} fields and files")

    def add_file(file: File) -> None:
        check_count()
        file.file_object.seek(0)
        files.append(file.file_object.read())
        file.close()

    def add_field(field: Field) -> None:
        check_count()
        name, value = (text or b"" for text in (field.field_name, field.value))
        fields.append((name.decode(errors="replace"), value.decode(errors="replace")))

    headers = {"Content-Type": request.headers[b"content-type"]}
    in_memory = {"MAX_MEMORY_FILE_SIZE": MAX_BODY_BYTES}
    try:
        parser = create_form_parser(headers, add_field, add_file, config=in_memory)
        parser.on_end = complete.set
        parser.write(request.body)
        parser.finalize()
        if not complete.is_set():  # finalize() does not check it
            raise FormParserError("it ends before its last boundary")
    except FormParserError as error:
        raise Refusal(400, f"the form is malformed: {reason_of(error)}") from error
    if len(files) > 1:
        raise Refusal(400, f"the form has {len(files)} files: send one")
    return files, fields


def _known_options(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in pairs:
        if name not in _OPTIONS:
            raise InputError(f"unknown option {name[:60]}: the options are {', '.join(_OPTIONS)}")
        if name in options:
            raise InputError(f"option {name} is given twice")
        options[name] = value
    return options


def _check_options(options: dict[str, str]) -> tuple[str, str | None]:
    """The format and the language."""
    format_ = options.get("format", "json")
    if format_ not in FORMATS:
        raise InputError(f"format: {short_repr(format_)} is not one of {', '.join(FORMATS)}")
    return format_, options.get("language") or None


def _as_json(transcription: Transcription) -> dict[str, Any]:
    data = asdict(transcription)
    data["duration_seconds"] = data.pop("duration")
    data["segments"] = [{"id": id_, **segment} for id_, segment in enumerate(data["segments"])]
    return data
