"""Ends a process that looks up or connects to another host: what tests start is offline.

Python imports this module at start where its folder is on PYTHONPATH.
"""

import os
import socket
import sys

_THIS_HOST = ("", "localhost", "0.0.0.0", "::", "::1", socket.gethostname())


def _refuse_other_hosts(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    name = host.decode() if isinstance(host, bytes) else str(host or "")
    if name not in _THIS_HOST and not name.startswith("127."):
        print(f"this process is offline and must not connect to {name}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(99)  # an exception would be swallowed where usage is reported


sys.addaudithook(_refuse_other_hosts)
