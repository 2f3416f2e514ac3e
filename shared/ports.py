"""TCP ports of this machine: whether one is in use, and by whom."""

from __future__ import annotations

import socket


def listens(port: int) -> bool:
    """Whether a process accepts connections on a port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def holder_of(port: int) -> str:
    """The process that listens on a port, in words; the system may not tell."""
    # pylint: disable-next=import-outside-toplevel  # needed only when a port is taken
    import psutil

    found: psutil.Process | None = None
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or connection.pid is None:
                continue
            if getattr(connection.laddr, "port", None) == port:
                found = psutil.Process(connection.pid)
                return f"{found.name()} (pid {found.pid}): {' '.join(found.cmdline())[:120]}"
    except psutil.Error:  # of another user, on macOS of anybody, or it has just ended
        pass
    return f"pid {found.pid}" if found else "a process that this user may not look at"
