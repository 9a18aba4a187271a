"""Let the event loop run in a test, and measure how long it was blocked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


def spin(seconds: float) -> None:
    """Let the event loop run for a while."""
    import qt

    end = time.monotonic() + seconds
    while True:
        qt.QApplication.processEvents()
        qt.QApplication.sendPostedEvents(None, qt.QEvent.DeferredDelete.value)
        if time.monotonic() >= end:
            return
        time.sleep(0.002)


def spin_until(condition: Callable[[], object], seconds: float = 10.0) -> object:
    """Let the event loop run until a condition holds, and return its value.

    Raises
    ------
    TimeoutError
        Where it does not hold in time.
    """
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"nothing happened within {seconds} s")
        spin(0)
        time.sleep(0.002)
    return value


@dataclass
class EventLoopGap:
    """The longest time that the event loop was blocked."""

    ms: float = 0.0


@contextmanager
def longest_event_loop_gap_ms() -> Iterator[EventLoopGap]:
    """Measure how long the event loop was blocked at most; read ``.ms`` afterwards.

    >>> with longest_event_loop_gap_ms() as gap:                      # doctest: +SKIP
    ...     spin_until(finished)
    >>> assert gap.ms < 100                                           # doctest: +SKIP
    """
    import qt

    gap, last = EventLoopGap(), time.monotonic()

    def tick() -> None:
        nonlocal last
        now = time.monotonic()
        gap.ms = max(gap.ms, 1000 * (now - last))
        last = now

    timer = qt.QTimer()
    timer.setInterval(1)
    timer.timeout.connect(tick)
    timer.start()
    try:
        yield gap
    finally:
        timer.stop()
        tick()
