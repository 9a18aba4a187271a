"""What the log sends to a terminal."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from isdmae.progress import WIDTH, PrintableFormatter


def test_neither_message_nor_traceback_drives_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        raise ValueError("\x1b[2J of a file's name")
    except ValueError:
        facts = sys.exc_info()
    record = logging.LogRecord("a", logging.ERROR, "", 1, "lost \x1b[31m", None, facts)
    formatter = PrintableFormatter("%(message)s")
    text = formatter.format(record)
    lines = text.split("\n")
    assert lines[0] == r"lost \x1b[31m"
    assert lines[1].startswith("Traceback")
    assert lines[-1] == r"ValueError: \x1b[2J of a file's name"
    assert "\x1b" not in text
    monkeypatch.setattr(stream, "isatty", lambda: True)
    assert formatter.format(record).split("\n") == ["\r" + lines[0].ljust(WIDTH), *lines[1:]]
