"""TCP ports of this machine: whether one is in use, and by which process."""

from __future__ import annotations

import socket


def listens(port: int) -> bool:
    """Whether a process accepts connections on this port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def holder_of(port: int) -> str:
    """A description of the process that listens on a port, as far as the system reveals it."""
    # pylint: disable-next=import-outside-toplevel  # needed only if a port is in use
    import psutil

    found: psutil.Process | None = None
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or connection.pid is None:
                continue
            if getattr(connection.laddr, "port", None) == port:
                found = psutil.Process(connection.pid)
                return f"{found.name()} (pid {found.pid}): {' '.join(found.cmdline())[:120]}"
    except psutil.Error:  # it belongs to another user (on macOS, to any user) or has just ended
        pass
    return f"pid {found.pid}" if found else "a process that this user may not inspect"
