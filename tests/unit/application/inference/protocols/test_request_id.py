"""The identity of a request."""

from __future__ import annotations

import pytest

from application.inference.protocols.request_id import request_id_of


def test_a_plain_identity_of_the_caller_is_kept() -> None:
    assert request_id_of({"headers": [(b"x-request-id", b"order-7_a.b")]}) == "order-7_a.b"


@pytest.mark.parametrize("given", [b"", b"a b", b"a\nb", b"\xff", b"a" * 65])
def test_any_other_is_replaced(given: bytes) -> None:
    first, second = (request_id_of({"headers": [(b"x-request-id", given)]}) for _ in range(2))
    assert first != second
    assert len(first) == 32


def test_without_one_each_request_gets_its_own() -> None:
    assert request_id_of({"headers": []}) != request_id_of({"headers": []})
