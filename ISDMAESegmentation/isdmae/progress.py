"""What people and programs hear: log lines and a bar on a terminal, or JSON lines on stdout."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

WIDTH = 78


class PrintableFormatter(logging.Formatter):
    """Shows control characters instead of sending them: a file's name could drive the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return message and traceback, all escaped that does not print, but for line ends.

        On a terminal they take the place of the bar, which is drawn again below them.
        """
        text = "".join(
            letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1]
            for letter in super().format(record)
        )
        if not sys.stderr.isatty():
            return text
        line, end, rest = text.partition("\n")
        return f"\r{line:<{WIDTH}}{end}{rest}"


def log_to_stderr() -> None:
    """Let the log speak to people, unless somebody listens to it already."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def print_line(content: Any) -> None:
    """Print one JSON object as one line on stdout, at once."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


class TimeLeft:
    """Seconds left from the share that is done; the first few percent say nothing yet."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, share: float) -> float | None:
        spent = time.monotonic() - self._start
        return None if share < 0.1 else spent * (1 - share) / share


def json_progress() -> Callable[[str, float], None]:
    """Return a progress function that prints JSON lines."""
    left = TimeLeft()

    def show(stage: str, share: float) -> None:
        print_line(progress_event(stage, share, left(share)))

    return show


def progress_event(stage: str, share: float, seconds_left: float | None) -> dict[str, Any]:
    """Return a progress message; ``seconds_left`` is null as long as it is unknown."""
    seconds = None if seconds_left is None else round(seconds_left, 1)
    return {"event": "progress", "stage": stage, "share": round(share, 4), "seconds_left": seconds}


def bar_progress() -> Callable[[str, float], None]:
    """Return a progress function that draws a bar on stderr, or nothing where it is no terminal."""
    if not sys.stderr.isatty():
        return no_progress()
    left = TimeLeft()

    def show(stage: str, share: float) -> None:
        filled = int(30 * share)
        seconds = left(share)
        rest = "" if seconds is None else f" {seconds:.0f} s left"
        line = f"[{'#' * filled:<30}] {share:4.0%} {stage}{rest}"
        sys.stderr.write(f"\r{line:<{WIDTH}}" + ("\n" if share >= 1 else ""))
        sys.stderr.flush()

    return show


def no_progress() -> Callable[[str, float], None]:
    """Return a progress function that shows nothing."""
    return lambda stage, share: None


PROGRESS = {"bar": bar_progress, "json": json_progress, "none": no_progress}
