"""The page of a service, its files, and the model card."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from application.inference.protocols.http import Reply, Request
from infrastructure.serving.page import page_paths, page_routes, verdict_of

HOSTILE = "</title><script>alert(1)</script>&"
ROUTES = page_routes("iris", "1.0.0-a", "accepted", "# Card ☃")


def get(path: str, headers: Mapping[bytes, bytes] | None = None) -> Reply:
    """The reply at a path."""
    reply = ROUTES[path].handle(Request("a", headers or {}, b""))
    assert isinstance(reply, Reply)
    return reply


def text(path: str) -> str:
    """The body at a path, as text."""
    body = get(path).body
    assert isinstance(body, bytes)
    return body.decode()


def test_the_page_shows_the_model_and_links_card_metrics_and_document() -> None:
    page = text("/")
    assert "<title>iris 1.0.0-a</title>" in page
    assert ">iris<" in page and ">1.0.0-a<" in page and ">accepted<" in page
    assert {"card", "metrics", "docs.json"} <= set(re.findall(r'href="([^"]+)"', page))
    assert text("/card") == "# Card ☃"


def test_every_file_that_the_page_names_is_one_of_its_own() -> None:
    page = text("/")
    named = [f"/{name}" for name in re.findall(r'(?:src|href)="([^"]+)"', page)]
    assert {path for path in named if path.startswith("/page/")} == set(ROUTES) - {"/", "/card"}
    assert not re.search(r"https?://|//[a-z]|<script>|<style| style=| on[a-z]+=", page)
    for path in ("/page/page.js", "/page/page.css"):
        assert not re.search(r"https?://|url\(|import|eval", text(path))


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        *(("/", b"text/html; charset=utf-8"), ("/card", b"text/plain; charset=utf-8")),
        ("/page/page.js", b"text/javascript; charset=utf-8"),
        ("/page/swagger-ui-bundle.js", b"text/javascript; charset=utf-8"),
        ("/page/swagger-ui.css", b"text/css; charset=utf-8"),
    ],
)
def test_each_has_its_type_a_policy_and_a_tag_by_which_it_is_not_sent_again(
    path: str, content_type: bytes
) -> None:
    reply = get(path)
    headers = dict(reply.headers)
    assert (reply.status, reply.content_type) == (200, content_type)
    policy = headers[b"content-security-policy"].split(b"; ")
    assert policy[0] == b"default-src 'self'"
    assert not [part for part in policy if b"unsafe" in part or b"http" in part or b"*" in part]
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"cache-control"] == b"no-cache"
    for etag in (headers[b"etag"], b'"other", W/' + headers[b"etag"]):
        again = get(path, {b"if-none-match": etag})
        assert (again.status, again.body, dict(again.headers)) == (304, b"", headers)
    assert get(path, {b"if-none-match": b'"other"'}).status == 200
    assert ROUTES[path].methods == ("GET", "HEAD")


def test_html_in_names_is_shown_as_text() -> None:
    reply = page_routes(HOSTILE, HOSTILE, HOSTILE, HOSTILE)["/"].handle(Request("a", {}, b""))
    assert isinstance(reply, Reply) and isinstance(reply.body, bytes)
    assert b"<script>" not in reply.body
    assert reply.body.count(b"&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;") == 5


def test_the_verdict_is_that_of_the_stores_labels_with_what_was_measured() -> None:
    labels = {"owner": "us", "stage": "accepted", "accuracy": "0.9000"}
    assert verdict_of(labels) == "accepted: accuracy 0.9000 on the hold-out"
    assert verdict_of({"owner": "us", "stage": "accepted"}) == "accepted"
    assert verdict_of({}) == "not recorded"


def test_the_card_is_in_the_document() -> None:
    (does,) = page_paths().values()
    assert does["get"]["summary"] == "The model card"
