"""Which process uses a port."""

from __future__ import annotations

import os
import socket

from shared.ports import holder_of, listens


def test_the_process_that_listens_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"(pid {os.getpid()})" in holder_of(port)
    assert "may not inspect" in holder_of(port)


def test_a_port_listens_while_its_server_does() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listens(port)
    assert not listens(port)
