"""Runs the project's commands in processes that have imported everything already.

Imports take 2 to 4 s of CPU per command, most of the time of the tests of the chain. A server
imports once and forks for each command. A client replaces Python in ``make PY=…``: it passes its
arguments, environment, working directory and standard streams to the server, forwards signals, and
exits with the status of the command. Tests of processes, such as killing them, start Python
themselves.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from shared import startup
from shared.paths import ROOT

OFFLINE = ROOT / "tests/offline"
CLIENT = """#!{python} -IS
import json, os, signal, socket, sys

arguments = sys.argv[1:]
if arguments[:2] != ["-m", "infrastructure.cli"] and arguments[0] not in {scripts!r}:
    os.execv({python!r}, [{python!r}, *arguments])
server = socket.socket(socket.AF_UNIX)
server.connect({socket!r})
request = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
server.sendall(request)
process = int.from_bytes(server.recv(8), "big")
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: os.kill(process, number))
sys.exit(server.recv(1)[0])
"""
SCRIPTS = (
    "application/training/pipelines/iris_training_pipeline.py",
    "application/validation/model_validation/validate_model.py",
)
MODULES = (
    *("mlflow.tracking", "mlflow.models", "mlflow.store.tracking.sqlalchemy_store"),
    *("sklearn.ensemble", "skl2onnx", "matplotlib.backends.backend_agg", "bentoml.bentos"),
    *("infrastructure.cli._training", "infrastructure.cli.validate", "infrastructure.cli.deploy"),
)


@cache
def warm_python(root: Path) -> str:
    """The path of a client; its server runs in a clone, and ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    address = folder / "socket"
    server = subprocess.Popen(  # pylint: disable=consider-using-with  # ended at exit
        [sys.executable, "-m", "tests.warm", address],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(OFFLINE), str(root)))},
        stdin=subprocess.DEVNULL,
    )
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.terminate)
    client = folder / "python"
    text = CLIENT.format(python=sys.executable, socket=str(address), scripts=SCRIPTS)
    client.write_text(text, encoding="utf-8")
    client.chmod(0o755)
    while not address.exists():
        if server.poll() is not None:
            raise RuntimeError("the server of commands has ended")
        time.sleep(0.05)
    return str(client)


def _serve(address: str) -> NoReturn:
    for module in MODULES:
        import_module(module)
    assert threading.active_count() == 1, "a fork would lose a thread"
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{address}.new")
        listener.listen(64)
        os.rename(f"{address}.new", address)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # handlers are not waited for
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _handle(connection)
            connection.close()


def _handle(connection: socket.socket) -> NoReturn:
    """Run one command in a child, and send its process id and exit status."""
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    request = b""
    while len(request) < int.from_bytes(size, "big"):
        request += connection.recv(2**20)
    process = os.fork()
    if process == 0:
        connection.close()
        _run(*json.loads(request), streams)
    connection.sendall(process.to_bytes(8, "big"))
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    connection.sendall(bytes([code if code >= 0 else 128 - code]))
    os._exit(0)


def _run(
    arguments: list[str], folder: str, environ: dict[str, str], streams: list[int]
) -> NoReturn:
    code: object = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(number, mode, buffering=1, encoding="utf-8", closefd=False)
            for number, mode in enumerate(("r", "w", "w"))
        )
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environ)
        startup.prepare()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        if arguments[0] == "-m":
            sys.argv[1:] = arguments[2:]
            code = import_module("infrastructure.cli.__main__").main()
        else:
            sys.argv[:] = arguments
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # pylint: disable=broad-exception-caught  # as the interpreter does
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    _serve(sys.argv[1])
