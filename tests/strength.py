"""Processes of a service, and raw requests that client libraries do not send."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
from hypothesis import settings

JSON = b"content-type: application/json"
TIMEOUT = 30.0  # seconds
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


@dataclass(frozen=True)
class Service:
    """A service that this process has started.

    Attributes:
        supervisor: the process whose children are the workers.
    """

    url: str
    supervisor: psutil.Process

    @property
    def port(self) -> int:
        """The port of the service."""
        return _port(self.url)

    def workers(self) -> list[psutil.Process]:
        """The live workers, oldest first."""
        children = self.supervisor.children()
        return sorted(
            (child for child in children if child.status() != psutil.STATUS_ZOMBIE),
            key=lambda worker: worker.create_time(),
        )

    def connections(self, worker: psutil.Process) -> int:
        """Number of connections of a worker."""
        return sum(
            connection.status == psutil.CONN_ESTABLISHED and connection.laddr.port == self.port
            for connection in worker.net_connections("tcp")
        )

    def memory(self) -> int:
        """Resident bytes of all workers."""
        return sum(worker.memory_info().rss for worker in self.workers())


def examples(full: int) -> int:
    """Number of examples for a property test: all with `--nightly`, else a fifth."""
    return full if settings.get_current_profile_name() == "nightly" else full // 5


def service_at(url: str) -> Service | None:
    """The service at a URL; None if it is not a child of this process."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any(
                connection.status == psutil.CONN_LISTEN and connection.laddr.port == _port(url)
                for connection in child.net_connections("tcp")
            ):
                return Service(url, child)
    return None


def _port(url: str) -> int:
    return httpx.URL(url).port or 80


def request_of(
    path: str,
    body: bytes,
    *lines: bytes,
    method: bytes = b"POST",
    version: bytes = b"1.1",
    keep: bool = False,
    length: bool = True,
) -> bytes:
    """The bytes of an HTTP request.

    Args:
        lines: further header lines.
        keep: whether the connection stays open.
        length: whether to send a content length.
    """
    head = [method + b" " + path.encode("latin-1") + b" HTTP/" + version, b"host: service", *lines]
    if not keep:
        head.append(b"connection: close")
    if length:
        head.append(b"content-length: %d" % len(body))
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def send_raw(port: int, parts: Iterable[bytes], half: bool = False) -> bytes:
    """Send parts of requests, and return all bytes until the connection ends.

    Args:
        half: whether to close the sending side afterwards.
    """
    received = b""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
            if half:
                connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                received += part
    return received


@dataclass(frozen=True)
class Response:
    """One HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes


async def read_response(reader: asyncio.StreamReader) -> Response:
    """The next response on a connection; it must have a content length."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")[:-2]
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Response(int(first.split()[1]), headers, body)


def statuses(received: bytes) -> list[int]:
    """The status of each response."""
    return [int(status) for status in _STATUS.findall(received)]


def example_row(url: str) -> list[Any]:
    """A valid row for a service: the example in its OpenAPI document."""
    paths = httpx.get(f"{url}/docs.json").json()["paths"]
    body = paths["/predict"]["post"]["requestBody"]["content"]["application/json"]
    row: list[Any] = body["schema"]["example"][0]
    return row


def metric(url: str, name: str, **labels: str) -> float:
    """Sum of the samples of a metric with these labels."""
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in httpx.get(f"{url}/metrics").text.splitlines()
        if line.startswith(f"{name}{{") and _has_labels(line, labels)
    )


def _has_labels(line: str, labels: Mapping[str, str]) -> bool:
    return all(f'{label}="{value}"' in line for label, value in labels.items())
