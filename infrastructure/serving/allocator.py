"""How a server's C library allocates memory."""

import ctypes
import os
import platform

_M_ARENA_MAX = -8  # mallopt(3)


def share_one_arena() -> None:
    """Let threads that start from now on allocate from one arena.

    By default, glibc gives each thread an arena of its own, and each arena keeps the largest amount
    of memory that its thread ever needed. MALLOC_ARENA_MAX of the environment takes precedence;
    other C libraries are left as they are.
    """
    if "MALLOC_ARENA_MAX" not in os.environ and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
