"""Who watches a run and steers it: a person at a terminal, or a program over its pipes.

A program reads one JSON object a line from stdout (``hello``, ``progress``, ``step``, ``picture``,
``notice``, ``error``, ``done``) and writes ``pause``, ``resume`` or ``stop`` to stdin, one a line.
When stdin ends, the program has gone: the run stops with a checkpoint, as after ``stop``.
"""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

from isdmae import __version__
from isdmae.errors import Cancelled
from isdmae.progress import TimeLeft

T = TypeVar("T")

# A panel redraws a bar four times a second; more would be work for nothing.
SECONDS_BETWEEN_STEPS = 0.25
# After the end of stdin a step that takes longer than this is not waited for.
SECONDS_TO_END = 60.0


class Control:
    """What the other side has asked for; safe to use from several threads."""

    def __init__(self) -> None:
        self.stopped = False
        self.paused_seconds = 0.0
        self._go = threading.Event()
        self._go.set()

    def obey(self, word: str) -> None:
        """Follow ``pause``, ``resume`` or ``stop``; anything else means nothing."""
        if word == "pause":
            self._go.clear()
        elif word == "resume":
            self._go.set()
        elif word == "stop":
            self.stopped = True
            self._go.set()

    def wait(self) -> None:
        """Return at once, or when a pause is over."""
        if not self._go.is_set():
            begun = time.monotonic()
            self._go.wait()
            self.paused_seconds += time.monotonic() - begun

    def check(self) -> None:
        """Wait through a pause; raise Cancelled where a stop was asked for."""
        self.wait()
        if self.stopped:
            raise Cancelled(
                "stopped", "Stopped before the first step.", "The same command goes on from there."
            )


class Reporter:
    """Nobody listens: bars on the terminal say enough."""

    is_program = False

    def __init__(self) -> None:
        self.control = Control()

    def progress(self, stage: str, done: int, total: int, seconds_left: float | None) -> None:
        """``done`` of ``total`` parts of a stage are finished."""

    def step(
        self, step: int, steps: int, seconds_left: float | None, values: Mapping[str, float]
    ) -> None:
        """A training step is finished; ``values`` is empty where nothing was recorded."""

    def picture(self, path: Path, step: int) -> None:
        """A new preview lies at ``path``."""

    def notice(self, message: str) -> None:
        """Something to know that does not stop the run."""

    def done(self, facts: Mapping[str, Any]) -> None:
        """The command has come to its end."""

    def error(self, code: str, message: str, remedy: str) -> None:
        """The command ends without its result."""


class JsonReporter(Reporter):
    """Tells a program, one JSON object a line, in ASCII."""

    is_program = True

    def __init__(self, answers: TextIO) -> None:
        super().__init__()
        self._answers = answers
        self._lock = threading.Lock()
        self._last_step = 0.0
        self._say("hello", pid=os.getpid(), isdmae=__version__)

    def progress(self, stage: str, done: int, total: int, seconds_left: float | None) -> None:
        """See `Reporter`."""
        self._say("progress", stage=stage, done=done, total=total, seconds_left=seconds_left)

    def step(
        self, step: int, steps: int, seconds_left: float | None, values: Mapping[str, float]
    ) -> None:
        """See `Reporter`; steps without values are left out where they come too fast."""
        now = time.monotonic()
        if values or step == steps or now - self._last_step >= SECONDS_BETWEEN_STEPS:
            self._last_step = now
            self._say("step", step=step, steps=steps, seconds_left=seconds_left, values=values)

    def picture(self, path: Path, step: int) -> None:
        """See `Reporter`."""
        self._say("picture", path=str(path.resolve()), step=step)

    def notice(self, message: str) -> None:
        """See `Reporter`."""
        self._say("notice", message=message)

    def done(self, facts: Mapping[str, Any]) -> None:
        """See `Reporter`."""
        self._say("done", **facts)

    def error(self, code: str, message: str, remedy: str) -> None:
        """See `Reporter`."""
        self._say("error", code=code, message=message, remedy=remedy)

    def _say(self, event: str, **facts: Any) -> None:
        rounded = {
            name: round(value, 1) if name == "seconds_left" and value is not None else value
            for name, value in facts.items()
        }
        with self._lock:
            try:
                self._answers.write(json.dumps({"event": event, **rounded}) + "\n")
                self._answers.flush()
            except (BrokenPipeError, ValueError):
                self.control.obey("stop")


_CURRENT: ContextVar[Reporter | None] = ContextVar("reporter", default=None)


def current() -> Reporter:
    """Return who listens to the run in this context."""
    return _CURRENT.get() or Reporter()


@contextmanager
def reporting(reporter: Reporter) -> Iterator[Reporter]:
    """Let ``reporter`` listen to everything that is called inside."""
    token = _CURRENT.set(reporter)
    try:
        yield reporter
    finally:
        _CURRENT.reset(token)


def take_pipes() -> JsonReporter:
    """Become the child of a program: messages alone on stdout, its words from stdin.

    The process leads a group of its own, so that a kill reaches its loaders and nobody else.
    """
    if hasattr(os, "setsid") and os.getpid() != os.getpgrp():
        os.setsid()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii", newline="\n")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    reporter = JsonReporter(answers)
    # Unbuffered: a buffer's lock, held by a thread that waits for words, breaks the end of Python.
    words = os.fdopen(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    threading.Thread(target=listen, args=(words, reporter.control), daemon=True).start()
    return reporter


def listen(words: io.FileIO, control: Control) -> None:
    """Obey line by line until the stream ends, which means stop."""
    while line := words.readline(1000):
        control.obey(line.decode("utf-8", errors="replace").strip())
    control.obey("stop")
    # A run that does not come to its next step must not outlive its master for ever.
    timer = threading.Timer(SECONDS_TO_END, os._exit, [1])
    timer.daemon = True
    timer.start()


def counted(items: Sequence[T], stage: str, unit: str) -> Iterator[T]:
    """Yield ``items`` with a bar on the terminal, or with ``progress`` events and an ear for stop.

    Raises
    ------
    Cancelled
        Where a program has asked to stop.
    """
    reporter, left = current(), TimeLeft()
    for done, item in enumerate(tqdm(items, desc=stage, unit=unit, disable=reporter.is_program)):
        reporter.control.check()
        reporter.progress(stage, done, len(items), left(done / len(items)))
        yield item
    reporter.progress(stage, len(items), len(items), None)
