"""Threads that share one arena, in a process of their own."""

import os
import platform
import subprocess
import sys

import pytest

ARENAS = """
import ctypes, sys
from threading import Barrier, Thread
from infrastructure.serving.allocator import share_one_arena

if sys.argv[1:]:
    share_one_arena()
libc, together = ctypes.CDLL(None), Barrier(4)

def allocate():
    together.wait()
    libc.malloc(50_000)
    together.wait()

threads = [Thread(target=allocate) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
"""


def _arenas(*arguments: str) -> int:
    """Number of arenas of a process with four threads that allocate at the same time."""
    found = subprocess.run(
        [sys.executable, "-c", ARENAS, *arguments],
        env={key: value for key, value in os.environ.items() if key != "MALLOC_ARENA_MAX"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return found.stdout.count("<heap nr=")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
def test_threads_share_one_arena() -> None:
    assert _arenas() == 5
    assert _arenas("shared") == 1
