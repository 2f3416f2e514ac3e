"""A service with one response, for deployments that check golden predictions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread

from domain.contract import Classes, ModelSpec, Number
from infrastructure.deployment.golden import Golden

SPEC = ModelSpec("iris", (Number("petal_length", "cm", 0, 30),), Classes(("setosa", "virginica")))
GOLDEN = Golden(SPEC, [[1.4]], [[0.9, 0.1]])


@contextmanager
def golden_service(
    version: str, setosa: float = 0.9, free: bool = True, start: Path | None = None
) -> Iterator[int]:
    """Serve predictions for `GOLDEN` on the port that is returned.

    Args:
        setosa: the predicted probability, 0.9 if it is right.
        free: whether it needs no key.
        start: a file; the service listens when it exists, and then removes it.
    """
    found = [{"probabilities": {"setosa": setosa, "virginica": 1 - setosa}}]
    body = json.dumps({"predictions": found, "version": version}).encode()

    class Handler(BaseHTTPRequestHandler):
        """Sends the response."""

        def do_POST(self) -> None:  # pylint: disable=invalid-name
            """Respond to a POST."""
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200 if free or self.headers["X-API-Key"] else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:  # pylint: disable=arguments-differ
            """Say nothing."""

    ended = Event()

    def serve() -> None:
        while start and not start.exists():
            if ended.wait(0.005):
                return
        if start:
            server.server_activate()
            start.unlink()
        while not ended.is_set():
            server.handle_request()

    with HTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False) as server:
        server.timeout = 0.01
        server.server_bind()
        if not start:
            server.server_activate()
        thread = Thread(target=serve)
        thread.start()
        try:
            yield server.server_port
        finally:
            ended.set()
            thread.join()
