"""Malformed and malicious requests: each is refused with the right status and does no harm.

After every test the same workers respond correctly to a valid request.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.strength import (
    JSON,
    Service,
    example_row,
    metric,
    request_of,
    send_raw,
    service_at,
    statuses,
)

MEBIBYTE = 2**20
MAX_BYTES, MAX_ROWS = 8 * MEBIBYTE, 10_000

GOOD = b"GET /livez HTTP/1.1\r\nhost: service\r\n\r\n"
HEADS: dict[str, bytes] = {
    "not a request": b"\x00\xff\xfe garbage\r\n\r\n",
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 500,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/3.0": GOOD.replace(b"1.1", b"3.0"),
    "HTTP/9": GOOD.replace(b"1.1", b"9"),
    "a lower-case method": GOOD.replace(b"GET", b"get"),
    "a method of two words": GOOD.replace(b"GET", b"GE T"),
    "CONNECT": b"CONNECT service:80 HTTP/1.1\r\nhost: service\r\n\r\n",
    "a header without a colon": GOOD.replace(b"host:", b"host"),
    "a header without a name": GOOD.replace(b"host:", b":"),
    "a space before the colon": GOOD.replace(b"host:", b"host :"),
    "a folded header": GOOD.replace(b"service", b"service\r\n more"),
    "a header with NUL": GOOD.replace(b"service", b"ser\x00vice"),
    "a path with NUL": GOOD.replace(b"livez", b"li\x00vez"),
    "a path in Latin-1": GOOD.replace(b"livez", b"l\xefvez"),
    "a path of 100,000 letters": GOOD.replace(b"livez", b"a" * 100_000),
    "lines without carriage returns": GOOD.replace(b"\r\n", b"\n"),
}
LENGTHS: dict[str, list[bytes]] = {
    "negative": [b"-1"],
    "a word": [b"many"],
    "a fraction": [b"19.0"],
    "with a sign": [b"+19"],
    "hexadecimal": [b"0x13"],
    "with an underscore": [b"1_9"],
    "empty": [b""],
    "a list": [b"19, 19"],
    "of 23 digits": [b"9" * 23],
    "of 5,000 digits": [b"9" * 5000],
    "twice the same": [b"19", b"19"],
    "two lengths": [b"19", b"5"],
}
CHUNKED = b"transfer-encoding: chunked"
CHUNKS: dict[str, bytes] = {
    "not a number": b"zz\r\n[]\r\n0\r\n\r\n",
    "negative": b"-2\r\n[]\r\n0\r\n\r\n",
    "endless": b"f" * 20 + b"\r\n[]",
    "without a line break after it": b"2\r\n[]XX0\r\n\r\n",
}
DEEP = 100_000
BODIES: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \r\n\t ",
    "not JSON": b"5.1, 3.5",
    "truncated": b"[[5.1, 3.",
    "two values": b"[[1]] [[2]]",
    "a trailing comma": b"[[5.1, 3.5, 1.4, 0.2],]",
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep and truncated": b"[" * DEEP,
    "deep where any value is allowed": b'{"instances":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "1e400": b"[[1e400, 1, 1, 1]]",
    "-1e400": b"[[-1e400, 1, 1, 1]]",
    "5,000 digits": b"[[" + b"9" * 5000 + b", 1, 1, 1]]",
    "an exponent of 5,000 digits": b"[[1e" + b"9" * 5000 + b", 1, 1, 1]]",
    "NaN": b"[[NaN, 1, 1, 1]]",
    "Infinity": b"[[Infinity, -Infinity, 1, 1]]",
    "nulls": b"[[null, null, null, null]]",
    "strings": b'[["5.1", "3.5", "1.4", "0.2"]]',
    "booleans": b"[[true, false, true, false]]",
    "no rows": b"[]",
    "an empty row": b"[[]]",
    "an empty object": b"{}",
    "null": b"null",
    "a number": b"17",
    "a string": b'"[[5.1,3.5,1.4,0.2]]"',
    "half a surrogate pair": b'{"\\ud800": "\\udfff", "request_id": "\\ud800"}',
    "invalid UTF-8": b'{"request_id": "\xff\xfe\xc0\x80", "actual_class": "a"}',
    "UTF-16": "[[5.1, 3.5, 1.4, 0.2]]".encode("utf-16"),
    "NUL": b"\x00" * 100,
    "NUL in a string": b'{"request_id": "\\u0000", "actual_class": "\\u0000"}',
    "a string of a mebibyte": b'{"request_id": "' + b"a" * MEBIBYTE + b'", "actual_class": "a"}',
    "100,000 keys": json.dumps({str(key): key for key in range(100_000)}).encode(),
}
KINDS = {
    "HTML": b"text/html",
    "XML": b"application/xml",
    "a form with files": b"multipart/form-data; boundary=x",
    "an image": b"image/png",
    "not text": b"\xff\xfe",
    "60,000 letters": b"a" * 60_000,
}


@pytest.fixture(scope="module", name="good")
def _good(service_url: str) -> bytes:
    """A valid body."""
    return json.dumps([example_row(service_url)]).encode()


@pytest.fixture(scope="module", name="port")
def _port(service_url: str) -> int:
    return httpx.URL(service_url).port or 80


def _predictions(url: str, body: bytes) -> Any:
    response = httpx.post(f"{url}/predict", content=body)
    assert response.status_code == 200, response.text
    return response.json()["predictions"]


@pytest.fixture(scope="module", name="expected", autouse=True)
def _expected(service_url: str, good: bytes) -> Iterator[Any]:
    """Predictions for the valid body; afterwards, no internal error was counted."""
    errors = metric(service_url, "ml_prediction_errors_total", error_type="internal")
    yield _predictions(service_url, good)
    assert metric(service_url, "ml_prediction_errors_total", error_type="internal") == errors


@pytest.fixture(autouse=True)
def _unharmed(service_url: str, good: bytes, expected: Any) -> Iterator[None]:
    """After each test, the same workers make the same predictions."""
    service = service_at(service_url)
    workers = service.workers() if service else []
    yield
    assert _predictions(service_url, good) == expected
    assert (service.workers() if service else []) == workers


@pytest.fixture(scope="module", name="paths")
def _paths(service_url: str) -> list[str]:
    """Every path that accepts a body."""
    document = httpx.get(f"{service_url}/docs.json").json()
    return [path for path, methods in document["paths"].items() if "post" in methods]


@pytest.mark.parametrize("sent", HEADS.values(), ids=HEADS.keys())
def test_a_head_that_is_not_http_gets_a_400(port: int, sent: bytes) -> None:
    assert statuses(send_raw(port, [sent])) == [400]


@pytest.mark.parametrize("values", LENGTHS.values(), ids=LENGTHS.keys())
def test_an_invalid_content_length_gets_a_400(port: int, good: bytes, values: list[bytes]) -> None:
    lengths = [b"content-length: " + value for value in values]
    request = request_of("/predict", good, JSON, *lengths, length=False)
    assert statuses(send_raw(port, [request])) == [400]


def test_leading_zeros_of_a_content_length_do_no_harm(port: int, good: bytes) -> None:
    length = b"content-length: " + b"0" * 5000 + b"%d" % len(good)
    received = send_raw(port, [request_of("/predict", good, JSON, length, length=False)])
    assert statuses(received) in ([200], [400])


def test_a_content_length_with_chunks_gets_a_400(port: int) -> None:
    body = b"2\r\n[]\r\n0\r\n\r\n" + GOOD  # request smuggling
    assert statuses(send_raw(port, [request_of("/predict", body, JSON, CHUNKED)])) == [400]


@pytest.mark.parametrize("body", CHUNKS.values(), ids=CHUNKS.keys())
def test_an_invalid_chunk_gets_a_400(port: int, body: bytes) -> None:
    request = request_of("/predict", body, JSON, CHUNKED, length=False)
    assert statuses(send_raw(port, [request])) == [400]


@pytest.mark.parametrize("body", [b"64\r\n[[5.1", b"", b"8\r\n[[5.1, 3\r\n"])
def test_truncated_chunks_get_no_response(port: int, body: bytes) -> None:
    request = request_of("/predict", body, JSON, CHUNKED, length=False)
    assert send_raw(port, [request], half=True) == b""


def test_a_truncated_body_gets_no_response(port: int, good: bytes) -> None:
    request = request_of("/predict", good, JSON)
    assert send_raw(port, [request[:-3]], half=True) == b""


def test_bytes_after_the_content_length_are_not_part_of_the_request(port: int, good: bytes) -> None:
    request = request_of("/predict", good, JSON, keep=True)
    assert set(statuses(send_raw(port, [request + b"more\r\n\r\n"], half=True))) <= {200, 400}


def test_a_huge_head_gets_a_431(port: int, good: bytes) -> None:
    request = request_of("/predict", good, JSON, b"more: " + b"x" * MEBIBYTE)
    assert statuses(send_raw(port, [request])) == [431]


def test_chunks_form_one_body(port: int, good: bytes) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in good) + b"0\r\nmore: after\r\n\r\n"
    request = request_of("/predict", chunks, JSON, CHUNKED, length=False)
    assert statuses(send_raw(port, [request])) == [200]


def test_a_request_sent_byte_by_byte_is_accepted(port: int, good: bytes) -> None:
    request = request_of("/predict", good, JSON)
    assert statuses(send_raw(port, (bytes([byte]) for byte in request))) == [200]


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_http_1_0_and_1_1_are_accepted(port: int, good: bytes, version: bytes) -> None:
    request = request_of("/predict", good, JSON, version=version)
    assert statuses(send_raw(port, [request])) == [200]


def test_pipelined_requests_get_responses_in_order(port: int, good: bytes) -> None:
    first = request_of("/predict", good, JSON, b"x-request-id: first", keep=True)
    bad = request_of("/predict", b"[[", JSON, b"x-request-id: bad", keep=True)
    last = request_of("/predict", good, JSON, b"x-request-id: last")
    received = send_raw(port, [first + bad + last])
    assert statuses(received) == [200, 400, 200]
    positions = [received.index(b"x-request-id: " + name) for name in (b"first", b"bad", b"last")]
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *(("/%70redict", 200), ("/predict?rows=%zz", 200), ("http://service/predict", 200)),
        *(("/predict/", 404), ("//predict", 404), ("/PREDICT", 404), ("/%", 404), ("/%ff", 404)),
        *(("/predict%00", 404), ("/%2e%2e/predict", 404), ("/../../etc/passwd", 404)),
        *(("/static_content/..%2f..%2f..%2fapp.py", 404), ("/static_content/../../app.py", 404)),
        *(("/static_content/%00", 404), (f"/static_content/{'a' * 300}", 404)),
    ],
)
def test_only_the_exact_path_is_served(port: int, good: bytes, path: str, status: int) -> None:
    found = statuses(send_raw(port, [request_of(path, good, JSON)]))
    assert found == [status] or (status == 404 and found == [405])


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_get_a_405(service_url: str, method: str) -> None:
    response = httpx.request(method, f"{service_url}/predict")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_other_content_types_get_a_415(port: int, good: bytes, kind: bytes) -> None:
    request = request_of("/predict", good, b"content-type: " + kind)
    assert statuses(send_raw(port, [request])) == [415]


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_an_invalid_body_is_refused_on_every_path(
    service_url: str, paths: list[str], body: bytes
) -> None:
    with httpx.Client(base_url=service_url, timeout=30) as client:
        for path in paths:
            if path == "/health_check" or (path == "/get_metrics_summary" and body in (b"", b"{}")):
                continue  # the body is optional
            kind = "application/x-ndjson" if path == "/predict_lines" else "application/json"
            response = client.post(path, content=body, headers={"content-type": kind})
            if path == "/predict_lines" and response.status_code == 200:
                assert all("error" in json.loads(line) for line in response.text.splitlines())
                continue
            assert response.status_code in (400, 404, 413, 422), f"{path}: {response.text[:300]}"
            assert len(response.content) < 2000
            assert response.json()


def test_a_byte_order_mark_causes_no_internal_error(service_url: str, good: bytes) -> None:
    response = httpx.post(f"{service_url}/predict", content=b"\xef\xbb\xbf" + good)
    assert response.status_code in (200, 400)


def test_a_body_above_the_largest_size_gets_a_413(service_url: str, good: bytes) -> None:
    largest = good + b" " * (MAX_BYTES - len(good))
    assert httpx.post(f"{service_url}/predict", content=largest).status_code == 200
    assert httpx.post(f"{service_url}/predict", content=largest + b" ").status_code == 413


def test_a_too_large_content_length_gets_a_413_before_the_body_is_read(port: int) -> None:
    for length in (MAX_BYTES + 1, 2**63 - 1, 2**64 - 1):
        header = b"content-length: %d" % length
        received = send_raw(port, [request_of("/predict", b"", JSON, header, length=False)])
        assert statuses(received) == [413]


def test_endless_chunks_get_a_413_once_they_are_too_large(port: int) -> None:
    head = request_of("/predict", b"", JSON, CHUNKED, length=False)
    chunk = b"100000\r\n" + b" " * MEBIBYTE + b"\r\n"
    assert statuses(send_raw(port, [head, *[chunk] * 9])) in ([413], [])  # reset while sending


def test_compressed_bodies_get_a_415_before_they_are_read(port: int) -> None:
    bomb = gzip.compress(b" " * 64 * MEBIBYTE)
    for coding in (b"gzip", b"br", b"deflate", b"zstd", b"gzip, gzip"):
        head = request_of("/predict", bomb, JSON, b"content-encoding: " + coding)[: -len(bomb)]
        assert statuses(send_raw(port, [head])) == [415]


@pytest.mark.parametrize(("rows", "status"), [(MAX_ROWS, 200), (MAX_ROWS + 1, 413)])
def test_too_many_rows_get_a_413(service_url: str, good: bytes, rows: int, status: int) -> None:
    body = json.dumps(json.loads(good) * rows)
    response = httpx.post(f"{service_url}/predict", content=body, timeout=30)
    assert response.status_code == status


def test_memory_stays_flat_while_requests_are_refused(
    service_url: str, port: int, good: bytes
) -> None:
    service: Service | None = service_at(service_url)
    if service is None:
        pytest.skip("the service was not started by this test")

    requests = [*HEADS.values(), request_of("/predict", good, b"content-encoding: gzip")]
    requests += [request_of("/predict", body, JSON) for body in BODIES.values()]
    requests += [request_of("/predict_json", body, JSON) for body in BODIES.values()]

    def send_all() -> int:
        for request in requests * 20:
            send_raw(port, [request])
        return service.memory()

    before = send_all()  # caches are full now
    assert send_all() - before < 20 * sum(map(len, requests)) / 8


def test_unknown_paths_add_no_metrics(service_url: str) -> None:
    with httpx.Client(base_url=service_url) as client:
        before = len(client.get("/metrics").content)
        for number in range(200):
            assert client.get(f"/nothing-{number}").status_code == 404
            assert client.post(f"/static_content/nothing-{number}").status_code in (404, 405)
        assert len(client.get("/metrics").content) < before + 20_000
