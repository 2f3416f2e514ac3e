"""What the protocols share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from application.inference.protocols.http import (
    JSON,
    Refusal,
    Reply,
    Request,
    Route,
    retry_later,
)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"application/json", "application/json"),
        (b"Application/JSON; charset=utf-8", "application/json"),
        (b" text/csv ;header=present", "text/csv"),
        (b"caf\xe9", "café"),
        (b"", ""),
    ],
)
def test_a_content_type_is_in_lower_case_without_parameters(header: bytes, expected: str) -> None:
    assert Request("a", {b"content-type": header}, b"").content_type == expected


def test_without_one_the_content_type_is_empty() -> None:
    assert Request("a", {}, b"").content_type == ""


def test_a_reply_is_json_with_200_by_default() -> None:
    reply = Reply(b"{}")
    assert (reply.status, reply.content_type, reply.headers) == (200, JSON, [])


def test_replies_do_not_share_their_headers() -> None:
    Reply(b"{}").headers.append((b"allow", b"GET"))
    assert not Reply(b"{}").headers


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        (("GET",), ("GET", "HEAD")),
        (("GET", "POST"), ("GET", "POST", "HEAD")),
        (("POST",), ("POST",)),
    ],
)
def test_a_get_route_also_handles_head(methods: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert Route(methods, lambda _: b"").methods == expected


def test_a_copy_of_a_route_names_head_once() -> None:
    route = Route(("GET", "POST"), lambda _: b"")
    assert replace(route, slow=True).methods == ("GET", "POST", "HEAD")


def test_a_refusal_has_a_reason_and_is_invalid_input_by_default() -> None:
    refusal = Refusal(401, "no key", "unauthorised", [(b"www-authenticate", b"Bearer")])
    assert str(refusal) == "no key"
    assert (refusal.status, refusal.error_type) == (401, "unauthorised")
    assert (Refusal(422, "no").error_type, [*Refusal(422, "no").headers]) == ("invalid_input", [])


@pytest.mark.parametrize(("seconds", "header"), [(0.0, b"1"), (0.3, b"1"), (1, b"1"), (2.1, b"3")])
def test_retry_after_is_in_whole_seconds_and_never_zero(seconds: float, header: bytes) -> None:
    refusal = retry_later(503, "too many requests", "busy", seconds)
    assert (refusal.status, refusal.error_type) == (503, "busy")
    assert refusal.headers == [(b"retry-after", header)]


def test_the_plain_form_of_a_refusal_has_its_reason_and_the_request() -> None:
    reply = Route(("POST",), lambda _: b"").refuse(404, "nothing here", "a")
    assert (reply.status, reply.content_type) == (404, JSON)
    assert reply.body == b'{"error":"nothing here","request_id":"a"}'
