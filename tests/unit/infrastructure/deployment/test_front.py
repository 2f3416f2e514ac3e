"""The front forwards bytes to the release that its state file names."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from infrastructure.deployment import front as front_module
from infrastructure.deployment.front import (
    OTHER_DESCRIPTORS,
    Canary,
    Client,
    Clients,
    CurrentRelease,
    ErrorLog,
    Routes,
    introduction,
    run,
)
from infrastructure.deployment.logs import LOG_BYTES
from shared.files import write_atomically
from shared.paths import ROOT
from tests.served import free_port

SECONDS = 10.0
MEBIBYTE = 2**20


class Echo(socketserver.BaseRequestHandler):
    """Sends the release's name, then echoes until the client stops sending, or sends "leave"."""

    def handle(self) -> None:
        self.request.sendall(self.server.name)  # type: ignore[attr-defined]
        while data := self.request.recv(65536):
            if data == b"leave":
                return
            self.request.sendall(data)
        time.sleep(self.server.linger)  # type: ignore[attr-defined]
        with suppress(ConnectionError):
            self.request.sendall(b"<end>")


class Release(socketserver.ThreadingTCPServer):
    """A release on a free port that echoes."""

    daemon_threads = True
    linger = 0.0  # seconds from the end of a client to the end of the connection
    request_queue_size = 128

    def __init__(self, name: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Echo)
        self.name = name
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])


@dataclass
class Front:
    """The process of a front."""

    process: subprocess.Popen[bytes]
    port: int
    state: Path
    log: Path

    def connect(self) -> socket.socket:
        """A new connection through the front."""
        return socket.create_connection(("127.0.0.1", self.port), SECONDS)

    def serve(self, port: int, canary: int | None = None, share: int = 100) -> None:
        """Switch to the release on this port, with a canary on another."""
        write_atomically(self.state, json.dumps(state_of(port, canary, share)))


def state_of(port: int, canary: int | None = None, share: int = 100) -> dict[str, object]:
    """The content of a state file."""
    release = {"port": canary, "version": "2"}
    tried = {"release": release, "share": share, "header": ""} if canary else None
    return {"port": port, "canary": tried}


def head_of(*headers: str, method: str = "POST", end: str = "\r\n") -> bytes:
    """The head of a request."""
    return end.join([f"{method} /predict HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def read(connection: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes, or fewer if the connection ended."""
    received = b""
    while len(received) < size and (data := connection.recv(size - len(received))):
        received += data
    return received


@pytest.fixture(name="releases")
def _releases() -> Iterator[tuple[Release, Release]]:
    with Release(b"old") as old, Release(b"new") as new:
        yield old, new
        old.shutdown()
        new.shutdown()


@contextmanager
def front_process(folder: Path, port: int, descriptors: int | None = None) -> Iterator[Front]:
    """A running front with the release on this port behind it.

    Args:
        descriptors: limit of its open files.
    """
    own, state, log = free_port(), folder / "current.json", folder / "front.log"
    command = [sys.executable, "-m", "infrastructure.deployment.front"]
    limit = ["prlimit", f"--nofile={descriptors}"] if descriptors else []
    write_atomically(state, json.dumps(state_of(port)))
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [*limit, *command, "--port", str(own), "--state", str(state)], cwd=ROOT, stderr=errors
        ) as process,
    ):
        front = Front(process, own, state, log)
        try:
            deadline = time.monotonic() + SECONDS
            while process.poll() is None and time.monotonic() < deadline:
                try:
                    front.connect().close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.01)
            yield front
        finally:
            process.kill()


@pytest.fixture(name="front")
def _front(tmp_path: Path, releases: tuple[Release, Release]) -> Iterator[Front]:
    """A running front with the old release behind it."""
    with front_process(tmp_path, releases[0].port) as front:
        yield front


def test_bytes_pass_both_ways_unchanged(front: Front) -> None:
    sent = os.urandom(1_000_000)
    with closing(front.connect()) as connection:
        assert read(connection, 3) == b"old"
        sender = threading.Thread(target=connection.sendall, args=(sent,))
        sender.start()
        assert read(connection, len(sent)) == sent
        sender.join(SECONDS)


def test_a_client_that_closed_its_sending_side_gets_a_response(front: Front) -> None:
    with closing(front.connect()) as connection:
        connection.sendall(b"question")
        connection.shutdown(socket.SHUT_WR)
        assert read(connection, 100) == b"oldquestion<end>"


def test_new_connections_follow_the_state_file_and_open_ones_stay(
    front: Front, releases: tuple[Release, Release]
) -> None:
    with closing(front.connect()) as before:
        assert read(before, 3) == b"old"
        front.serve(releases[1].port)
        with closing(front.connect()) as after:
            assert read(after, 3) == b"new"
        before.sendall(b"still here")
        assert read(before, 10) == b"still here"


def test_many_connections_are_served_at_once(front: Front) -> None:
    connections = [front.connect() for _ in range(50)]
    for number, connection in enumerate(connections):
        connection.sendall(b"%02d" % number)
    answers = [read(connection, 5) for connection in reversed(connections)]
    for connection in connections:
        connection.close()
    assert answers == [b"old%02d" % number for number in reversed(range(50))]


def test_clients_that_leave_before_the_release_leave_nothing_in_the_log(
    front: Front, releases: tuple[Release, Release]
) -> None:
    releases[0].linger = 0.2
    for _ in range(300):
        with closing(front.connect()) as connection:
            assert read(connection, 3) == b"old"
    front.process.terminate()
    assert front.process.wait(SECONDS) == 0
    assert front.log.read_bytes() == b""


def test_a_release_that_does_not_listen_costs_its_connection_and_not_the_front(
    front: Front, releases: tuple[Release, Release]
) -> None:
    front.serve(free_port())
    with closing(front.connect()) as connection:
        assert read(connection, 1) == b""
    front.serve(releases[1].port)
    with closing(front.connect()) as connection:
        assert read(connection, 3) == b"new"


def test_a_state_file_that_is_gone_costs_the_connection_and_not_the_front(
    front: Front, releases: tuple[Release, Release]
) -> None:
    front.state.unlink()
    with closing(front.connect()) as connection:
        assert read(connection, 1) == b""
    front.serve(releases[1].port)
    with closing(front.connect()) as connection:
        assert read(connection, 3) == b"new"


@pytest.mark.parametrize(
    "content",
    [
        *("", "{}", "[]", '{"port": null}', '{"port": 1e400}', '{"port": 70000}', '{"port": 0}'),
        *('{"port":1,"canary":[]}', "[" * 100_000),
        '{"port":1,"canary":{"release":{"port":1,"version":"2"},"share":1e999,"header":""}}',
        '{"port":1,"canary":{"release":{"port":1,"version":"2"},"share":1,"header":"\\ud800"}}',
    ],
)
def test_the_last_release_keeps_serving_if_the_state_file_is_damaged(
    front: Front, releases: tuple[Release, Release], content: str
) -> None:
    with closing(front.connect()) as connection:
        assert read(connection, 3) == b"old"
    front.state.write_text(content, encoding="utf-8")
    for _ in range(3):
        with closing(front.connect()) as connection:
            assert read(connection, 3) == b"old"
    front.serve(releases[1].port)
    with closing(front.connect()) as connection:
        assert read(connection, 3) == b"new"
    assert front.log.read_text("utf-8").splitlines() == [
        f"error: {front.state} is damaged: run make deploy to replace it"
    ]


def test_a_front_that_starts_with_a_damaged_state_file_waits_for_a_right_one(
    tmp_path: Path, releases: tuple[Release, Release]
) -> None:
    state = tmp_path / "current.json"
    state.write_text("", encoding="utf-8")
    release = CurrentRelease(state)
    with pytest.raises(ConnectionError, match="no release is known"):
        release.routes()
    state.write_text(json.dumps({"port": releases[0].port}), encoding="utf-8")
    assert release.routes().port == releases[0].port


def test_a_port_in_use_is_reported_in_one_line(front: Front) -> None:
    command = [sys.executable, "-m", "infrastructure.deployment.front", "--port", str(front.port)]
    done = subprocess.run(
        [*command, "--state", str(front.state)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: port {front.port}: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("is_open", [False, True])
def test_the_front_ends_on_sigterm_whether_connections_are_open_or_not(
    front: Front, is_open: bool
) -> None:
    with closing(front.connect()) as connection:
        assert read(connection, 3) == b"old"
        if not is_open:
            connection.close()
        front.process.send_signal(signal.SIGTERM)
        assert front.process.wait(5) == 0
    with pytest.raises(ConnectionRefusedError):
        front.connect()


def test_a_canary_gets_its_share_of_the_connections_and_no_more() -> None:
    canary, head = Canary(2, "2", 10, ""), head_of()
    got = sum(canary.gets(head) for _ in range(5000))
    assert 350 < got < 650  # seven standard deviations


@pytest.mark.parametrize(
    "head",
    [
        head_of(method="GET"),
        head_of(method="HEAD"),
        head_of("X-Synthetic: smoke"),
        head_of("x-synthetic:load", end="\n"),
        b"",
        b"POS",
    ],
)
def test_only_requests_that_may_be_predictions_go_to_a_canary(head: bytes) -> None:
    assert Canary(2, "2", 100, "").gets(head_of("X-Other: X-Synthetic: 1"))
    assert not any(Canary(2, "2", 100, "").gets(head) for _ in range(20))


def test_a_caller_stays_with_one_release_and_a_larger_share_has_the_same_callers() -> None:
    heads = [head_of(f"X-API-Key: caller-{number}") for number in range(2000)]
    small, large = Canary(2, "2", 10, "x-api-key"), Canary(2, "2", 25, "x-api-key")
    first = [small.gets(head) for head in heads]
    assert first == [small.gets(head) for head in heads]
    assert 140 < sum(first) < 260
    second = [large.gets(head) for head in heads]
    assert 400 < sum(second) < 600
    assert all(now for before, now in zip(first, second, strict=True) if before)
    other = Canary(2, "3", 10, "x-api-key")
    assert [other.gets(head) for head in heads] != first
    spellings = [
        head_of("x-api-KEY:   caller-7  "),
        head_of("X-API-Key: caller-7", end="\n") + b"X-API-Key: of the body",
    ]
    assert {large.gets(head) for head in spellings} == {second[7]}
    assert not Canary(2, "2", 100, "X-API-Key").gets(head_of() + b"X-API-Key: of the body")


def test_a_request_reaches_the_canary_unchanged_and_a_page_the_current_release(
    front: Front, releases: tuple[Release, Release]
) -> None:
    old, new = releases
    front.serve(old.port, new.port)
    sent = head_of() + os.urandom(200_000)
    with closing(front.connect()) as connection:
        connection.sendall(sent[:20])  # the head may arrive in parts
        connection.sendall(sent[20:])
        assert read(connection, 3) == b"new"
        assert read(connection, len(sent)) == sent
    for first in (head_of(method="GET"), b""):
        with closing(front.connect()) as connection:
            connection.sendall(first)
            connection.shutdown(socket.SHUT_WR)
            assert read(connection, 1000) == b"old" + first + b"<end>"


def test_connections_of_a_dead_canary_go_to_the_current_release(
    front: Front, releases: tuple[Release, Release]
) -> None:
    front.serve(releases[0].port, free_port())
    for _ in range(3):
        with closing(front.connect()) as connection:
            connection.sendall(head_of())
            assert read(connection, 3) == b"old"
    (line,) = front.log.read_text("utf-8").splitlines()
    assert line.startswith("error: the canary 2 gets no connections: ")


async def _first_bytes(state: Path, *sent: bytes, between: Callable[[], object]) -> bytes:
    """What a client gets first through a front in this process.

    Args:
        sent: parts of what it sends.
        between: called before the last part.
    """
    clients = Clients(CurrentRelease(state), 10)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Client(clients), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for part in sent[:-1]:
            writer.write(part)
            await asyncio.sleep(0.05)
        between()
        writer.writelines(sent[-1:])
        with closing(writer):
            return await reader.readexactly(3)


def test_the_routes_are_those_after_the_head_has_arrived(
    tmp_path: Path, releases: tuple[Release, Release]
) -> None:
    state = tmp_path / "current.json"
    write_atomically(state, json.dumps(state_of(free_port(), free_port())))

    def switch() -> None:
        write_atomically(state, json.dumps(state_of(releases[1].port)))

    first = _first_bytes(state, b"POST ", head_of()[5:], between=switch)
    assert asyncio.run(first) == b"new"


def test_a_client_that_sends_nothing_gets_the_current_release(
    tmp_path: Path, releases: tuple[Release, Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "current.json"
    write_atomically(state, json.dumps(state_of(releases[0].port, releases[1].port)))
    monkeypatch.setattr(front_module, "HEAD_SECONDS", 0.05)
    assert asyncio.run(_first_bytes(state, between=lambda: None)) == b"old"


def test_a_release_that_asks_for_it_is_told_who_its_client_is(
    front: Front, releases: tuple[Release, Release]
) -> None:
    state = state_of(releases[0].port, releases[1].port)
    write_atomically(front.state, json.dumps({**state, "introduced": True}))
    for first, name in ((head_of(method="GET"), b"old"), (head_of(), b"new")):
        with closing(front.connect()) as connection:
            connection.sendall(first)
            connection.shutdown(socket.SHUT_WR)
            port = connection.getsockname()[1]
            line = b"PROXY TCP4 127.0.0.1 127.0.0.1 %d 0\r\n" % port if name == b"old" else b""
            assert read(connection, 1000) == name + line + first + b"<end>"


def test_a_client_is_introduced_by_host_and_port() -> None:
    assert introduction(("203.0.113.9", 7)) == b"PROXY TCP4 203.0.113.9 127.0.0.1 7 0\r\n"
    assert introduction(("2001:db8::1", 7, 0, 0)) == b"PROXY TCP6 2001:db8::1 ::1 7 0\r\n"


def test_the_front_leaves_a_client_whose_release_has_left(front: Front) -> None:
    with closing(front.connect()) as connection:
        assert read(connection, 3) == b"old"
        connection.sendall(b"leave")
        assert read(connection, 1) == b""


def test_a_full_front_drops_who_was_silent_for_longest(
    tmp_path: Path, releases: tuple[Release, Release]
) -> None:
    with front_process(tmp_path, releases[0].port, descriptors=OTHER_DESCRIPTORS + 2 * 30) as front:
        silent = [front.connect() for _ in range(100)]
        busy = [front.connect() for _ in range(29)]
        for connection in busy:
            connection.sendall(b"hello")
            assert read(connection, 8) == b"oldhello"
        assert all(_is_left(connection) for connection in silent[:-1])
        silent[-1].sendall(b"hello")
        assert read(silent[-1], 8) == b"oldhello"
        with closing(front.connect()) as refused:
            assert _is_left(refused)
        busy.pop().close()
        deadline = time.monotonic() + SECONDS
        while _is_left(connection := front.connect(), 3) and time.monotonic() < deadline:
            time.sleep(0.01)
        connection.sendall(b"hello")
        assert read(connection, 5) == b"hello"
        assert front.log.read_bytes() == b""
    for connection in (*silent, *busy):
        connection.close()


def _is_left(connection: socket.socket, size: int = 100) -> bool:
    """Whether a connection ends before it has received so much."""
    try:
        return len(read(connection, size)) < size
    except ConnectionResetError:
        return True


def test_clients_that_reset_at_once_leave_nothing_open(front: Front) -> None:
    write_atomically(front.state, front.state.read_text("utf-8").replace("}", ', "introduced": 1}'))
    process = psutil.Process(front.process.pid)
    before = process.num_fds()
    for _ in range(200):
        connection = front.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    deadline = time.monotonic() + SECONDS
    while process.num_fds() > before + 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.num_fds() <= before + 5
    assert front.log.read_bytes() == b""


@pytest.mark.parametrize("canary", [False, True])
@pytest.mark.parametrize("backlog", [0, 100])
def test_a_release_that_reads_nothing_stops_its_client(
    tmp_path: Path, canary: bool, backlog: int
) -> None:
    """It accepts the connection, or not even that; the front keeps no more than its buffers."""
    with ExitStack() as opened:
        stuck = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=backlog))
        port = stuck.getsockname()[1]
        if not backlog:  # fill the queue of the kernel
            for _ in range(2):
                waiting = opened.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.1", port))
        front = opened.enter_context(front_process(tmp_path, port))
        if canary:
            front.serve(port, port)
        process = psutil.Process(front.process.pid)
        before = process.memory_info().rss
        connection = opened.enter_context(front.connect())
        connection.settimeout(0.5)
        sent, piece = 0, head_of() + b"x" * MEBIBYTE
        with suppress(TimeoutError):
            while sent < 100 * MEBIBYTE:
                sent += connection.send(piece)
        assert sent < 50 * MEBIBYTE  # the kernel's buffers, too
        assert process.memory_info().rss - before < 10 * MEBIBYTE


def test_the_front_limits_the_logs_of_its_environment(
    tmp_path: Path, releases: tuple[Release, Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_module, "LOG_SECONDS", 0.01)
    log, state = tmp_path / "front.log", tmp_path / "current.json"
    write_atomically(state, json.dumps(state_of(releases[0].port)))
    with log.open("wb") as written:
        written.truncate(LOG_BYTES + 1)

    async def serve() -> None:
        serving = asyncio.create_task(run("127.0.0.1", free_port(), state))
        deadline = time.monotonic() + SECONDS
        while log.stat().st_size and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        serving.cancel()

    asyncio.run(serve())
    assert (log.stat().st_size, (tmp_path / "front.log.1").stat().st_size) == (0, LOG_BYTES + 1)


def test_an_unexpected_error_is_logged_once(capfd: pytest.CaptureFixture[str]) -> None:
    errors = ErrorLog()
    for message in ("accept failed", "accept failed", "read failed"):
        errors.log(None, {"message": message, "exception": OSError(24, "Too many open files")})
    errors.log(None, {"message": "accept failed"})
    reason = "OSError(24, 'Too many open files')"
    assert capfd.readouterr().err.splitlines() == [
        f"error: accept failed: {reason}",
        f"error: read failed: {reason}",
    ]


def test_a_state_of_an_older_version_has_no_canary() -> None:
    assert Routes.from_state({"port": 1, "version": "1"}) == Routes(1)
