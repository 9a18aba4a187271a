"""One process at a time works in a folder; the system lets go when it ends, however it ends."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from isdmae.errors import InputError

LOCK = ".lock"
BEHIND = 1 << 20
"""Where Windows locks a byte: one that nobody reads, so that others can read who holds it."""
_held: set[Path] = set()


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep an existing folder to this process; claims within one another are one.

    Raises
    ------
    InputError
        ``in-use`` where another process works there.
    """
    place = folder.resolve() / LOCK
    if place in _held:
        yield
        return
    with place.open("ab+") as file:
        if not _lock(file):
            file.seek(0)
            owner = file.read(200).decode("utf-8", "replace").strip() or "it does not say which"
            raise InputError(
                "in-use",
                f"Another process works in {folder} ({owner}).",
                "Wait for its end, stop it, or choose another output folder.",
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} of {platform.node()}\n".encode())
        file.flush()
        _held.add(place)
        try:
            yield
        finally:
            _held.discard(place)


def _lock(file: BinaryIO) -> bool:
    """Lock a file that stays open; False where another process holds it.

    The lock is the process's own: children that it forks do not keep it alive after its death.
    Where a file system has no locks, everybody gets it.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(BEHIND)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        pass
    return True
