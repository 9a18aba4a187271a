"""End a process with all its children, at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import qt

WAIT_MS = 2000


def kill_tree(process: qt.QProcess, pid: int) -> None:
    """Kill ``process`` and everything that the worker with process id ``pid`` has started.

    ``pid`` is what the worker said of itself, since the process that Qt knows may be a launcher; it
    is 0 where the worker has not spoken yet. Returns when Qt has seen the end, after 2 s at most.
    """
    if pid and sys.platform == "win32":
        subprocess.run(  # noqa: S603 - a number is its only argument
            ["taskkill", "/T", "/F", "/PID", str(pid)],  # noqa: S607
            capture_output=True,
            check=False,
            creationflags=subprocess.CREATE_NO_WINDOW,
        )
    elif pid:
        _kill_group(pid)
    if not pid:
        process.kill()
    if process.state() != qt.QProcess.NotRunning and not process.waitForFinished(WAIT_MS):
        process.kill()


def _kill_group(pid: int) -> None:
    try:
        # The worker leads a process group of its own, so nothing of Slicer's is in it.
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # Gone already; on macOS what has just ended and is not yet reaped may not be signalled.
        return
