"""Wait for a process of ours without freezing the application, nor keeping a processor busy."""

from __future__ import annotations

import time
from collections.abc import Callable

import slicer

PAUSE_S = 0.02


def wait_for(condition: Callable[[], object]) -> None:
    """Let the application go on until ``condition`` holds."""
    while not condition():
        slicer.app.processEvents()
        time.sleep(PAUSE_S)
