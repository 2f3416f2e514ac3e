"""The page of a service: who answers, and its OpenAPI document in the Swagger UI of BentoML.

Nothing is loaded from another host; the Content-Security-Policy forbids it, and scripts in HTML.
"""

from __future__ import annotations

import hashlib
import html
import string
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from bentoml._internal import server as bentoml_server

from application.inference.protocols.http import Reply, Request, Route
from application.inference.protocols.openapi import OPERATIONS, Schema, operation

FILES = "/page/"  # below it are scripts and styles
CARD = "/card"
_HTML, _TEXT = b"text/html; charset=utf-8", b"text/plain; charset=utf-8"
_TYPES = {".css": b"text/css; charset=utf-8", ".js": b"text/javascript; charset=utf-8"}
_OURS = Path(__file__).with_name("page_files")
_THEIRS = Path(bentoml_server.__file__).with_name("static_content")
_STATIC = (
    *(_OURS / name for name in ("page.css", "page.js")),
    *(_THEIRS / name for name in ("swagger-ui.css", "swagger-ui-bundle.js")),
)
_HEADERS = [
    (
        b"content-security-policy",
        # Swagger UI's styles have their icons in data: URLs
        b"default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),  # a browser asks with the ETag whether there is a newer one
]


def page_routes(name: str, version: str, verdict: str, card: str) -> dict[str, Route]:
    """The page, the card and the files of the page, by path.

    Args:
        name, version: of the model.
        verdict: of its validation.
        card: the model card, in Markdown.
    """
    words = {"name": name, "version": version, "verdict": verdict}
    template = string.Template((_OURS / "index.html").read_text(encoding="utf-8"))
    page = template.substitute({key: html.escape(word) for key, word in words.items()}).encode()
    return {
        "/": _route(lambda: page, _HTML),
        CARD: _route(card.encode, _TEXT),
        **{FILES + path.name: _route(path.read_bytes, _TYPES[path.suffix]) for path in _STATIC},
    }


def verdict_of(labels: Mapping[str, str]) -> str:
    """What validation said of a model, by the labels that it has in BentoML's store."""
    stage = labels.get("stage", "not recorded")
    others = {name: told for name, told in labels.items() if name not in ("stage", "owner")}
    told = ", ".join(f"{name} {value}" for name, value in others.items())
    return f"{stage}: {told} on the hold-out" if told else stage


def page_paths() -> Schema:
    """What of these stands in an OpenAPI document."""
    responses = {"text/plain": {"type": "string"}}
    return {CARD: {"get": operation(OPERATIONS, "The model card", responses=responses)}}


def _route(read: Callable[[], bytes], content_type: bytes) -> Route:
    """Answers with a content, which is read when it is first asked for, or says that the caller
    has it."""

    @cache
    def content() -> tuple[bytes, bytes]:
        body = read()
        return body, b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode()

    def handle(request: Request) -> Reply:
        body, tag = content()
        headers = [*_HEADERS, (b"etag", tag)]
        if tag in request.headers.get(b"if-none-match", b""):
            return Reply(b"", 304, content_type, headers)
        return Reply(body, 200, content_type, headers)

    return Route(("GET", "HEAD"), handle)
