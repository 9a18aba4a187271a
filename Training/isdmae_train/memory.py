"""How a process that trains asks for memory."""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Names of glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, instead of giving it back and clearing it anew.

    A step frees and asks for the same gigabytes again; glibc would hand each large piece back to
    the system, which fills it with zeros page by page: on CPUs a step is 1.2 to 2 times as fast
    without that. It holds for the whole process. Settings in the environment go before these.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # glibc has it, musl has not
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        library.mallopt(M_TOP_PAD, 256 * 2**20)
