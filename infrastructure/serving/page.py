"""The page of a service: its model, and its OpenAPI document in BentoML's copy of Swagger UI.

The Content-Security-Policy forbids inline scripts, and loading anything from another host.
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

FILES = "/page/"  # path prefix of scripts and styles
CARD = "/card"
_HTML, _TEXT = b"text/html; charset=utf-8", b"text/plain; charset=utf-8"
_TYPES = {".css": b"text/css; charset=utf-8", ".js": b"text/javascript; charset=utf-8"}
_PAGE_FILES = Path(__file__).with_name("page_files")
_BENTOML_FILES = Path(bentoml_server.__file__).with_name("static_content")
_STATIC = (
    *(_PAGE_FILES / name for name in ("page.css", "page.js")),
    *(_BENTOML_FILES / name for name in ("swagger-ui.css", "swagger-ui-bundle.js")),
)
_HEADERS = [
    (
        b"content-security-policy",
        # the icons in Swagger UI's styles are data: URLs
        b"default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),  # browsers revalidate with the ETag
]


def page_routes(name: str, version: str, verdict: str, card: str) -> dict[str, Route]:
    """The page, the model card and the page's files, by path.

    Args:
        name, version: name and version of the model.
        verdict: outcome of its validation.
        card: the model card, in Markdown.
    """
    texts = {"name": name, "version": version, "verdict": verdict}
    template = string.Template((_PAGE_FILES / "index.html").read_text(encoding="utf-8"))
    page = template.substitute({key: html.escape(text) for key, text in texts.items()}).encode()
    return {
        "/": _route(lambda: page, _HTML),
        CARD: _route(card.encode, _TEXT),
        **{FILES + path.name: _route(path.read_bytes, _TYPES[path.suffix]) for path in _STATIC},
    }


def verdict_of(labels: Mapping[str, str]) -> str:
    """The outcome of a model's validation, by its labels in BentoML's store."""
    stage = labels.get("stage", "not recorded")
    measured = {name: value for name, value in labels.items() if name not in ("stage", "owner")}
    quality = ", ".join(f"{name} {value}" for name, value in measured.items())
    return f"{stage}: {quality} on the hold-out" if quality else stage


def page_paths() -> Schema:
    """The paths of the page that belong in an OpenAPI document."""
    content = {"text/plain": {"type": "string"}}
    return {CARD: {"get": operation(OPERATIONS, "The model card", responses=content)}}


def _route(read: Callable[[], bytes], content_type: bytes) -> Route:
    """A route for static content, which is read at the first request; supports ETags."""

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

    return Route(("GET",), handle)
